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
BAR: Final = 16
"""Columns of a bar. With count and time it always shows; words share what is left of the line."""
_TIME: Final = 7
_GAPS: Final = 4


def error_console() -> "Console":
    """A console on standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def output_console() -> "Console":
    """A console on standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def shortened_middle(text: str, width: int) -> str:
    """Text of at most so many columns of a terminal, its middle left out.

    Names stand at the beginning and what is done at the end, so that both are kept.

    Example:
        >>> shortened_middle("segment-wide-resnet: fold 0, test images", 24)
        'segment-wid… test images'
    """
    from rich.cells import cell_len, set_cell_size

    text = " ".join(text.split())
    if cell_len(text) <= width:
        return text
    last = (width - 1) // 2
    # From the end, character by character: a wide one takes two columns.
    tail = ""
    for letter in reversed(text):
        if cell_len(letter + tail) > last:
            break
        tail = letter + tail
    return set_cell_size(text, width - 1 - last).rstrip() + "…" + tail


class BarReporter:
    """Draws a bar for every long task; without a terminal or a notebook, a line now and then.

    Implements `training.Reporter`. Use it as a context manager.
    """

    def __init__(self, *, seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        """Begin with no bar."""
        from rich.cells import cell_len
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TimeRemainingColumn,
        )
        from rich.text import Text

        self._console = error_console()
        # In a notebook rich draws through ipywidgets, and complains where they are missing.
        in_notebook = (
            self._console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
        )
        self._draws = self._console.is_terminal or in_notebook
        self._seconds_between_lines = seconds_between_lines
        console = self._console

        class Words(ProgressColumn):
            """The description or the note of a task, as short as the line asks for."""

            def __init__(self, *, is_note: bool) -> None:
                self._is_note = is_note
                super().__init__()

            def render(self, task: Task) -> Text:
                # What the bar, the count of the task and the time leave on the line.
                count = 2 * len(str(int(task.total or 0))) + 1
                room = max(12, console.width - BAR - count - _TIME - _GAPS)
                note = shortened_middle(str(task.fields["note"]), room * 2 // 5)
                what = shortened_middle(task.description, room - cell_len(note))
                return Text(note if self._is_note else what)

        self._progress = Progress(
            Words(is_note=False),
            BarColumn(BAR),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            Words(is_note=True),
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
        task = self._progress.add_task(what, total=total, note="")
        done = 0
        said = time.monotonic()

        def advance(note: str) -> None:
            nonlocal done, said
            done += 1
            self._progress.update(task, advance=1, note=note)
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
