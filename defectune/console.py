"""What the commands say: tables, and errors as one paragraph."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from defectune.library.progress import error_console

out = Console(highlight=False, soft_wrap=True)
err = error_console()


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
