"""The pointing game: does the highest point of a map lie on a defect?

Zhang et al., Top-Down Neural Attention by Excitation Backprop, IJCV 126, 2018. It asks of the truth
no more than where a defect is, so that boxes do as well as masks.
"""

import numpy as np
import numpy.typing as npt

from annotations import Regions
from evaluation.intervals import Floats, Weights, ratio_of_sums, with_interval
from evaluation.metric import Metric, rate, undefined
from inference.matching import union_mask


def points_at(pixel_scores: npt.NDArray[np.floating], truth: Regions) -> float:
    """Part of a map's highest pixels that lie in a true mask or box: 1 or 0 for a single one.

    Args:
        pixel_scores: float (H, W).
        truth: regions of the image.
    """
    highest = pixel_scores == pixel_scores.max()
    return float(union_mask(truth)[highest].mean())


def pointing_metric(
    hits: Floats, weights: Weights, keep: npt.NDArray[np.bool_]
) -> tuple[Metric, Floats | None]:
    """Mean over defective images whose defects are located.

    Args:
        hits: float (n,), NaN for images that are good or whose defects nobody located.
        weights: int64 (r, n), how often each image was drawn.
        keep: bool (n,), images to look at.

    Returns:
        The metric, with Clopper and Pearson's interval, or the bootstrap's over parts where that
        reaches further; and its resampled values.
    """
    known = keep & np.isfinite(hits)
    n = int(known.sum())
    if not n:
        return undefined("no defective test image has a box or a mask"), None
    values = ratio_of_sums(weights[:, known], hits[known], np.ones(n))
    metric = Metric(float(hits[known].mean()), n)
    drawn = with_interval(metric, values)
    if ((hits[known] != 0) & (hits[known] != 1)).any():
        return drawn, values
    exact = rate(int(hits[known].sum()), n, what="defective images")
    if drawn.low is None or drawn.high is None or exact.low is None or exact.high is None:
        return exact, values
    return Metric(metric.value, n, min(exact.low, drawn.low), max(exact.high, drawn.high)), values
