"""Tables of results, as Markdown."""

from collections.abc import Sequence


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join((head, "|" + " --- |" * len(rows[0]), *rest))


def mean(values: Sequence[float | None]) -> str:
    """The mean of what is known, with three decimals."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "—"
