"""Intervals of ranking figures: a bootstrap over groups, all resamples at once.

A resample is a row of whole-number weights, one an image, so that it needs no copy of the data.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.int64]
RESAMPLES: Final = 1000
_CHUNK_NUMBERS: Final = 2_000_000


def weighted_auroc(weights: Weights, scores: Floats, is_defective: Bools) -> Floats:
    """Area under the ROC curve of each resample, ties counted half.

    Args:
        weights: int64 (r, n), how often an image was drawn; both kinds in every row.
        scores: float (n,), higher = more defective.
        is_defective: bool (n,).

    Returns:
        float64 (r,), from 0 to 1.
    """
    bad, good = _by_level(weights, scores, is_defective)
    above = np.cumsum(good, axis=1)
    # From high to low: good images below a level are all of them less those at or above it.
    below = above[:, -1:] - above
    won = ((below + good / 2) * bad).sum(axis=1)
    return np.asarray(won / (bad.sum(axis=1) * good.sum(axis=1)), np.float64)


def weighted_average_precision(weights: Weights, scores: Floats, is_defective: Bools) -> Floats:
    """Average precision of each resample, a tie being one step; see `weighted_auroc`."""
    bad, good = _by_level(weights, scores, is_defective)
    hits = np.cumsum(bad, axis=1)
    called = hits + np.cumsum(good, axis=1)
    precision = hits / np.maximum(called, 1)
    return np.asarray((bad * precision).sum(axis=1) / hits[:, -1], np.float64)


def _by_level(
    weights: Weights, scores: Floats, is_defective: Bools
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Weights of defective and of good images by score level, highest first: int64 (r, levels)."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    truth = is_defective[order]
    drawn = weights[:, order]
    bad = np.add.reduceat(drawn * truth, starts, axis=1)
    return bad, np.add.reduceat(drawn * ~truth, starts, axis=1)


def group_resamples(
    is_defective: Bools, groups: npt.NDArray[np.str_], *, seed: int, resamples: int = RESAMPLES
) -> Iterator[Weights]:
    """Draw whole groups with replacement, defective and good ones apart.

    Images of one group are drawn together: two shots of one part are not two observations. A
    group that holds both kinds counts as one group of each.

    Args:
        is_defective: bool (n,), both kinds present.
        groups: text (n,), the physical part of each image.
        seed: the same seed draws the same.
        resamples: how many in all.

    Yields:
        int64 (some, n): how often each image was drawn, in blocks that bound the memory.
    """
    rng = np.random.default_rng(seed)
    n = len(groups)
    kinds = []
    for kind in (True, False):
        inside = np.flatnonzero(is_defective == kind)
        names, codes = np.unique(groups[inside], return_inverse=True)
        kinds.append((inside, codes, len(names)))
    block = max(1, _CHUNK_NUMBERS // max(n, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        weights = np.zeros((rows, n), np.int64)
        for inside, codes, n_groups in kinds:
            drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=rows)
            weights[:, inside] = drawn[:, codes]
        yield weights


def bootstrap_interval(
    figure: Callable[[Weights, Floats, Bools], Floats],
    scores: Floats,
    is_defective: Bools,
    groups: npt.NDArray[np.str_],
    *,
    seed: int,
) -> tuple[float | None, float | None]:
    """95 % percentile interval (Efron and Tibshirani 1993, chapter 13) over `group_resamples`.

    Returns:
        Low and high, or None for both where one of the two kinds is absent.
    """
    if is_defective.all() or not is_defective.any():
        return None, None
    values = [
        figure(weights, scores, is_defective)
        for weights in group_resamples(is_defective, groups, seed=seed)
    ]
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975])
    return float(low), float(high)
