"""AUPIMO: overlap image by image, at false-positive rates that a line can live with.

Bertoldo et al., AUPIMO, BMVC 2024 (arXiv:2401.01984), sections 3 and 4: thresholds are read off
good images alone, as the mean over good images of the part of each that a threshold calls
defective; each defective image's recall of defect pixels is then averaged over that rate from
1e-5 to 1e-4 on a logarithmic scale.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Floats, Weights, ratio_of_sums, with_interval
from evaluation.metric import Metric, undefined
from evaluation.pixel_metrics import LEVELS, PixelCounts

LOWEST_RATE: Final = 1e-5
HIGHEST_RATE: Final = 1e-4


class PimoCounts:
    """Counts by score level of good images together, and of every defective image."""

    def __init__(self, n_images: int) -> None:
        """Begin with nothing counted; `n_images` is the number of all images."""
        self._false = np.zeros(LEVELS)
        self._n_good = 0
        self._defect: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]] | None]
        self._defect = [None] * n_images

    def add(self, index: int, counts: PixelCounts, *, is_defective: bool) -> None:
        """Count one image, that of `index`."""
        if not is_defective:
            self._false += counts.background / max(int(counts.background.sum()), 1)
            self._n_good += 1
        elif counts.defect.any():
            # Only levels that occur are kept: a defect has far fewer pixels than there are levels.
            levels = np.flatnonzero(counts.defect)
            self._defect[index] = levels, counts.defect[levels]

    def of_images(self) -> Floats:
        """Each defective image's metric, float64 (n,); NaN for good and for empty ones, and for
        all where there is no good image."""
        values = np.full(len(self._defect), np.nan)
        if not self._n_good:
            return values
        shared = np.cumsum(self._false[::-1]) / self._n_good
        for index, entry in enumerate(self._defect):
            if entry is not None:
                levels, numbers = entry
                hits = np.zeros(LEVELS)
                hits[LEVELS - 1 - levels] = numbers
                recall = np.cumsum(hits) / numbers.sum()
                values[index] = area_over_log_rate(shared, recall)
        return values


def area_over_log_rate(
    shared: Floats, recall: Floats, low: float = LOWEST_RATE, high: float = HIGHEST_RATE
) -> float:
    """Mean of a recall over the logarithm of a false-positive rate, by trapezoids.

    Args:
        shared: float (n,), the rate at falling thresholds, rising from 0 or more.
        recall: float (n,), at the same thresholds.
        low: where the average begins. Where no threshold has so low a rate, the recall without
            any false pixel stands for it.
        high: where it ends.
    """
    # Of thresholds with one rate, the lowest finds most.
    last = np.flatnonzero(np.append(shared[1:] != shared[:-1], True))
    rates, found = shared[last], recall[last]
    clean = float(found[rates <= 0].max(initial=0.0))
    above = rates > 0
    x, y = np.log(rates[above]), found[above]
    ends = np.log([low, high])
    if not len(x):
        return clean
    at_ends = np.interp(ends, x, y, left=clean)
    inside = (x > ends[0]) & (x < ends[1])
    xs = np.concatenate((ends[:1], x[inside], ends[1:]))
    ys = np.concatenate((at_ends[:1], y[inside], at_ends[1:]))
    return float(np.trapezoid(ys, xs) / (ends[1] - ends[0]))


def aupimo_metric(
    values: Floats, weights: Weights, keep: npt.NDArray[np.bool_]
) -> tuple[Metric, Floats | None]:
    """The mean over defective images, with its interval and resampled values.

    Args:
        values: float (n,) of `PimoCounts.of_images`.
        weights: int64 (r, n). Good images are not drawn anew: the thresholds stay.
        keep: bool (n,), images that count.
    """
    known = keep & np.isfinite(values)
    if not known.any():
        return undefined("it needs a good image and one whose defect is marked"), None
    drawn = ratio_of_sums(weights[:, known], values[known], np.ones(int(known.sum())))
    return with_interval(Metric(float(values[known].mean()), int(known.sum())), drawn), drawn
