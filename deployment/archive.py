"""A bundle as a file: a zip of graphs, arrays and JSON, and the SHA-256 of every member.

    manifest.json               format, and SHA-256 and size of every other member
    bundle.json                 everything that decides a verdict
    card.md                     what the models were trained on, and how well they do
    models/N/network.onnx       graph of a model
    models/N/arrays/NAME.npy    arrays of a model beside its graph

Nothing of it is unpacked to disk or unpickled. Sizes are bounded before a byte is read.
"""

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations.errors import InputError, shortened
from annotations.files import write_bytes_atomic

FORMAT: Final = "defectune-bundle-1"
MANIFEST: Final = "manifest.json"
BUNDLE: Final = "bundle.json"
CARD: Final = "card.md"
GRAPH: Final = "network.onnx"
MOST_BYTES: Final = 4 << 30
MOST_JSON_BYTES: Final = 16 << 20
MOST_MEMBERS: Final = 2000
MOST_UNPACKED: Final = 50
"""Weights hardly shrink when packed; what shrinks more is no bundle."""
_SMALL: Final = 16 << 20
_MEMBER: Final = re.compile(
    r"manifest\.json|bundle\.json|card\.md"
    r"|models/[0-9]{1,3}/(network\.onnx|arrays/[A-Za-z0-9_]{1,80}\.npy)"
)
_AGAIN: Final = "Copy it again from where it was made, or make it again with `defectune bundle`."


def graph_name(number: int) -> str:
    """Member of a model's graph."""
    return f"models/{number}/{GRAPH}"


def array_name(number: int, name: str) -> str:
    """Member of one of a model's arrays."""
    return f"models/{number}/arrays/{name}.npy"


def write_archive(path: Path, members: Mapping[str, bytes]) -> str:
    """Write members and their manifest, whole or not at all; equal members make an equal file.

    Returns:
        The bundle's digest, see `bundle_digest`.
    """
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(members.items())
    }
    manifest = _json({"format": FORMAT, "members": listed})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {MANIFEST: manifest, **dict(sorted(members.items()))}.items():
            if _MEMBER.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no member of a bundle.")
            # A date of its own would make every bundle another file.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    write_bytes_atomic(path, buffer.getvalue())
    return bundle_digest(manifest)


def bundle_digest(manifest: bytes) -> str:
    """SHA-256 of the manifest, which holds that of everything else."""
    return hashlib.sha256(manifest).hexdigest()


def read_archive(path: Path) -> tuple[dict[str, bytes], str]:
    """Read and prove a bundle.

    Returns:
        Members by name, and the bundle's digest.

    Raises:
        InputError: no bundle, another format, damaged, changed, or unsafe to read.
    """
    if not path.is_file():
        raise InputError(f"There is no bundle {path}. Make one with `defectune bundle RUN FILE`.")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_members(path, infos)
            members = {info.filename: _read(path, archive, info) for info in infos}
    except InputError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds
        raise InputError(
            f"{path} is no bundle, or a part of it is missing ({shortened(error)}). {_AGAIN}"
        ) from error
    manifest = parse_json(path, members, MANIFEST)
    found = manifest.get("format")
    if found != FORMAT:
        raise InputError(
            f"{path} is a bundle of the format {shortened(found)}; this version opens {FORMAT}. "
            "Make it again with this version, or open it with the one that made it."
        )
    listed = manifest.get("members")
    if not isinstance(listed, dict):
        raise InputError(f"{path} has a manifest without members. {_AGAIN}")
    others = set(members) - {MANIFEST}
    unknown, missing = sorted(others - set(listed)), sorted(set(listed) - others)
    if unknown or missing:
        what = f"holds {unknown[0]!r}, which its" if unknown else f"lacks {missing[0]!r}, which its"
        does = "does not list" if unknown else "lists"
        raise InputError(f"{path} {what} manifest {does}: it was changed. {_AGAIN}")
    for name in sorted(others):
        entry = listed[name]
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        if hashlib.sha256(members[name]).hexdigest() != digest:
            raise InputError(
                f"{path} was changed: {name} has another SHA-256 than its manifest says. {_AGAIN}"
            )
    for name in (BUNDLE, CARD):
        if name not in members:
            raise InputError(f"{path} lacks {name}. {_AGAIN}")
    return members, bundle_digest(members[MANIFEST])


def _check_members(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MOST_MEMBERS:
        raise InputError(f"{path} has {len(infos)} members; at most {MOST_MEMBERS} are read.")
    names = [info.filename for info in infos]
    for name in names:
        if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
            raise InputError(
                f"{path} holds {shortened(name)!r}, a path that leaves the archive. It was not "
                "made by this program; nothing of it was read."
            )
        if Path(name).suffix.lower() in (".pkl", ".pickle", ".pt", ".pth", ".joblib"):
            raise InputError(
                f"{path} holds {shortened(name)!r}, a pickle, which can run code of whoever made "
                "it. A bundle has none; nothing of it was read."
            )
        if _MEMBER.fullmatch(name) is None:
            raise InputError(f"{path} holds {shortened(name)!r}, which no bundle has. {_AGAIN}")
    if len(set(names)) != len(names):
        raise InputError(f"{path} holds a member twice. {_AGAIN}")
    if MANIFEST not in names:
        raise InputError(f"{path} has no {MANIFEST}: it is no bundle. {_AGAIN}")
    stored, total = sum(i.compress_size for i in infos), sum(i.file_size for i in infos)
    allowed = min(MOST_BYTES, _SMALL + stored * MOST_UNPACKED)
    if total > allowed:
        raise InputError(
            f"{path} would unpack from {stored:,} to {total:,} bytes; {allowed:,} are allowed. "
            "It was not made by this program; nothing of it was read."
        )


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One member, never more bytes than its entry says."""
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise InputError(f"{path}: {info.filename} has another size than it says. {_AGAIN}")
    return data


def parse_json(path: Path, members: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """A member as a JSON object.

    Raises:
        InputError: too large, or none.
    """
    data = members[name]
    try:
        if len(data) > MOST_JSON_BYTES:
            raise ValueError(f"{len(data):,} bytes")
        value = json.loads(data)
        if not isinstance(value, dict):
            raise TypeError("it should hold settings by name")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: {name} is damaged ({shortened(error)}). {_AGAIN}") from error
    return value


def pack_array(array: npt.NDArray[np.generic]) -> bytes:
    """An array in NumPy's own format; objects are refused."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpack_array(data: bytes) -> npt.NDArray[np.generic]:
    """An array from NumPy's own format.

    Raises:
        ValueError: objects, or another size than the header says.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"the array is of version {version}")
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if kind.hasobject:
        raise ValueError("an array holds objects, which only a pickle can hold")
    # Before NumPy asks for the memory that the header names.
    if math.prod(shape) * kind.itemsize != len(data) - file.tell():
        raise ValueError("an array has another size than its header says")
    return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))


def to_json(value: Mapping[str, Any]) -> bytes:
    """A document as it stands in a bundle."""
    return _json(value)


def _json(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")
