"""Reading and writing of the project's own files: whole or not at all, bounded, inside the root."""

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from annotations.errors import InputError, OutputExistsError, shortened
from annotations.locks import LOCK_FILE, hold_lock, process_lives, refuse_link

MAX_JSON_BYTES = 1 << 30
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4000
PARTIAL: Final = ".part"
"""How temporary files and folders end."""
_PARTIAL_NAME: Final = re.compile(r"\.(.+)\.(\d+)-([0-9a-f]{4})[0-9a-f]{4}\.part", re.DOTALL)


def remove_tree(folder: Path) -> None:
    """Remove a folder of our own with all that is in it; one that is not there is no error.

    Links in it are removed, and never followed.

    Raises:
        InputError: `folder` is a link.
        OSError: something in it cannot be removed.
    """
    refuse_link(folder)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def own_folder(root: Path, *parts: str) -> Path:
    """Make a folder of our own below `root`, which itself may be a link.

    Args:
        root: the folder to stay in.
        parts: names of the folders from there on.

    Raises:
        InputError: one of `parts` is a link.
    """
    folder = root
    for part in parts:
        folder = folder / part
        refuse_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_links_in(folder: Path, *, passed: Iterable[Path] = ()) -> None:
    """Refuse links anywhere in a folder that is to be written to.

    Args:
        folder: the folder; none is no error.
        passed: folders in it whose own links are not looked at; they may be no links themselves.

    Raises:
        InputError: the folder, or something in it, is a link.
    """
    refuse_link(folder)
    left_out = set(passed)
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            refuse_link(Path(place, name))
        folders[:] = [name for name in folders if Path(place, name) not in left_out]


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and move it into place, so that no half file is ever seen.

    Raises:
        OSError: the disk is full or the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{_token()}{PARTIAL}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _token() -> str:
    """What makes a temporary name unique: the process, its machine, and chance."""
    return f"{os.getpid()}-{_machine()}{secrets.token_hex(2)}"


@functools.cache
def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]


def _is_dead_partial(name: str, of: str = "") -> bool:
    """True for the name of a temporary file or folder whose process, of this machine, has ended.

    Args:
        name: of the file.
        of: the name that it would get in the end; empty for any.
    """
    match = _PARTIAL_NAME.fullmatch(name)
    return (
        match is not None
        and (not of or match[1] == of)
        and match[3] == _machine()
        and os.name == "posix"
        and not process_lives(int(match[2]))
    )


def remove_dead_files(folder: Path) -> None:
    """Remove temporary files in a folder that killed calls left; those of living ones stay."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _is_dead_partial(path.name) and path.is_file():
                path.unlink(missing_ok=True)


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
        what: what the file is, for the error message.

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
            f"{path} should be {what} in JSON, but it cannot be parsed ({shortened(error)}). "
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
                f"{source} names the path {relative!r}, a link that leads nowhere "
                f"({shortened(error)})."
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

    A link is followed, so that the folder is made where it leads. What killed calls with this
    target left is removed first.

    Raises:
        OutputExistsError: `target` already holds something.
        InputError: its name leaves no room for a temporary one beside it.
    """
    require_new_folder(target, hint=hint)
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_dead_partials(target)
    partial = target.with_name(f".{target.name}.{_token()}{PARTIAL}")
    if len(partial.name.encode()) > MAX_NAME_BYTES:
        raise InputError(
            f"The name {target.name[:60]}… is too long: at most "
            f"{MAX_NAME_BYTES - len(partial.name) + len(target.name)} bytes leave room for the "
            "temporary folder beside it. Choose a shorter one."
        )
    partial.mkdir()
    try:
        with hold_lock(
            partial / LOCK_FILE, lambda who: OutputExistsError(f"{partial} is taken{who}.")
        ):
            yield partial
        require_new_folder(target, hint=hint)
        _move(partial, target)
    finally:
        # What cannot be removed is for the next call; the error on the way out says more.
        with contextlib.suppress(OSError):
            remove_tree(partial)


def _move(partial: Path, target: Path) -> None:
    if target.is_dir() and target == Path.cwd():
        # The folder in which the person stands stays the same one; what makes it a whole dataset,
        # report or export comes last.
        for path in sorted(partial.iterdir(), key=lambda p: (not p.is_dir(), p.name)):
            path.replace(target / path.name)
        return
    if target.is_dir():
        target.rmdir()
    partial.replace(target)


def remove_dead_partials(target: Path) -> None:
    """Remove temporary folders beside `target` that killed calls left; a living one's stay."""
    for path in target.parent.iterdir():
        if not _is_dead_partial(path.name, target.name) or not path.is_dir() or path.is_symlink():
            continue
        # A process of another container may have the same number here: the lock decides.
        with (
            contextlib.suppress(OutputExistsError, OSError),
            hold_lock(path / LOCK_FILE, lambda who: OutputExistsError(f"taken{who}")),
        ):
            remove_tree(path)
