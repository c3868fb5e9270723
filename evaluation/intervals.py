"""Intervals of ranking metrics: a bootstrap over groups, all resamples at once.

A resample is a row of whole-number weights, one an image, so that it needs no copy of the data.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evaluation.metric import Metric

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.int64]
RESAMPLES: Final = 1000
NO_SPREAD: Final = "no interval: every resample gives the same metric"
_CHUNK_NUMBERS: Final = 2_000_000


def weighted_auroc(weights: Weights, scores: Floats, is_defective: Bools) -> Floats:
    """Area under the ROC curve of each resample, ties counted half.

    Args:
        weights: int64 (r, n), how often an image was drawn.
        scores: float (n,), higher = more defective.
        is_defective: bool (n,).

    Returns:
        float64 (r,), from 0 to 1; NaN for a row without one of the kinds.
    """
    bad, good = _by_level(weights, scores, is_defective)
    above = np.cumsum(good, axis=1)
    # From high to low: good images below a level are all of them less those at or above it.
    below = above[:, -1:] - above
    won = ((below + good / 2) * bad).sum(axis=1)
    pairs = bad.sum(axis=1) * good.sum(axis=1)
    return _divided(won, pairs)


def weighted_average_precision(weights: Weights, scores: Floats, is_defective: Bools) -> Floats:
    """Average precision of each resample, a tie being one step; see `weighted_auroc`."""
    bad, good = _by_level(weights, scores, is_defective)
    hits = np.cumsum(bad, axis=1)
    called = hits + np.cumsum(good, axis=1)
    precision = hits / np.maximum(called, 1)
    total = hits[:, -1]
    area = (bad * precision).sum(axis=1)
    return _divided(area, total)


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
    strata: npt.NDArray[Any],
    groups: npt.NDArray[np.str_],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Iterator[Weights]:
    """Draw whole groups with replacement, every stratum apart.

    Images of one group are drawn together: two shots of one part are not two observations. A
    group that stands in two strata counts as one group of each. A stratum of one group is drawn
    as it is every time, so that it adds nothing to the width of an interval.

    Args:
        strata: (n,) of any type that can be sorted: defective or not, or the defect type.
        groups: text (n,), the physical part of each image.
        seed: the same seed draws the same.
        resamples: how many in all.

    Yields:
        int64 (some, n): how often each image was drawn, in blocks that bound the memory.
    """
    rng = np.random.default_rng(seed)
    n = len(groups)
    kinds = []
    for kind in np.unique(strata)[::-1]:
        inside = np.flatnonzero(strata == kind)
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


def resample_weights(
    strata: npt.NDArray[Any],
    groups: npt.NDArray[np.str_],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Weights:
    """All rows of `group_resamples` at once: int64 (resamples, n); the same for every run."""
    blocks = list(group_resamples(strata, groups, seed=seed, resamples=resamples))
    return np.concatenate(blocks) if blocks else np.zeros((0, len(groups)), np.int64)


def with_interval(metric: Metric, values: Floats) -> Metric:
    """Give a metric the 95 % percentile interval of its resamples.

    Args:
        metric: the metric itself.
        values: float (r,) of the resamples; those that are not a number, since a resample held
            nothing to count, are left out.

    Returns:
        The metric with low and high. Where every resample gives the same, the bootstrap knows
        no interval (a perfect metric is not a certain one), and the note says so.
    """
    kept = values[np.isfinite(values)]
    if metric.value is None or not len(kept):
        return metric
    low, high = (float(v) for v in np.quantile(kept, [0.025, 0.975]))
    if np.ptp(kept) < 1e-12:
        return replace(metric, note=f"{metric.note}; {NO_SPREAD}" if metric.note else NO_SPREAD)
    # Percentiles of a biased resample may miss the metric itself by a hair.
    return replace(metric, low=min(low, metric.value), high=max(high, metric.value))


def perfect_ranking_bound(n_bad_groups: int, n_good_groups: int) -> float:
    """Lower 95 % bound of an AUROC of 1, of which the bootstrap knows nothing.

    From k = min of both numbers, k pairs of a defective and a good part can be formed that share
    no part; all were ranked right, so Clopper and Pearson's bound for k of k is valid for the
    probability that a pair is. It is cautious, since it counts k pairs of many more.

    Raises:
        ValueError: a number below 1.
    """
    if min(n_bad_groups, n_good_groups) < 1:
        raise ValueError("A ranking needs a part of each kind.")
    return float(0.025 ** (1 / min(n_bad_groups, n_good_groups)))


def ratio_of_sums(weights: Weights, above: npt.NDArray[Any], below: npt.NDArray[Any]) -> Floats:
    """Sum of `above` over sum of `below` in each resample; NaN where `below` sums to nothing.

    Args:
        weights: int64 (r, n).
        above: float (n,), an image's part of the numerator.
        below: float (n,), its part of the denominator.

    Returns:
        float64 (r,).
    """
    return _divided(weights @ above.astype(np.float64), weights @ below.astype(np.float64))


def _divided(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> Floats:
    """Quotients, NaN where the divisor is 0."""
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
