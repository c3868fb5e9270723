"""A .zip as the source: unpacked into a temporary folder, safely, and taken away afterwards."""

import contextlib
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from annotations import InputError
from converters.dialects import shown

MAX_FILES: Final = 500_000
MAX_BYTES: Final = 64 << 30
MAX_RATIO: Final = 200
"""A file that unpacks to more than so many times its packed size is refused: images do not."""
_FREE_RATIO_BYTES: Final = 4 << 20
"""Up to this size the ratio does not matter: flat masks pack well."""


def is_zip(path: Path) -> bool:
    """True for a file that is a zip by its name."""
    return path.is_file() and path.suffix.lower() == ".zip"


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder that a zip's content lies in while the context lasts.

    Only plain files are unpacked, only inside of the folder; one folder that holds everything is
    stepped into.

    Raises:
        InputError: no zip, encrypted, a name that leaves the folder, or far more content than a
            dataset has.
    """
    with tempfile.TemporaryDirectory(prefix="defectune-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, folder)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
            struct.error,
        ) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(
                f"{path} cannot be unpacked ({str(error)[:200]}). Unpack it yourself, and give the "
                "folder."
            ) from error
        inner = [p for p in folder.iterdir() if p.name not in ("__MACOSX",)]
        yield inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    entries = [e for e in archive.infolist() if not e.is_dir()]
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES or total > MAX_BYTES:
        raise InputError(
            f"{path} holds {len(entries):,} files of {total:,} bytes; {MAX_FILES:,} and "
            f"{MAX_BYTES:,} are unpacked. Unpack it yourself, and give the folder."
        )
    if total > shutil.disk_usage(folder).free:
        raise InputError(f"{path} unpacks to {total:,} bytes, for which {folder} has no room.")
    for entry in entries:
        # Windows' own zipper writes backslashes.
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
            raise InputError(f"{path} holds {shown(entry.filename)}, which leaves it. Refused.")
        if entry.external_attr >> 16 & 0o170000 == 0o120000:
            raise InputError(f"{path} holds the link {shown(entry.filename)}. Refused.")
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        large = entry.file_size > _FREE_RATIO_BYTES
        if large and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise InputError(
                f"{path}: {shown(entry.filename)} unpacks to {entry.file_size:,} bytes from "
                f"{entry.compress_size:,}. Refused."
            )
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as packed, target.open("wb") as file:
            # No more than was announced, whatever the stream gives.
            left = entry.file_size
            while left > 0 and (data := packed.read(min(left, 1 << 20))):
                file.write(data)
                left -= len(data)
