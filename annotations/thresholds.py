"""The threshold between good and defective, for whoever has scores of both."""

from collections.abc import Sequence

import numpy as np


def widest_gap_threshold(scores: Sequence[float], is_defective: Sequence[bool]) -> float | None:
    """Threshold with the highest balanced accuracy, in the middle of the widest gap.

    Args:
        scores: image scores, higher = more defective.
        is_defective: truth of the same images.

    Returns:
        The threshold (scores at or above it count as defective), or None where one of the two
        kinds is absent and balanced accuracy is undefined.
    """
    values = np.asarray(scores, np.float64)
    truth = np.asarray(is_defective, bool)
    if truth.all() or not truth.any():
        return None
    levels = np.unique(values)
    candidates = np.concatenate((levels[:1], (levels[1:] + levels[:-1]) / 2))
    recall = np.array([(values[truth] >= t).mean() for t in candidates])
    specificity = np.array([(values[~truth] < t).mean() for t in candidates])
    balanced = recall + specificity
    best = np.flatnonzero(np.isclose(balanced, balanced.max()))
    gaps = np.diff(levels, prepend=levels[0])
    return float(candidates[best[int(np.argmax(gaps[best]))]])
