"""Resampled pixel metrics from one short histogram an image, so that no map is kept.

The levels of `PixelCounts` are put together into some hundred bins, cut where the evaluated pixels
have their mass; a resample is then a weighted sum of histograms. The coarse metric differs from
the fine one by less than a thousandth; the intervals are shifted by that difference.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Floats, Weights
from evaluation.pixel_metrics import LEVELS, PixelCounts

_CUTS: Final = 256


class PixelResampler:
    """Histograms of n images over shared bins, from the highest score down."""

    def __init__(self, sample: PixelCounts, n_images: int) -> None:
        """Choose the bins.

        Args:
            sample: pooled counts of some of the images, over the range of all.
            n_images: that will be counted.
        """
        self._cuts = _cut_levels(sample)
        shape = (n_images, len(self._cuts))
        self._defect = np.zeros(shape)
        self._background = np.zeros(shape)
        self._overlap = np.zeros(shape)
        self._n_regions = np.zeros(n_images)

    def put(self, index: int, counts: PixelCounts) -> None:
        """Keep one image's counts, those of `index`."""
        for kept, fine in (
            (self._defect, counts.defect),
            (self._background, counts.background),
            (self._overlap, counts.overlap),
        ):
            kept[index] = np.add.reduceat(fine, self._cuts)[::-1]
        self._n_regions[index] = counts.n_regions

    def figures(
        self, weights: Weights, names: Sequence[str], keep: npt.NDArray[np.intp]
    ) -> dict[str, Floats]:
        """Resampled metrics of some of the images.

        Args:
            weights: int64 (r, n).
            names: of pixel_ap, pixel_auroc and aupro_LIMIT, the limit in percent; others are
                left out.
            keep: places of the images that count.

        Returns:
            By name float64 (r,); NaN where a resample has no defect or no background.
        """
        w = weights[:, keep].astype(np.float64)
        hits = np.cumsum(w @ self._defect[keep], axis=1)
        false = np.cumsum(w @ self._background[keep], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = hits / hits[:, -1:]
            false_rate = false / false[:, -1:]
        result: dict[str, Floats] = {}
        for name in names:
            if name == "pixel_ap":
                called = np.maximum(hits + false, 1)
                result[name] = (np.diff(recall, axis=1, prepend=0) * hits / called).sum(axis=1)
            elif name == "pixel_auroc":
                result[name] = _area(false_rate, recall, 1.0)
            elif name.startswith("aupro_"):
                regions = w @ self._n_regions[keep]
                overlap = np.cumsum(w @ self._overlap[keep], axis=1)
                with np.errstate(invalid="ignore", divide="ignore"):
                    mean = overlap / regions[:, None]
                result[name] = _area(false_rate, mean, int(name.removeprefix("aupro_")) / 100)
        return result


def _area(x: Floats, y: Floats, limit: float) -> Floats:
    """Area under rows of curves from (0, 0), x rising to 1, up to `limit`, divided by it."""
    x = np.concatenate((np.zeros((len(x), 1)), x), axis=1)
    y = np.concatenate((np.zeros((len(y), 1)), y), axis=1)
    step = np.diff(x, axis=1)
    inside = np.clip(limit - x[:, :-1], 0, step)
    share = np.divide(inside, step, out=np.zeros_like(step), where=step > 0)
    end = y[:, :-1] + share * np.diff(y, axis=1)
    return np.asarray((inside * (y[:, :-1] + end) / 2).sum(axis=1) / limit, np.float64)


def _cut_levels(sample: PixelCounts) -> npt.NDArray[np.intp]:
    """First level of each bin, rising from 0.

    Bins hold equal parts of the defects' pixels, parts of the background's that shrink toward
    high scores, where false-positive rates are read, and equal parts of the range.
    """
    cuts = [np.linspace(0, LEVELS, _CUTS, endpoint=False).astype(np.intp)]
    for counts, parts in (
        (sample.defect, np.linspace(0, 1, 2 * _CUTS, endpoint=False)),
        (sample.background, 1 - np.geomspace(1e-7, 1, 2 * _CUTS)),
        (sample.background, np.linspace(0, 1, _CUTS, endpoint=False)),
    ):
        if counts.sum():
            falling = np.cumsum(counts) / counts.sum()
            cuts.append(np.searchsorted(falling, parts, side="right"))
    return np.unique(np.clip(np.concatenate([*cuts, [0]]), 0, LEVELS - 1)).astype(np.intp)
