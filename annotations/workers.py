"""Processes that work for this one, however Python was started here.

`multiprocessing` starts its processes by importing the caller's `__main__`: a script without
`if __name__ == "__main__":` then runs again in each of them. It also begins their search for
modules in the current folder, so that a `random.py` which lies there runs. A `Worker` does
neither: a fresh interpreter imports this module alone, from where it lies, and does what it is
told over pipes that were made here. What it prints goes to this process's standard error.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Final, TypeVar

R = TypeVar("R")

_HOME: Final = Path(__file__).resolve().parents[1]
_BEGIN: Final = (
    "import sys; sys.path[:] = sys.argv[1:]; del sys.argv[1:]; "
    "from annotations.workers import _serve; _serve()"
)


class WorkerEnded(Exception):  # noqa: N818 - no error of the caller's: the system ended it
    """A worker's process ended before it had answered."""


def can_start() -> bool:
    """Whether this process has an interpreter to start: a frozen program has none."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class Worker:
    """One process that calls functions, one after the other.

    It ends with this process, whatever ends that, and passes over Ctrl-C, which is this process's
    affair.

    Args:
        environment: variables that the process has besides those of this one.

    Raises:
        OSError: no process can be started.

    Examples:
        >>> worker = Worker()
        >>> worker.call(divmod, 7, 2)
        (3, 1)
        >>> worker.end()
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            # -P: no module of the current folder hides one of the standard library.
            [sys.executable, "-P", "-c", _BEGIN, *_search_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )

    def call(self, function: Callable[..., R], *args: Any) -> R:
        """What a function gives there, or raises there.

        Args:
            function: of a module's top level, other than `__main__`.
            args: pickled, as the result is.

        Raises:
            WorkerEnded: the process ended, by the system or at `end`.
            Exception: whatever the function raises.
        """
        requests, results = self._process.stdin, self._process.stdout
        if requests is None or results is None:
            raise RuntimeError("A worker has its pipes from the beginning.")
        request = pickle.dumps((function, args))
        try:
            requests.write(request)
            requests.flush()
            good, value = pickle.load(results)  # noqa: S301 - of a process that we started
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            self.end()
            raise WorkerEnded from error
        if good:
            return value  # type: ignore[no-any-return]
        raise value

    def end(self) -> None:
        """End the process, and wait until it is gone; may be called by another thread."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            # What was still to be written, nobody reads.
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


def _search_path() -> list[str]:
    """Where a worker looks for modules: where this process does, but for the current folder."""
    here = Path.cwd()
    others = [
        entry for entry in sys.path if entry and (here == _HOME or Path(entry).absolute() != here)
    ]
    return list(dict.fromkeys([*others, str(_HOME)]))


def _serve() -> None:
    """Answer requests until there are no more; the worker's side of the pipes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What runs here, or is started here, neither reads nor writes our pipes.
    requests, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)  # no pipe any more
    waiting: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    while True:
        request = waiting.get()
        try:
            function, args = pickle.loads(request)  # noqa: S301 - of the process that started us
            data = pickle.dumps((True, function(*args)))
        except Exception as error:
            data = _as_sent(error)
        results.write(data)
        results.flush()


def _as_sent(error: Exception) -> bytes:
    """An error with the place where it arose; as text where it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker process:\n{trace}")
    try:
        data = pickle.dumps((False, error))
        pickle.loads(data)  # noqa: S301 - our own; some errors cannot be made again
    except Exception:
        data = pickle.dumps((False, RuntimeError(trace)))
    return data


def _listen(requests: IO[bytes], waiting: "SimpleQueue[bytes]") -> None:
    # Also while a function runs: without the process that asked, nobody wants its result.
    try:
        while True:
            waiting.put(pickle.dumps(pickle.load(requests)))  # noqa: S301 - as above
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(1)
