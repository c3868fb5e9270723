"""Cells that wait: every engine takes from here, and tells here how it went."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from defectune.sweeps.cells import Cell
from defectune.sweeps.records import write_failure
from defectune.sweeps.work import Failure


class Queue:
    """Cells in order; a failed one comes again at the end, so many times.

    Attributes:
        failed: errors of the cells that were given up, by name.
    """

    failed: dict[str, str]

    def __init__(
        self,
        cells: Sequence[Cell],
        output: Path,
        *,
        retries: int,
        on_end: Callable[[Cell, str | None], None],
    ) -> None:
        """Wait with these cells.

        Args:
            cells: to be done.
            output: the sweep's folder.
            retries: further tries after the first.
            on_end: called with every cell that has ended for good, and its error or None.
        """
        self.failed = {}
        self._waiting = deque(cells)
        self._output = output
        self._retries = retries
        self._on_end = on_end
        self._tries: dict[str, int] = {}

    def take(self) -> Cell | None:
        """The next cell, or None."""
        return self._waiting.popleft() if self._waiting else None

    def ended(self, cell: Cell, failure: Failure | None) -> None:
        """Tell how a try went."""
        if failure is None:
            self._on_end(cell, None)
            return
        error, trace = failure
        tries = self._tries[cell.name] = self._tries.get(cell.name, 0) + 1
        write_failure(self._output, cell, error, trace, tries)
        if tries <= self._retries:
            self._waiting.append(cell)
            return
        self.failed[cell.name] = error
        self._on_end(cell, error)
