"""Rates with exact bounds, and how many parts it takes to prove a limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from scipy import stats

from inference.thresholds import upper_bound

MOST_PARTS: Final = 1_000_000_000
"""A plan of more parts is no plan."""


@dataclass(frozen=True, slots=True)
class BoundedRate:
    """`count` of `n` parts, with the exact bounds of Clopper and Pearson (Biometrika 1934).

    Attributes:
        count: parts with the error.
        n: parts that could have it.
        confidence: of all bounds, from 0 to 1.
        reason: why nothing is known where `n` is 0.
    """

    count: int
    n: int
    confidence: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.n:
            raise ValueError(f"{self.count} of {self.n} is no rate.")
        if not 0 < self.confidence < 1:
            raise ValueError(f"A confidence lies between 0 and 1, got {self.confidence}.")

    @property
    def value(self) -> float | None:
        """The share seen; None of no parts."""
        return self.count / self.n if self.n else None

    @property
    def upper(self) -> float:
        """One-sided upper bound; 1 of no parts."""
        return upper_bound(self.count, self.n, confidence=self.confidence)

    @property
    def two_sided(self) -> tuple[float, float]:
        """Two-sided interval; 0 to 1 of no parts."""
        each = 1 - (1 - self.confidence) / 2
        low = 1 - upper_bound(self.n - self.count, self.n, confidence=each)
        return low, upper_bound(self.count, self.n, confidence=each)

    def to_json(self) -> dict[str, Any]:
        """As acceptance.json holds it."""
        low, high = self.two_sided
        known = {"value": self.value, "upper": self.upper, "low": low, "high": high}
        row = {"count": self.count, "n": self.n, **(known if self.n else dict.fromkeys(known))}
        return row | ({"reason": self.reason} if self.reason and not self.n else {})


def parts_needed(limit: float, errors: int, confidence: float) -> int:
    """The smallest number of parts of which `errors` prove that the rate is at most `limit`.

    Raises:
        ValueError: a limit or a confidence that is not between 0 and 1, or a limit so small that
            no number of parts below a billion proves it.

    Example:
        >>> parts_needed(0.01, 0, 0.95), parts_needed(0.005, 0, 0.95)
        (299, 598)
    """
    if not 0 < limit < 1 or not 0 < confidence < 1 or errors < 0:
        raise ValueError("A limit and a confidence lie between 0 and 1, errors from 0 up.")

    def proves(n: int) -> bool:
        # The same statement as upper_bound(errors, n) <= limit, without its inverse.
        return bool(stats.binom.cdf(errors, n, limit) <= 1 - confidence)

    low, high = errors, max(2 * errors, 1)
    while not proves(high):
        low, high = high, 2 * high
        if high > MOST_PARTS:
            raise ValueError(f"No number of parts below {MOST_PARTS:,} proves {limit:g}.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high


def missing_parts(rate: BoundedRate, limit: float) -> int:
    """How many more parts, all without the error, prove the limit; 0 where it is proved."""
    return max(0, parts_needed(limit, rate.count, rate.confidence) - rate.n)


def chance_to_pass(n: int, allowed: int, true_rates: Sequence[float]) -> list[float]:
    """Operating characteristic of a plan: the chance to pass at each true rate.

    Args:
        n: parts of the plan.
        allowed: errors with which it passes.
        true_rates: from 0 to 1.
    """
    return [float(v) for v in stats.binom.cdf(allowed, n, list(true_rates))]


def plan_rows(
    limits: Sequence[float], allowed: Sequence[int], confidence: float
) -> list[dict[str, Any]]:
    """A row for each limit and number of errors allowed: how many parts the plan takes.

    Each row also holds the true rate at which the plan passes with a chance of 95 %: a line no
    better than the limit itself nearly always fails.
    """
    return [
        {
            "limit": limit,
            "allowed": errors,
            "parts": (n := parts_needed(limit, errors, confidence)),
            "passes_at": upper_bound(errors, n, confidence=0.05),
        }
        for limit in limits
        for errors in allowed
    ]
