"""Proving that a signed acceptance is as it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotations import InputError
from annotations.errors import shortened
from defectune.library.accepting import DOCUMENT
from defectune.library.arguments import Place, as_path, checked
from defectune.library.options import Option


@dataclass(frozen=True)
class Verified:
    """What `accept verify` found.

    Attributes:
        file: that was looked at.
        faults: what is wrong, a sentence each; empty where all is as it was.
        signed_by: fingerprint of the key in the file; empty for an unsigned one.
    """

    file: Path
    faults: tuple[str, ...]
    signed_by: str


@checked
def verify_acceptance(
    file: Annotated[Place, Option(metavar="FILE")],
    *,
    key: Annotated[Place | None, Option(metavar="PUBLIC")] = None,
) -> Verified:
    """Prove that an acceptance is as it was written, and by whose key it was signed.

    Args:
        file: The acceptance.json to verify; the page that belongs to it is looked for beside it.
        key: PEM file of the public Ed25519 key that should have signed; without it, the key that
            the file itself names is taken, and a file without a signature is compared with its
            own digests alone.

    Raises:
        InputError: no such file, or no acceptance.

    Example:
        >>> import defectune as dt
        >>> made = dt.accept("out", "quick", output="signed-off", progress=False)
        >>> dt.verify_acceptance(made.document).faults
        ()
    """
    import json

    from evaluation.acceptance.manifest import FORMAT, changed_parts, part_at

    path = as_path(file, what="acceptance")
    if path.suffix == ".html":
        path = path.with_suffix(".json")
    if not path.is_file():
        raise InputError(f"There is no acceptance {path}. Give the {DOCUMENT} that accept wrote.")
    expected = None
    if key is not None:
        from defectune.library.signing import load_public_key

        expected = load_public_key(as_path(key, what="key"))
    data = path.read_bytes()
    try:
        text = data.decode("ascii")
        document = json.loads(text)
    except UnicodeDecodeError as error:
        where = part_at(data.decode("latin-1"), error.start)
        return Verified(path, (f"Changed: {where} (a byte that is no text).",), "")
    except (ValueError, RecursionError) as error:
        where = part_at(text, getattr(error, "pos", 0))
        return Verified(path, (f"Changed: {where} (it is no JSON any more).",), "")
    try:
        if document["format"] != FORMAT:
            if FORMAT.encode() in data or "manifest" not in document:
                raise KeyError("format")
            return Verified(path, (f"Changed: format (it should be {FORMAT}).",), "")
        page_name = document["manifest"]["page_file"]
        page_path = path.parent / Path(str(page_name)).name
        page = page_path.read_bytes() if page_path.is_file() else None
        changed = changed_parts(document, data, page)
        whole = str(document["manifest"]["whole"])
        signature = document["signature"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is no acceptance of this program, or a part of it is gone "
            f"({type(error).__name__}: {shortened(error, 80)}). Ask for the file again."
        ) from error
    faults = [
        f"Changed: {name}."
        if name != "page" or page is not None
        else f"The page {page_path.name} is not beside it, so that it cannot be proved."
        for name in changed
    ]
    mark = ""
    if signature is not None:
        from defectune.library.signing import signature_fault

        fault, mark = signature_fault(signature, whole, expected)
        faults += [fault] if fault else []
    elif expected is not None:
        faults.append("It is not signed.")
    return Verified(path, tuple(faults), mark)
