"""One training of a run at a time: a lock in the run's folder."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from annotations import TrainingError

LOCK_FILE: Final = ".lock"


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run's lock; a process that is killed holds none.

    Raises:
        TrainingError: another process, or another call of this one, trains the run.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / LOCK_FILE
    opened = _lock_by_system(path)
    if opened is None:
        opened = _lock_by_name(path)
    try:
        os.ftruncate(opened, 0)
        os.write(opened, f"{os.getpid()} {socket.gethostname()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(opened)


def _lock_by_system(path: Path) -> int | None:
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
            raise _held(path) from error
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


def _lock_by_name(path: Path) -> int:
    """A file that is made only where there is none; one of a process that has ended is removed."""
    for _ in range(3):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError as error:
            if _holder_lives(path):
                raise _held(path) from error
            # Windows refuses this while the holder has the file open.
            try:
                path.unlink(missing_ok=True)
            except OSError as refused:
                raise _held(path) from refused
    raise _held(path)


def _holder_lives(path: Path) -> bool:
    if os.name != "posix":
        return False
    pid, _, host = _holder(path).partition(" ")
    if host and host != socket.gethostname():
        return True
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
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


def _held(path: Path) -> TrainingError:
    pid, _, host = _holder(path).partition(" ")
    who = f" (process {pid} on {host})" if pid and host else ""
    return TrainingError(
        f"The run {path.parent} is being trained already{who}. Two trainings of one run would "
        "spoil each other's files: wait until that one has ended, or train under another --name."
    )
