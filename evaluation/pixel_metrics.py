"""Metrics of pixels, from counts that are pooled image by image; no map is kept.

Scores are counted in 65,536 levels between the lowest and the highest score of all maps. Where
the maps share one range, as probabilities do, these are the levels that they have on disk, and
ranking metrics are exact for what is stored, ties included; maps of different ranges, and scores
of regions drawn as a map, are rounded to the nearest level. The intervals of ranking metrics come
from resamples of whole parts (`evaluation.pixel_resamples`): pixels of one image are not
independent.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations.regions import BoolMask
from evaluation.metric import Metric, undefined

LEVELS: Final = 65536
AUPRO_LIMITS: Final = {"aupro_30": 0.3, "aupro_5": 0.05}
Counts = npt.NDArray[np.int64]


class PixelCounts:
    """Pooled counts of pixels and of true regions, by score level."""

    def __init__(self, low: float, high: float) -> None:
        """Begin with nothing.

        Args:
            low: lowest score of all maps.
            high: highest score of all maps.
        """
        self.low = low
        self.high = high
        self._scale = (LEVELS - 1) / (high - low) if high > low else 0.0
        self.defect = np.zeros(LEVELS, np.int64)
        self.background = np.zeros(LEVELS, np.int64)
        self.overlap = np.zeros(LEVELS, np.float64)
        """Sum over true regions of the part of each that lies at a level."""
        self.n_regions = 0
        self.found_and_true = 0
        self.found = 0

    def levels(self, pixel_scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint16]:
        """Scores to levels, uint16 (H, W)."""
        scaled = (pixel_scores.astype(np.float64) - self.low) * self._scale
        return np.clip(np.rint(scaled), 0, LEVELS - 1).astype(np.uint16)

    def add(
        self,
        pixel_scores: npt.NDArray[np.floating[Any]],
        true_regions: Iterable[BoolMask],
        found: BoolMask,
        ignored: BoolMask | None = None,
    ) -> None:
        """Count one image.

        Args:
            pixel_scores: float (H, W).
            true_regions: bool (H, W) each; read once, so that they may come one at a time.
            found: bool (H, W), what the run calls defect at its own threshold.
            ignored: bool (H, W), pixels outside of true regions that do not count.

        Raises:
            ValueError: sizes that differ.
        """
        levels = self.levels(pixel_scores)
        truth = np.zeros(levels.shape, np.bool_)
        for region in true_regions:
            if region.shape != levels.shape or found.shape != levels.shape:
                raise ValueError(f"Region {region.shape}, map {levels.shape}, found {found.shape}.")
            truth |= region
            counts = np.bincount(levels[region], minlength=LEVELS)
            self.overlap += counts / max(int(counts.sum()), 1)
            self.n_regions += 1
        inside = np.bincount(levels[truth], minlength=LEVELS)
        self.defect += inside
        self.background += np.bincount(levels.ravel(), minlength=LEVELS) - inside
        if ignored is not None:
            away = ignored & ~truth
            self.background -= np.bincount(levels[away], minlength=LEVELS)
            found = found & ~away
        self.found_and_true += int(np.count_nonzero(found & truth))
        self.found += int(np.count_nonzero(found))


def pooled(parts: Sequence[PixelCounts]) -> PixelCounts:
    """The sum of counts that share one range of scores.

    Raises:
        ValueError: no parts, or ranges that differ.
    """
    if len({(part.low, part.high) for part in parts}) != 1:
        raise ValueError("Only counts over one range of scores can be pooled.")
    total = PixelCounts(parts[0].low, parts[0].high)
    for part in parts:
        total.defect += part.defect
        total.background += part.background
        total.overlap += part.overlap
        total.n_regions += part.n_regions
        total.found_and_true += part.found_and_true
        total.found += part.found
    return total


def _falling(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.cumsum(counts[::-1])


def pixel_metrics(counts: PixelCounts) -> dict[str, Metric]:
    """Metrics from pooled counts.

    Returns:
        pixel_ap and pixel_auroc as for images; pixel_f1_oracle, the highest F1 over thresholds
        on the test images; aupro_30 (Bergmann et al., IJCV 2021, section 5.2: mean overlap of
        the true regions against the false-positive rate of the pixels outside, its area up to
        30 %, divided by 0.3), and aupro_5, up to 5 %; dice and iou, pooled over all images, at the
        run's own threshold.
    """
    true_total, false_total = int(counts.defect.sum()), int(counts.background.sum())
    n = true_total + false_total
    names = ("pixel_ap", "pixel_auroc", "pixel_f1_oracle", "aupro_30", "aupro_5")
    if not true_total:
        result = {name: undefined("no pixel is a defect", n) for name in names}
    else:
        hits, false = _falling(counts.defect), _falling(counts.background)
        called = hits + false
        steps = np.diff(hits, prepend=0) / true_total
        precision = np.divide(hits, called, out=np.ones(LEVELS), where=called > 0)
        result = {
            "pixel_ap": Metric(float((steps * precision).sum()), n),
            "pixel_f1_oracle": Metric(float((2 * hits / (called + true_total)).max()), n),
        }
        if not false_total:
            reason = "every pixel is a defect"
            result |= {name: undefined(reason, n) for name in ("pixel_auroc", *AUPRO_LIMITS)}
        else:
            recall = np.concatenate(([0.0], hits / true_total))
            false_rate = np.concatenate(([0.0], false / false_total))
            overlap = np.concatenate(([0.0], _falling(counts.overlap) / counts.n_regions))
            result["pixel_auroc"] = Metric(float(np.trapezoid(recall, false_rate)), n)
            result |= {
                name: Metric(area_up_to(false_rate, overlap, limit), counts.n_regions)
                for name, limit in AUPRO_LIMITS.items()
            }
    union = counts.found + true_total - counts.found_and_true
    if union:
        dice = 2 * counts.found_and_true / (counts.found + true_total)
        result["dice"] = Metric(dice, n)
        result["iou"] = Metric(counts.found_and_true / union, n)
    else:
        reason = "no pixel is a defect, and none was called one"
        result |= {name: undefined(reason, n) for name in ("dice", "iou")}
    return result


def area_up_to(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], limit: float) -> float:
    """Area under a curve from x = 0 to `limit`, divided by `limit`; cut by interpolation.

    Args:
        x: float (n,), rising from 0 to at least `limit`.
        y: float (n,).
        limit: above 0.
    """
    inside = x <= limit
    cut = int(np.count_nonzero(inside))
    xs, ys = x[:cut], y[:cut]
    if cut < len(x):
        share = (limit - x[cut - 1]) / (x[cut] - x[cut - 1])
        xs = np.append(xs, limit)
        ys = np.append(ys, y[cut - 1] + share * (y[cut] - y[cut - 1]))
    return float(np.trapezoid(ys, xs) / limit)
