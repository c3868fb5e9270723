"""Thresholds from validation images or held-out good images; never from the test side."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from annotations import DefectuneError, FoldThresholds
from annotations.thresholds import widest_gap_threshold

Scores = npt.NDArray[np.float64]
_TINY = 1e-6


def quantile_threshold(good_scores: Sequence[float], quantile: float) -> float:
    """Threshold that lets `quantile` of held-out good images pass.

    Raises:
        DefectuneError: no scores.
    """
    if not len(good_scores):
        raise DefectuneError("A threshold needs at least one held-out good image.")
    return float(np.quantile(np.asarray(good_scores, np.float64), quantile, method="higher"))


def probability_thresholds(
    scores: Sequence[float], is_defective: Sequence[bool], *, region_threshold: float
) -> FoldThresholds:
    """Thresholds of a fold whose image scores are probabilities.

    Where the validation images are all of one kind, 0.5 is taken, and `chosen_on` says so.
    """
    threshold = widest_gap_threshold(_logit(scores), is_defective)
    if threshold is None:
        return FoldThresholds(0.5, "odds", region_threshold, "nothing: 0.5, for want of images")
    n_defective = int(np.sum(is_defective))
    return FoldThresholds(
        float(1 / (1 + np.exp(-threshold))),
        "odds",
        region_threshold,
        f"{len(scores)} validation images, {n_defective} of them defective",
    )


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
