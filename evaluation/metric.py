"""`Metric`: a metric with its interval, or the reason why there is none."""

from dataclasses import dataclass
from typing import Any

from scipy import stats


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        value: None where undefined.
        low: lower end of the 95 % interval, None where none is computed.
        high: upper end.
        n: number of things that it was counted on: images, regions or pixels.
        reason: why it is undefined, else None.
        note: what a reader must know beside the metric, or None.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        row: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        extra = {"reason": self.reason, "note": self.note}
        return row | {name: text for name, text in extra.items() if text}


def undefined(reason: str, n: int = 0) -> Metric:
    """A metric that cannot be had, and why."""
    return Metric(None, n, reason=reason)


def rate(count: int, n: int, *, what: str) -> Metric:
    """`count` of `n`, with the exact interval of Clopper and Pearson (Biometrika 1934), 95 %.

    Raises:
        ValueError: `count` is not between 0 and `n`.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is no rate.")
    if n == 0:
        return undefined(f"there are no {what}")
    found = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    return Metric(count / n, n, float(found.low), float(found.high))
