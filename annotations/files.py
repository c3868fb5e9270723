"""Reading and writing of the project's own files: whole or not at all, bounded, inside the root."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from annotations.errors import InputError, OutputExistsError

MAX_JSON_BYTES = 1 << 30
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4000


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and move it into place, so that no half file is ever seen.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends, whole or not at all."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write `value` as JSON. NaN and infinity are refused: JSON has no such numbers.

    Raises:
        ValueError: `value` holds NaN or infinity.
    """
    write_text_atomic(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False))


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        what: what the file is, in words, for the error message.

    Raises:
        InputError: the file is missing, larger than 1 GiB, not UTF-8 or not JSON.
    """
    if not path.is_file():
        raise InputError(f"Expected {what} at {path}, but there is no such file.")
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise InputError(
            f"{path} has {size:,} bytes; {what} of more than {MAX_JSON_BYTES:,} is refused."
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} should be {what} in JSON, but it cannot be parsed ({error}). "
            "Restore the file, or make it again."
        ) from error


def inside(root: Path, relative: str, *, source: Path, follow_links: bool = True) -> Path:
    """Join `relative` to `root`, refusing what leaves `root`.

    Args:
        root: the folder to stay in.
        relative: a path as some file gives it.
        source: the file that gives it, for the error message.
        follow_links: refuse links that lead outside, too; False where the links are ours.

    Raises:
        InputError: the path is absolute, climbs out, or a link leads outside.
    """
    candidate = Path(relative)
    if not relative or "\x00" in relative or candidate.is_absolute():
        raise InputError(f"{source} names the path {relative!r}; a path inside {root} is needed.")
    if len(relative.encode(errors="replace")) > MAX_PATH_BYTES or any(
        len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in candidate.parts
    ):
        raise InputError(f"{source} names the path {relative[:60]!r}…, which no system can hold.")
    joined = root / candidate
    escapes = ".." in candidate.parts
    if follow_links and not escapes:
        try:
            escapes = not joined.resolve().is_relative_to(root.resolve())
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{source} names the path {relative!r}, a link that leads nowhere ({error})."
            ) from error
    if escapes:
        raise InputError(f"{source} names the path {relative!r}, which leaves {root}. Refused.")
    return joined


def require_new_folder(path: Path, *, hint: str) -> None:
    """Refuse a folder that already holds something.

    Raises:
        OutputExistsError: `path` is a file or a folder with anything in it.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise OutputExistsError(
            f"The output {path} already exists and is not empty; nothing is overwritten. {hint}"
        )


@contextlib.contextmanager
def folder_moved_into_place(target: Path, *, hint: str) -> Iterator[Path]:
    """Give a fresh folder beside `target`; move it to `target` on success, remove it on failure.

    Raises:
        OutputExistsError: `target` already holds something.
    """
    require_new_folder(target, hint=hint)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    partial.mkdir()
    try:
        yield partial
        require_new_folder(target, hint=hint)
        if target.is_dir():
            target.rmdir()
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
