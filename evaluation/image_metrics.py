"""Metrics of whole images: ranking, and verdicts at the run's own threshold."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from evaluation.intervals import (
    Weights,
    perfect_ranking_bound,
    ratio_of_sums,
    weighted_auroc,
    weighted_average_precision,
    with_interval,
)
from evaluation.metric import Metric, rate, undefined

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_ONE_KIND: Final = "the images are all good or all defective"
NEED_BOTH_KINDS: Final = (
    "accuracy", "balanced_accuracy", "precision", "f1", "accuracy_oracle", "f1_oracle",
)  # fmt: skip
"""Metrics that whoever calls every image the one kind there is would win."""


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
    _, hits, false = _by_level(scores, is_defective)
    precision = hits / (hits + false)
    return float((np.diff(hits, prepend=0) / hits[-1] * precision).sum())


def _by_level(
    scores: Floats, is_defective: Bools
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each score from the highest down, once, with the defective and the good images at or above
    it: (levels,) each."""
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], is_defective[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits, false = (np.cumsum(one, dtype=np.int64)[last] for one in (truth, ~truth))
    return ordered[last], hits, false


def oracle_accuracy(scores: Floats, is_defective: Bools) -> float | None:
    """Highest accuracy over all thresholds, chosen on the test images themselves."""
    if not len(scores):
        return None
    _, hits, false = _by_level(scores, is_defective)
    return float((false[-1] + max(0, int((hits - false).max()))) / len(scores))


def f1(called: Bools, is_defective: Bools) -> float | None:
    """Harmonic mean of precision and recall of verdicts; None without a defect and a call."""
    hits = int((called & is_defective).sum())
    both = int(called.sum()) + int(is_defective.sum())
    return 2 * hits / both if both else None


def oracle_f1(scores: Floats, is_defective: Bools) -> float | None:
    """Highest F1 over all thresholds, chosen on the test images; None without a defect."""
    if not is_defective.any():
        return None
    _, hits, false = _by_level(scores, is_defective)
    return float((2 * hits / (hits + false + hits[-1])).max())


def precision_recall_curve(scores: Floats, is_defective: Bools) -> dict[str, list[float]]:
    """Precision, recall and overkill rate at every threshold, from the highest score down.

    Returns:
        Lists of one length: `threshold`, `precision`, `recall` and `false_positive_rate`; empty
        without a defective image. Without a good one the last list is empty.
    """
    names = ("threshold", "precision", "recall", "false_positive_rate")
    if not is_defective.any():
        return {name: [] for name in names}
    levels, hits, false = _by_level(scores, is_defective)
    columns = (
        levels,
        hits / (hits + false),
        hits / hits[-1],
        false / false[-1] if false[-1] else np.zeros(0),
    )
    return {name: [float(v) for v in col] for name, col in zip(names, columns, strict=True)}


@dataclass(frozen=True, slots=True)
class ImageScores:
    """Image scores of one run with what is true of the images.

    Attributes:
        scores: float (n,), calibrated, higher = more defective.
        is_defective: bool (n,).
        groups: text (n,), the physical part of each image.
        strata: text (n,), the defect type; what is resampled apart.
    """

    scores: Floats
    is_defective: Bools
    groups: npt.NDArray[np.str_]
    strata: npt.NDArray[np.str_]

    def subset(self, keep: npt.NDArray[np.intp]) -> "ImageScores":
        """The images at these places."""
        return ImageScores(
            self.scores[keep], self.is_defective[keep], self.groups[keep], self.strata[keep]
        )


def score_metrics(
    images: ImageScores, weights: Weights, *, threshold: float
) -> tuple[dict[str, Metric], dict[str, Floats]]:
    """All metrics about whole images.

    Args:
        images: n images.
        weights: int64 (r, n), how often each was drawn; see `intervals.resample_weights`.
        threshold: scores at or above it are called defective; not chosen on these images.

    Returns:
        The metrics and the resampled values, float (r,), of those that have them. image_auroc,
        image_ap, accuracy, balanced_accuracy (mean of the shares of good and of defective images
        called right), precision, recall, f1, escape_rate (defective images called good, of the
        defective), overkill_rate (good images called defective, of the good), and
        accuracy_oracle and f1_oracle at the best threshold on these very images, which have no
        interval. Rates have Clopper and Pearson's interval; where several images show one part,
        it is widened to the bootstrap's over parts, should that reach further.
    """
    scores, truth = images.scores, images.is_defective
    called = scores >= threshold
    n, n_bad = len(scores), int(truth.sum())
    result: dict[str, Metric] = {}
    values: dict[str, Floats] = {}
    for name, figure, resampled in (
        ("image_auroc", auroc, weighted_auroc),
        ("image_ap", average_precision, weighted_average_precision),
    ):
        value = figure(scores, truth)
        if value is None or n_bad == n:
            result[name] = undefined(_ONE_KIND, n)
            continue
        values[name] = resampled(weights, scores, truth)
        result[name] = with_interval(Metric(value, n), values[name])
    result["image_auroc"] = _perfect_bound(result["image_auroc"], images)
    for name, above, below, what in (
        ("accuracy", called == truth, np.ones(n, np.bool_), "images"),
        ("precision", called & truth, called, "images called defective"),
        ("recall", called & truth, truth, "defective images"),
        ("escape_rate", truth & ~called, truth, "defective images"),
        ("overkill_rate", ~truth & called, ~truth, "good images"),
    ):
        result[name] = rate(int(above.sum()), int(below.sum()), what=what)
        values[name] = ratio_of_sums(weights, above, below)
        if len(np.unique(images.groups[below])) < int(below.sum()):
            result[name] = _widened(result[name], values[name])
    shares = [values["recall"], 1 - values["overkill_rate"]]
    values["balanced_accuracy"] = np.mean(shares, axis=0)
    recall, overkill = result["recall"].value, result["overkill_rate"].value
    if recall is not None and overkill is not None:
        balanced = Metric((recall + 1 - overkill) / 2, n)
        result["balanced_accuracy"] = with_interval(balanced, values["balanced_accuracy"])
    value = f1(called, truth)
    both = called.astype(float) + truth
    values["f1"] = ratio_of_sums(weights, 2.0 * (called & truth), both)
    result["f1"] = (
        undefined("no image is defective, and none was called so", n)
        if value is None
        else with_interval(Metric(value, n), values["f1"])
    )
    for name, value in (
        ("accuracy_oracle", oracle_accuracy(scores, truth)),
        ("f1_oracle", oracle_f1(scores, truth)),
    ):
        result[name] = undefined(_ONE_KIND, n) if value is None else Metric(value, n)
    if n_bad in (0, n):
        for name in NEED_BOTH_KINDS:
            result[name] = undefined(_ONE_KIND if n else "there are no images", n)
            values.pop(name, None)
    return result, values


def _perfect_bound(metric: Metric, images: ImageScores) -> Metric:
    if metric.value != 1.0:
        return metric
    n_bad, n_good = (
        len(np.unique(images.groups[images.is_defective == kind])) for kind in (True, False)
    )
    return replace(
        metric,
        low=perfect_ranking_bound(n_bad, n_good),
        high=1.0,
        note=f"every pair is ranked right; the bound is exact for {min(n_bad, n_good)} pairs",
    )


def _widened(metric: Metric, values: Floats) -> Metric:
    """A rate's interval, reaching at least as far as the resamples of whole parts do."""
    kept = values[np.isfinite(values)]
    if metric.low is None or metric.high is None or not len(kept):
        return metric
    low, high = (float(v) for v in np.quantile(kept, [0.025, 0.975]))
    return replace(metric, low=min(metric.low, low), high=max(metric.high, high))
