"""What the commands say: progress bars, tables, and errors as one paragraph."""

import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class BarReporter:
    """Draws a bar for every long task; without a terminal, a line now and then.

    Implements `training.Reporter`. Use it as a context manager.
    """

    def __init__(self) -> None:
        """Begin with no bar."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=err,
            disable=not err.is_terminal,
        )

    def __enter__(self) -> "BarReporter":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show one line."""
        self._progress.console.print(escape(text))

    def track(self, what: str, total: int) -> Callable[[str], None]:
        """Begin a bar; the returned function advances it by one."""
        task = self._progress.add_task(escape(what), total=total, note="")
        done = 0
        step = max(1, total // 5)

        def advance(note: str) -> None:
            nonlocal done
            done += 1
            self._progress.update(task, advance=1, note=escape(note))
            if not err.is_terminal and (done % step == 0 or done == total):
                err.print(escape(f"{what}: {done}/{total}{'  ' + note if note else ''}"))

        return advance


def show_table(rows: Sequence[Sequence[str]], *, title: str) -> None:
    """Print header and rows; the first column left, the others right."""
    table = Table(title=escape(title), title_justify="left")
    for index, name in enumerate(rows[0]):
        table.add_column(escape(name), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(escape(cell) for cell in row))
    # A file or a pipe has no width of its own: there a line is as long as it needs to be.
    longest = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    natural = sum(longest) + 3 * len(longest) + 1
    out.print(table, width=out.width if out.is_terminal else max(out.width, natural))


def fail(text: str, *, status: int) -> None:
    """Print one paragraph to standard error and leave.

    Raises:
        SystemExit: always.
    """
    err.print(f"[bold red]error:[/] {escape(text)}")
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(status)


def quiet_environment() -> None:
    """Keep the libraries below from talking to the network or to the user."""
    for name, value in (
        ("NO_ALBUMENTATIONS_UPDATE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "4"),
        ("HF_HUB_ETAG_TIMEOUT", "4"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
