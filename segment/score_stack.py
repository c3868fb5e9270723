"""Fitting the weights of an image's score to validation images; see `inference.score_stack`.

Nothing that is fitted to a few dozen images may be worse than not fitting: weights are never
negative, since more of a defect in a map is never a reason to call a part good, and they are taken
only where they rank held-out images clearly better than the map's 99.9 % quantile does.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.score_stack import QUANTILES, Array, ScoreStack, map_statistics
from training.parts import deal_groups

FEWEST: Final = 8
"""Good and defective validation images each, from which on weights are fitted."""
PARTS: Final = 5
"""Of the validation images, each scored by weights fitted to the others."""
STRENGTH: Final = 0.1
"""Inverse strength of the L2 penalty, on standardized statistics."""
RESAMPLES: Final = 500
CAUTION: Final = 0.05
"""Share of the resamples over parts in which the weights may rank no better than the quantile."""
QUANTILE: Final = QUANTILES.index(0.999)
"""The statistic that is the score where nothing is fitted."""
_TINY: Final = 1e-4


def fit_stack(
    maps: Sequence[npt.NDArray[np.float32]],
    is_defective: Sequence[bool],
    groups: Sequence[str],
) -> tuple[ScoreStack, list[float]] | None:
    """Fit weights to validation images, and score each of them by weights that never saw it.

    They are dropped where the held-out scores' AUROC does not exceed that of the 99.9 % quantile
    in 95 % of the resamples over groups.

    Args:
        maps: probabilities float32 (h, w), of any sizes.
        is_defective: truth of the same images.
        groups: of the same images; those of one group are held out together.

    Returns:
        The stack, and held-out scores in the order given; None where there are too few images of
        a kind, or where the quantile does as well.
    """
    flags = np.asarray(is_defective, bool)
    if min(flags.sum(), (~flags).sum()) < FEWEST:
        return None
    statistics = np.stack([map_statistics(one) for one in maps])
    parts = deal_groups(["bad" if flag else "good" for flag in flags], groups, PARTS)
    scores = np.zeros(len(flags))
    for part in range(PARTS):
        held = parts == part
        rest = flags[~held]
        if not held.any():
            continue
        if rest.all() or not rest.any():
            return None
        stack = fit_logistic(statistics[~held], rest)
        scores[held] = [stack.score(row) for row in statistics[held]]
    default = statistics[:, QUANTILE]
    # Where the quantile itself ranks them upside down, these images mislead: weights of 0, which
    # call all images alike, would seem better.
    if auroc(default, flags) < 0.5 or not clearly_better(scores, default, flags, groups):
        return None
    stack = fit_logistic(statistics, flags)
    return (stack, scores.tolist()) if stack.weights.any() else None


def clearly_better(
    scores: Array, default: Array, flags: npt.NDArray[np.bool_], groups: Sequence[str]
) -> bool:
    """Whether scores rank better than the default in all but a few resamples over groups."""
    names = sorted(set(groups))
    members = [np.flatnonzero(np.asarray(groups) == name) for name in names]
    rng = np.random.default_rng(0)
    worse = drawn = 0
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(names), size=len(names)).tolist()
        rows = np.concatenate([members[number] for number in chosen])
        truth = flags[rows]
        if truth.all() or not truth.any():
            continue
        drawn += 1
        worse += int(auroc(scores[rows], truth) <= auroc(default[rows], truth))
    return drawn > 0 and worse <= CAUTION * drawn


def auroc(scores: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Share of pairs that are ranked right, ties counted half."""
    good = np.sort(scores[~truth])
    bad = scores[truth]
    below = np.searchsorted(good, bad, side="left") + np.searchsorted(good, bad, side="right")
    return float(below.sum()) / (2 * len(good) * len(bad))


def fit_logistic(
    statistics: Array,
    is_defective: npt.NDArray[np.bool_],
    *,
    strength: float = STRENGTH,
    rising: bool = True,
) -> ScoreStack:
    """Fit weights to images with statistics (m, n), both kinds counting the same.

    A logistic regression with an L2 penalty, as scikit-learn's with `class_weight="balanced"`, and
    bounds that it does not offer.

    Args:
        statistics: float64 (m, n).
        is_defective: bool (m,), of both kinds.
        strength: inverse strength of the penalty, on standardized statistics.
        rising: weights are 0 or more.
    """
    from scipy.optimize import minimize

    mean = statistics.mean(axis=0)
    deviation = np.maximum(statistics.std(axis=0), _TINY)
    given = (statistics - mean) / deviation
    signs = np.where(is_defective, 1.0, -1.0)
    shares = np.where(is_defective, is_defective.mean(), 1 - is_defective.mean())
    counts = strength * 0.5 / shares

    def loss(parameters: Array) -> tuple[float, Array]:
        weights, bias = parameters[:-1], parameters[-1]
        margins = signs * (given @ weights + bias)
        value = 0.5 * weights @ weights + counts @ np.logaddexp(0, -margins)
        pull = -counts * signs / (1 + np.exp(np.clip(margins, -500, 500)))
        return float(value), np.append(weights + given.T @ pull, pull.sum())

    n = given.shape[1]
    bounds = [(0.0 if rising else None, None)] * n + [(None, None)]
    found = minimize(loss, np.zeros(n + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return ScoreStack(mean, deviation, np.asarray(found.x[:-1], np.float64), float(found.x[-1]))
