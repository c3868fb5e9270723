"""What the commands say: tables, and errors as one paragraph."""

import sys
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from defectune.library.progress import error_console

out = Console(highlight=False, soft_wrap=True)
err = error_console()


def show_table(rows: Sequence[Sequence[str]], *, title: str) -> None:
    """Print header and rows; the first column left, the others right.

    Where a terminal is too narrow for all columns, they stand in blocks below each other, the
    first column in each: a folded cell reads like another number.
    """
    blocks = _blocks(rows, out.width) if out.is_terminal else [list(range(len(rows[0])))]
    for number, columns in enumerate(blocks):
        table = Table(title=escape(title) if number == 0 else None, title_justify="left")
        for index in columns:
            justify: Literal["left", "right"] = "left" if index == 0 else "right"
            table.add_column(escape(rows[0][index]), justify=justify, overflow="fold")
        for row in rows[1:]:
            table.add_row(*(escape(row[index]) for index in columns))
        # A file or a pipe has no width of its own: there a line is as long as it needs to be.
        natural = _natural(rows, columns)
        out.print(table, width=out.width if out.is_terminal else max(out.width, natural))


def fits(rows: Sequence[Sequence[str]]) -> bool:
    """True where a table stands on the screen in one block; a pipe is never too narrow."""
    return not out.is_terminal or _natural(rows, range(len(rows[0]))) <= out.width


def show_text(text: str) -> None:
    """Print a sentence, wrapped between words where a terminal says how wide it is."""
    out.print(text, markup=False, soft_wrap=not out.is_terminal)


def _natural(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> int:
    longest = [max(cell_len(row[index]) for row in rows) for index in columns]
    return sum(longest) + 3 * len(longest) + 1


def _blocks(rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Columns in groups that fit; the first column begins each. One column at least a group."""
    blocks: list[list[int]] = [[0]]
    for index in range(1, len(rows[0])):
        if len(blocks[-1]) > 1 and _natural(rows, [*blocks[-1], index]) > width:
            blocks.append([0])
        blocks[-1].append(index)
    return blocks


def fail(text: str, *, status: int) -> None:
    """Print one paragraph to standard error and leave.

    Raises:
        SystemExit: always.
    """
    err.print(f"[bold red]error:[/] {escape(text)}")
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(status)
