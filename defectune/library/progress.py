"""Progress that fits where it is shown: bars in a terminal or a notebook, lines in a log."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

    from training import Reporter

SECONDS_BETWEEN_LINES: Final = 30.0


def error_console() -> "Console":
    """A console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def output_console() -> "Console":
    """A console on standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


class BarReporter:
    """Draws a bar for every long task; without a terminal or a notebook, a line now and then.

    Implements `training.Reporter`. Use it as a context manager.
    """

    def __init__(self, *, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        """Begin with no bar."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = error_console()
        # In a notebook rich draws through ipywidgets, and complains where they are missing.
        in_notebook = (
            self._console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
        )
        self._draws = self._console.is_terminal or in_notebook
        self._seconds_between_lines = seconds_between_lines
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._draws,
        )

    def __enter__(self) -> "BarReporter":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show one line."""
        self._console.print(text, markup=False)

    def track(self, what: str, total: int) -> Callable[[str], None]:
        """Begin a bar; the returned function advances it by one."""
        from rich.markup import escape

        task = self._progress.add_task(escape(what), total=total, note="")
        done = 0
        said = time.monotonic()

        def advance(note: str) -> None:
            nonlocal done, said
            done += 1
            self._progress.update(task, advance=1, note=escape(note))
            if self._draws:
                return
            now = time.monotonic()
            if done == total or now - said >= self._seconds_between_lines:
                said = now
                self.say(f"{what}: {done}/{total}{'  ' + note if note else ''}")

        return advance


@contextmanager
def shown(progress: "bool | Reporter") -> "Iterator[Reporter]":
    """The reporter that a call asks for.

    Args:
        progress: True for bars or lines, False for nothing, or a reporter of one's own.

    Raises:
        UsageError: neither a truth value nor a reporter.
    """
    if isinstance(progress, bool):
        if progress:
            with BarReporter() as reporter:
                yield reporter
        else:
            from training import SilentReporter

            yield SilentReporter()
    elif callable(getattr(progress, "say", None)) and callable(getattr(progress, "track", None)):
        yield progress
    else:
        from annotations.errors import UsageError

        raise UsageError(
            "progress takes True, False, or an object with the methods say and track, got "
            f"{type(progress).__name__}."
        )
