"""Figures about whole images: ranking, and verdicts at the honest threshold."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from evaluation.intervals import (
    bootstrap_interval,
    weighted_auroc,
    weighted_average_precision,
)
from evaluation.metric import Metric, rate, undefined

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_ONE_KIND: Final = "the images are all good or all defective"


def auroc(scores: Floats, is_defective: Bools) -> float | None:
    """Area under the ROC curve: Mann and Whitney's U over both numbers, ties count half.

    Args:
        scores: float (n,), higher = more defective.
        is_defective: bool (n,).

    Returns:
        From 0 to 1, or None where one of the two kinds is absent.
    """
    n_bad = int(is_defective.sum())
    n_good = len(is_defective) - n_bad
    if not n_bad or not n_good:
        return None
    ranks = stats.rankdata(scores)
    return float((ranks[is_defective].sum() - n_bad * (n_bad + 1) / 2) / (n_bad * n_good))


def average_precision(scores: Floats, is_defective: Bools) -> float | None:
    """Average precision, the sum of precision times the step in recall; ties are one step.

    Returns:
        From 0 to 1, or None without a defective image.
    """
    if not is_defective.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], is_defective[order]
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)
    hits = np.cumsum(truth)[last_of_tie]
    precision = hits / (np.flatnonzero(last_of_tie) + 1)
    return float((np.diff(hits, prepend=0) / hits[-1] * precision).sum())


def oracle_accuracy(scores: Floats, is_defective: Bools) -> float | None:
    """Highest accuracy over all thresholds, chosen on the test images themselves."""
    if not len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], is_defective[order]
    n_good = int((~truth).sum())
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)
    gain = np.cumsum(np.where(truth, 1, -1))[last_of_tie]
    return float((n_good + max(0, int(gain.max()))) / len(truth))


def image_metrics(
    scores: Floats,
    is_defective: Bools,
    groups: npt.NDArray[np.str_],
    *,
    threshold: float,
    seed: int = 0,
) -> dict[str, Metric]:
    """All figures about whole images.

    Args:
        scores: float (n,), calibrated.
        is_defective: bool (n,), the truth.
        groups: text (n,), the physical part of each image.
        threshold: scores at or above it are called defective; not chosen on these images.
        seed: of the bootstrap.

    Returns:
        image_auroc, image_ap, accuracy, accuracy_oracle, escape_rate (defective images called
        good, of the defective) and overkill_rate (good images called defective, of the good).
    """
    called = scores >= threshold
    n, n_bad = len(scores), int(is_defective.sum())
    result: dict[str, Metric] = {}
    for name, function, resampled in (
        ("image_auroc", auroc, weighted_auroc),
        ("image_ap", average_precision, weighted_average_precision),
    ):
        value = function(scores, is_defective)
        if value is None:
            result[name] = undefined(_ONE_KIND, n)
        else:
            low, high = bootstrap_interval(resampled, scores, is_defective, groups, seed=seed)
            result[name] = Metric(value, n, low, high)
    result["accuracy"] = rate(int((called == is_defective).sum()), n, what="images")
    oracle = oracle_accuracy(scores, is_defective)
    result["accuracy_oracle"] = (
        undefined("there are no images") if oracle is None else Metric(oracle, n)
    )
    result["escape_rate"] = rate(
        int((is_defective & ~called).sum()), n_bad, what="defective images"
    )
    result["overkill_rate"] = rate(
        int((~is_defective & called).sum()), n - n_bad, what="good images"
    )
    return result
