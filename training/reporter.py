"""Who hears of the progress of long work."""

from collections.abc import Callable
from typing import Protocol


class Reporter(Protocol):
    """Shows progress; the command line gives one that draws bars."""

    def say(self, text: str) -> None:
        """Show one line."""
        ...

    def track(self, what: str, total: int) -> Callable[[str], None]:
        """Begin a bar of `total` steps; the returned function advances it and shows a note."""
        ...


class SilentReporter:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def track(self, what: str, total: int) -> Callable[[str], None]:
        """Count nothing."""
        del what, total
        return lambda _note: None
