"""Thresholds from validation images or held-out good images; never from the test side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import DefectuneError, FoldThresholds

Scores = npt.NDArray[np.float64]
_TINY = 1e-6
_ABOVE: Final = 1e-6
"""The threshold lies above the good image that it is taken from."""
GOOD_OVERKILL: Final = 0.05


def quantile_threshold(good_scores: Sequence[float], quantile: float) -> float:
    """Threshold that lets `quantile` of held-out good images pass.

    Raises:
        DefectuneError: no scores.
    """
    if not len(good_scores):
        raise DefectuneError("A threshold needs at least one held-out good image.")
    return float(np.quantile(np.asarray(good_scores, np.float64), quantile, method="higher"))


@dataclass(frozen=True, slots=True)
class ThresholdAim:
    """What an image threshold is to achieve on validation images.

    Attributes:
        max_escape: highest rate of escapes; overkill is then as low as that allows.
        max_overkill: highest rate of overkill; escapes are then as few as that allows.

    Without either, the higher of the two rates is as low as can be: both are alike, as at the
    equal error rate.
    """

    max_escape: float | None = None
    max_overkill: float | None = None

    def __str__(self) -> str:
        if self.max_escape is not None:
            return f"escapes at most {self.max_escape:.1%}"
        if self.max_overkill is not None:
            return f"overkill at most {self.max_overkill:.1%}"
        return "escapes and overkill alike"


BALANCED: Final = ThresholdAim()


def aimed_threshold(
    scores: Sequence[float], is_defective: Sequence[bool], aim: ThresholdAim = BALANCED
) -> float | None:
    """Threshold that achieves an aim; among equals, in the middle of the widest gap.

    Args:
        scores: image scores, higher = more defective.
        is_defective: truth of the same images.
        aim: of the threshold.

    Returns:
        The threshold (scores at or above it count as defective), or None where one of the two
        kinds is absent.
    """
    values = np.asarray(scores, np.float64)
    truth = np.asarray(is_defective, bool)
    if truth.all() or not truth.any():
        return None
    levels = np.unique(values)
    middles = (levels[1:] + levels[:-1]) / 2
    # Ends: everything is called defective, or nothing is.
    candidates = np.concatenate((levels[:1], middles, levels[-1:] + 1))
    gaps = np.concatenate(([0.0], np.diff(levels), [0.0]))
    bad, good = np.sort(values[truth]), np.sort(values[~truth])
    escape = np.searchsorted(bad, candidates, side="left") / len(bad)
    overkill = 1 - np.searchsorted(good, candidates, side="left") / len(good)
    if aim.max_escape is not None:
        costs = (np.maximum(escape - aim.max_escape, 0), overkill)
    elif aim.max_overkill is not None:
        costs = (np.maximum(overkill - aim.max_overkill, 0), escape)
    else:
        costs = (np.maximum(escape, overkill), escape + overkill)
    best = np.flatnonzero(costs[0] <= costs[0].min() + 1e-12)
    best = best[costs[1][best] <= costs[1][best].min() + 1e-12]
    return float(candidates[best[int(np.argmax(gaps[best]))]])


def probability_thresholds(
    scores: Sequence[float],
    is_defective: Sequence[bool],
    *,
    region_threshold: float,
    aim: ThresholdAim = BALANCED,
) -> FoldThresholds:
    """Thresholds of a fold whose image scores are probabilities.

    Where the validation images are all of one kind, 0.5 is taken, and `chosen_on` says so.
    """
    threshold = aimed_threshold(_logit(scores), is_defective, aim)
    if threshold is None:
        return FoldThresholds(0.5, "odds", region_threshold, "nothing: 0.5, for want of images")
    n_defective = int(np.sum(is_defective))
    return FoldThresholds(
        _probability(threshold),
        "odds",
        region_threshold,
        f"{len(scores)} validation images, {n_defective} of them defective, for {aim}",
    )


def good_probability_thresholds(
    scores: Sequence[float], *, region_threshold: float, aim: ThresholdAim = BALANCED
) -> FoldThresholds:
    """Thresholds of a fold that has good validation images alone: the rate of overkill aimed at,
    or `GOOD_OVERKILL`, of them lies above.

    Raises:
        DefectuneError: no scores.
    """
    rate = GOOD_OVERKILL if aim.max_overkill is None else aim.max_overkill
    threshold = quantile_threshold(_logit(scores), 1 - rate)
    return FoldThresholds(
        _probability(threshold + _ABOVE),
        "odds",
        region_threshold,
        f"{len(scores)} good validation images, of which {rate:.1%} may be called defective",
    )


def _probability(logit: float) -> float:
    return float(np.clip(1 / (1 + np.exp(-logit)), _TINY, 1 - _TINY))


def _logit(scores: Sequence[float]) -> list[float]:
    # Between 0.001 and 0.9 the middle is 0.09 on the scale of odds, and not 0.45.
    values = np.clip(np.asarray(scores, np.float64), _TINY, 1 - _TINY)
    return [float(v) for v in np.log(values / (1 - values))]


def best_f1_threshold(scores: Sequence[float], is_hit: Sequence[bool], n_truth: int) -> float:
    """Score threshold with the highest F1 of found regions.

    Args:
        scores: of all predicted regions on the validation images.
        is_hit: whether each of them finds a true region.
        n_truth: number of true regions.

    Returns:
        The threshold, halfway to the next lower score; 0.5 where there is nothing to choose on.
    """
    if not n_truth or not any(is_hit):
        return 0.5
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    values = np.asarray(scores, np.float64)[order]
    hits = np.cumsum(np.asarray(is_hit, bool)[order])
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + n_truth)
    # Equal scores cannot be told apart by a threshold: only the last of them counts.
    f1[:-1][values[:-1] == values[1:]] = -1
    best = int(np.argmax(f1))
    below = float(values[best + 1]) if best + 1 < len(values) else 0.0
    return (float(values[best]) + below) / 2
