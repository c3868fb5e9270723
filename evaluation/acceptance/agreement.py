"""Agreement beyond chance: of two graders (Cohen) and of several (Fleiss), with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

AIAG_KAPPA: Final = ((0.75, "good"), (0.40, "fair"), (-2.0, "poor"))
"""Above 0.75 good, below 0.40 poor (AIAG, Measurement Systems Analysis, 4th edition, 2010)."""
AIAG_SHARES: Final = {
    "effectiveness": ((0.90, "acceptable"), (0.80, "marginal"), (0.0, "unacceptable")),
    "miss_rate": ((0.02, "acceptable"), (0.05, "marginal"), (1.0, "unacceptable")),
    "false_alarm_rate": ((0.05, "acceptable"), (0.10, "marginal"), (1.0, "unacceptable")),
}
"""Lowest effectiveness, or highest rate, of each band; conventions, and no statistics."""
_NOTHING_BUT_ONE: Final = "every verdict is the same, so that chance alone would agree"


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance.

    Attributes:
        value: 1 for full agreement, 0 for that of chance; None where undefined.
        low: lower end of the interval; None where none is known.
        high: upper end.
        n: parts that were graded.
        reason: why there is no value or no interval, else empty.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As acceptance.json holds it, with AIAG's band."""
        row: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        row["band"] = None if self.value is None else kappa_band(self.value)
        return row | ({"reason": self.reason} if self.reason else {})


def kappa_band(value: float) -> str:
    """AIAG's word for a kappa."""
    if value > AIAG_KAPPA[0][0]:
        return AIAG_KAPPA[0][1]
    return AIAG_KAPPA[2][1] if value < AIAG_KAPPA[1][0] else AIAG_KAPPA[1][1]


def share_band(name: str, value: float) -> str:
    """AIAG's word for an effectiveness, a miss rate or a false alarm rate."""
    bands = AIAG_SHARES[name]
    if name == "effectiveness":
        return next(word for least, word in bands if value >= least)
    return next(word for most, word in bands if value <= most)


def cohen_kappa(table: npt.NDArray[np.int64], *, confidence: float = 0.95) -> Kappa:
    """Cohen's kappa of two graders, with the asymptotic interval of Fleiss, Cohen and Everitt
    (Psychological Bulletin 72, 1969).

    Args:
        table: int (k, k), how many parts the first grader put into the row's class and the second
            into the column's.
        confidence: of the two-sided interval.

    Raises:
        ValueError: a table that is not square, or with a negative number.
    """
    counts = np.asarray(table, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise ValueError("Cohen's kappa needs a square table of counts.")
    n = int(counts.sum())
    if not n:
        return Kappa(None, 0, reason="nothing was graded by both")
    shares = counts / n
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    expected = float(rows @ columns)
    if expected >= 1:
        return Kappa(None, n, reason=_NOTHING_BUT_ONE)
    agreed = np.diag(shares)
    kappa = (float(agreed.sum()) - expected) / (1 - expected)
    on = float((agreed * (1 - (rows + columns) * (1 - kappa)) ** 2).sum())
    off = shares * (columns[:, None] + rows[None, :]) ** 2
    np.fill_diagonal(off, 0)
    beside = (1 - kappa) ** 2 * float(off.sum())
    mean = (kappa - expected * (1 - kappa)) ** 2
    variance = (on + beside - mean) / (1 - expected) ** 2 / n
    return _with_interval(kappa, n, float(np.sqrt(max(variance, 0.0))), confidence)


def fleiss_kappa(grades: npt.NDArray[np.int64], *, confidence: float = 0.95) -> Kappa:
    """Fleiss' kappa of several graders (Psychological Bulletin 76, 1971), with the interval of a
    jackknife over parts.

    Args:
        grades: int (n, k), how many of the same number of graders put a part into each class.
        confidence: of the two-sided interval.

    Raises:
        ValueError: fewer than two graders, or not the same number for every part.
    """
    counts = np.asarray(grades, np.float64)
    n = len(counts)
    if not n:
        return Kappa(None, 0, reason="nothing was graded")
    graders = counts.sum(axis=1)
    if graders[0] < 2 or (graders != graders[0]).any():
        raise ValueError("Fleiss' kappa needs two graders or more, the same number of every part.")
    k = float(graders[0])
    alike = ((counts**2).sum(axis=1) - k) / (k * (k - 1))
    value = _fleiss(alike.mean(), counts.sum(axis=0) / (n * k))
    if value is None:
        return Kappa(None, n, reason=_NOTHING_BUT_ONE)
    if n < 2:
        return Kappa(value, n, reason="one part alone gives no interval")
    total, classes = alike.sum(), counts.sum(axis=0)
    left = [
        _fleiss((total - alike[i]) / (n - 1), (classes - counts[i]) / ((n - 1) * k))
        for i in range(n)
    ]
    known = np.array([v for v in left if v is not None])
    if len(known) < n:
        return Kappa(value, n, reason="all classes but one rest on a single part: no interval")
    error = float(np.sqrt((n - 1) / n * ((known - known.mean()) ** 2).sum()))
    return _with_interval(value, n, error, confidence)


def _fleiss(agreed: float, shares: npt.NDArray[np.float64]) -> float | None:
    expected = float((shares**2).sum())
    return None if expected >= 1 else float((agreed - expected) / (1 - expected))


def _with_interval(value: float, n: int, error: float, confidence: float) -> Kappa:
    if error < 1e-12:
        return Kappa(value, n, reason="no interval, since agreement is the same on every part")
    half = float(stats.norm.ppf(1 - (1 - confidence) / 2)) * error
    return Kappa(value, n, value - half, value + half)


def two_by_two(first: Sequence[bool], second: Sequence[bool]) -> npt.NDArray[np.int64]:
    """Counts of two graders' verdicts, good before defective: int64 (2, 2)."""
    table = np.zeros((2, 2), np.int64)
    for one, other in zip(first, second, strict=True):
        table[int(one), int(other)] += 1
    return table
