"""Versions of a dataset on disk: `versions/NNNN.json`, each chained to the one before.

    versions/0001.json              the record: what changed, when, by whom, and a digest
    versions/0001.labels.json.gz    labels and split of that version, whole
    versions/images/SHA256.SUFFIX   images that the current version no longer has

The digest of a record is a SHA-256 over all that it says, the digest of the record before it
included. So no version can be changed, or taken out, without the next one saying so.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations.errors import InputError, UsageError, shortened
from annotations.files import MAX_JSON_BYTES, read_json

VERSIONS_FOLDER: Final = Path("versions")
KEPT_IMAGES: Final = VERSIONS_FOLDER / "images"
"""Where images stand that older versions have and the current one has not, by their digest."""
TEXTURES_FILE: Final = Path(".textures.bin")
"""Textures of images that were compared with new ones, to save time; may be removed."""
READY_FOLDER: Final = ".update-ready"
"""An update that is complete, and is being moved into place."""
VERSION_FORMAT: Final = "defectune-version-1"
_RECORD: Final = re.compile(r"(\d{4,})\.json")


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of a dataset this is.

    Attributes:
        number: from 1, one more with every update.
        digest: SHA-256, hexadecimal, that chains to the version before.
    """

    number: int
    digest: str


def record_path(root: Path, number: int) -> Path:
    """Where the record of a version stands."""
    return root / VERSIONS_FOLDER / f"{number:04d}.json"


def state_path(root: Path, number: int) -> Path:
    """Where labels and split of a version stand."""
    return root / VERSIONS_FOLDER / f"{number:04d}.labels.json.gz"


def version_numbers(root: Path) -> list[int]:
    """Numbers of the versions whose records are there, in their order."""
    folder = root / VERSIONS_FOLDER
    if not folder.is_dir():
        return []
    found = (_RECORD.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def current_version(root: Path) -> Version | None:
    """The newest version of a dataset; None for one that was never updated.

    Raises:
        InputError: its record is damaged.
    """
    numbers = version_numbers(root)
    if not numbers:
        return None
    record = read_record(root, numbers[-1])
    return Version(numbers[-1], record["digest"])


def canonical(value: Any) -> bytes:
    """JSON of a value, the same bytes on every machine."""
    text = json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return text.encode()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its digest, over all else that it says."""
    content = {key: value for key, value in record.items() if key != "digest"}
    return {**content, "digest": hashlib.sha256(canonical(content)).hexdigest()}


def read_record(root: Path, number: int) -> dict[str, Any]:
    """Read the record of a version, and check its own digest.

    Raises:
        InputError: it is missing, damaged, or was changed.
    """
    path = record_path(root, number)
    value: Any = read_json(path, what=f"the record of version {number}")
    try:
        if value["format"] != VERSION_FORMAT or value["number"] != number:
            raise ValueError(f"format {value['format']!r}, number {value['number']!r}")
        digest = sealed(value)["digest"]
        if value["digest"] != digest:
            raise ValueError(f"it says digest {value['digest'][:12]}…, its content {digest[:12]}…")
        for key in ("state_sha256", "split_digest", "counts", "previous"):
            value[key]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not the record of version {number} as it was written "
            f"({type(error).__name__}: {shortened(error)}). Restore it from a backup."
        ) from error
    record: dict[str, Any] = value
    return record


def state_bytes(state: Mapping[str, Any]) -> tuple[bytes, str]:
    """A version's labels and split as a file's bytes, and the digest of what they hold."""
    text = canonical(state)
    # No time stamp: the same state gives the same file.
    return gzip.compress(text, 6, mtime=0), hashlib.sha256(text).hexdigest()


def read_state(root: Path, number: int) -> dict[str, Any]:
    """Labels (`labels`, as annotations/all.json) and split (`split`, as split.json) of a version.

    Raises:
        UsageError: there never was such a version.
        InputError: it was deleted, damaged or changed.
    """
    numbers = version_numbers(root)
    if not 1 <= number <= max(numbers, default=0):
        there = f"versions 1 to {numbers[-1]}" if numbers else "no version yet"
        raise UsageError(f"{root} has no version {number}; it has {there}.")
    path = state_path(root, number)
    if number not in numbers or not path.is_file():
        gone = path if number in numbers else record_path(root, number)
        raise InputError(
            f"Version {number} of {root} was deleted: there is no {gone}. Restore that file from a "
            "backup; the other versions stand."
        )
    record = read_record(root, number)
    try:
        unpacked = zlib.decompressobj(wbits=31)
        text = unpacked.decompress(path.read_bytes(), MAX_JSON_BYTES)
        if not unpacked.eof:
            raise ValueError("it is cut short, or larger than 1 GiB")
        digest = hashlib.sha256(text).hexdigest()
        if digest != record["state_sha256"]:
            raise ValueError("another SHA-256 than the version's record says")
        state: dict[str, Any] = json.loads(text)
        for key in ("labels", "split"):
            state[key]
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise InputError(
            f"{path} does not hold version {number} as it was written ({shortened(error)}). "
            "Restore it from a backup."
        ) from error
    return state


def chain_problems(root: Path) -> list[str]:
    """What is wrong with the versions of a dataset, a sentence each: gaps, changes, broken chains.

    An empty list where all versions chain, and the newest is what the dataset holds.
    """
    numbers = version_numbers(root)
    problems: list[str] = []
    before: dict[str, Any] | None = None
    for number in range(1, max(numbers, default=0) + 1):
        if number not in numbers:
            problems.append(
                f"{record_path(root, number)} is missing: version {number} was deleted. Restore it "
                "from a backup."
            )
            before = None
            continue
        try:
            record = read_record(root, number)
            read_state(root, number)
        except InputError as error:
            problems.append(str(error))
            before = None
            continue
        expected = None if number == 1 else before and before["digest"]
        if (number == 1 or before is not None) and record["previous"] != expected:
            problems.append(
                f"{record_path(root, number)} does not chain to version {number - 1}: it names "
                "another digest as the one before. One of the two was replaced."
            )
        before = record
    if numbers and before is not None:
        problem = _not_current(root, numbers[-1])
        problems += [problem] if problem else []
    return problems


def _not_current(root: Path, number: int) -> str | None:
    held = {"labels": "annotations/all.json", "split": "split.json"}
    state = read_state(root, number)
    for key, name in held.items():
        if read_json(root / name, what="a file of a dataset") != state[key]:
            return (
                f"{root / name} is not what version {number} says, the newest one: it was changed "
                "by other means than `defectune update`, or a later version was deleted. Restore "
                f"the files, or go back with `defectune update {root} --restore {number}`."
            )
    return None


def require_current(root: Path) -> None:
    """Refuse a dataset that is not what its newest version says.

    Raises:
        InputError: it was changed by hand, or its newest version was deleted.
    """
    numbers = version_numbers(root)
    problem = _not_current(root, numbers[-1]) if numbers else None
    if problem:
        raise InputError(problem)
