"""One writer at a time: a lock file, held by a process and gone with it."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from annotations.errors import InputError

LOCK_FILE: Final = ".lock"
"""Name of the lock file in a folder that has one writer at a time."""
Refusal = Callable[[str], Exception]
"""Makes the error for a lock that another process holds, from a text that says who that is."""


def refuse_link(path: Path) -> None:
    """Refuse a link where this program writes or removes: it may lead into anybody's folder.

    Raises:
        InputError: `path` is a link, or a junction of Windows.
    """
    is_junction = getattr(os.path, "isjunction", lambda _path: False)  # Python 3.12 has it
    if path.is_symlink() or is_junction(path):
        raise InputError(
            f"{path} is a link, where a file or folder of this program's own is expected. What is "
            "written or removed there would be written or removed where the link leads, so nothing "
            "was done. Remove the link, or put the folder itself in its place."
        )


@contextlib.contextmanager
def hold_lock(path: Path, refusal: Refusal) -> Iterator[None]:
    """Hold a lock; a process that is killed holds none.

    Args:
        path: the lock file; its folder is made.
        refusal: makes the error.

    Raises:
        InputError: a link lies in its place: what it leads to would be emptied.
        Exception: of `refusal`, where another process, or another call of this one, holds it.
    """
    refuse_link(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = _lock_by_system(path, refusal)
    if opened is None:
        opened = _lock_by_name(path, refusal)
    try:
        os.ftruncate(opened, 0)
        os.write(opened, f"{os.getpid()} {socket.gethostname()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(opened)


def _lock_by_system(path: Path, refusal: Refusal) -> int | None:
    """The locked file; None where the system, or its file system, locks none."""
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(opened)
            raise refusal(_who(path)) from error
        except OSError:
            os.close(opened)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        # Whoever held it before may have removed the file that we opened.
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(opened)):
                return opened
        os.close(opened)


def _lock_by_name(path: Path, refusal: Refusal) -> int:
    """A file that is made only where there is none; one of a process that has ended is removed."""
    for _ in range(3):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError as error:
            if _holder_lives(path):
                raise refusal(_who(path)) from error
            # Windows refuses this while the holder has the file open.
            try:
                path.unlink(missing_ok=True)
            except OSError as refused:
                raise refusal(_who(path)) from refused
    raise refusal(_who(path))


def _holder_lives(path: Path) -> bool:
    pid, _, host = _holder(path).partition(" ")
    if host and host != socket.gethostname():
        return True
    return pid.isdecimal() and process_lives(int(pid))


def process_lives(pid: int) -> bool:
    """Whether a process of this machine lives; False where the system cannot tell."""
    # On Windows, `os.kill` ends processes.
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200].strip()
    except OSError:
        return ""


def _who(path: Path) -> str:
    pid, _, host = _holder(path).partition(" ")
    return f" (process {pid} on {host})" if pid and host else ""
