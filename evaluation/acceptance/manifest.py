"""The manifest of acceptance.json: a SHA-256 of every section, of the page, and of all of them.

A signature stands over the last of these. Which part of the file was changed can be told as long as
the manifest itself is whole.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

FORMAT: Final = "defectune-acceptance-1"
SECTIONS: Final = (
    "decision",
    "metrics",
    "agreement",
    "operating_point",
    "not_tested",
    "plan",
    "window",
    "evidence",
    "digests",
)
PAGE: Final = "page"
"""The HTML beside the JSON, as the manifest calls it."""


def section_digest(value: Any) -> str:
    """SHA-256 of one section, of its canonical JSON: sorted keys, ASCII, no spaces."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def content_digest(sections: Mapping[str, Any]) -> str:
    """SHA-256 over the digests of all sections: what the page prints of the JSON beside it."""
    return section_digest({name: section_digest(sections[name]) for name in SECTIONS})


def sealed_document(sections: Mapping[str, Any], page: bytes, page_name: str) -> dict[str, Any]:
    """The document of acceptance.json, without a signature.

    Args:
        sections: one value for each of `SECTIONS`.
        page: the HTML that belongs to it.
        page_name: what that file is called.
    """
    parts = {name: section_digest(sections[name]) for name in SECTIONS}
    parts[PAGE] = hashlib.sha256(page).hexdigest()
    whole = section_digest({**parts, "page_file": page_name, "format": FORMAT})
    return {
        "format": FORMAT,
        **{name: sections[name] for name in SECTIONS},
        "manifest": {"page_file": page_name, "sha256": parts, "whole": whole},
        "signature": None,
    }


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """The bytes of acceptance.json; a document has no others.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    return (json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def changed_parts(document: Mapping[str, Any], data: bytes, page: bytes | None) -> list[str]:
    """Which parts of an acceptance are not as they were sealed; empty where all are.

    Args:
        document: as parsed.
        data: the file's own bytes.
        page: of the HTML beside it; None where there is none.

    Raises:
        KeyError: a part that every acceptance has is missing.
        TypeError: a part of another kind.
    """
    manifest = document["manifest"]
    listed = dict(manifest["sha256"])
    actual = {name: section_digest(document[name]) for name in SECTIONS}
    actual[PAGE] = "" if page is None else hashlib.sha256(page).hexdigest()
    whole = section_digest(
        {**actual, "page_file": manifest["page_file"], "format": document["format"]}
    )
    if whole == manifest["whole"]:
        # All parts are as sealed, so that a difference is the list's own.
        changed = [] if listed == actual else ["manifest"]
    else:
        changed = [name for name in (*SECTIONS, PAGE) if listed.get(name) != actual[name]]
        known = section_digest(
            {**listed, "page_file": manifest["page_file"], "format": document["format"]}
        )
        if not changed or known != manifest["whole"]:
            changed.append("manifest")
    if not changed and document_bytes(document) != data:
        changed.append("layout of the file")
    return changed


def part_at(text: str, position: int) -> str:
    """The part of acceptance.json that a place in its text lies in, for a file that is no JSON."""
    found = "manifest"
    best = -1
    for name in (*SECTIONS, "manifest", "signature"):
        place = text.rfind(f'\n "{name}":', 0, position + 1)
        if place > best:
            found, best = name, place
    return found if best >= 0 else "beginning of the file"
