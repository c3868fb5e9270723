"""What one pass over a run's predictions leaves: counts an image, from which all metrics come."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations import Dataset, InputError, Regions, StoredPredictions
from evaluation.aupimo import PimoCounts, aupimo_metric
from evaluation.image_metrics import ImageScores
from evaluation.intervals import Floats, Weights, ratio_of_sums, with_interval
from evaluation.metric import Metric, rate, undefined
from evaluation.pixel_metrics import PixelCounts, pixel_metrics, pooled
from evaluation.pixel_resamples import PixelResampler
from evaluation.pointing import points_at
from evaluation.strata import SizeClass, image_size, region_fractions
from inference.matching import RegionMatch, match_regions, region_masks, union_mask

GOOD: Final = "good"
_SAMPLED_MAPS: Final = 64
Cell = tuple[str, str, str]
"""Type, size class and source: pixels of one cell are counted together."""
RANKED_PIXELS: Final = ("pixel_ap", "pixel_auroc", "pixel_f1_oracle")


@dataclass(frozen=True)
class EvaluatedImages:
    """The test images and what is true of them; the same for every run.

    Attributes:
        ids: n image ids.
        truth: scores apart, all that is known of them.
        types: text (n,), `good` or the defect type.
        sizes: the size classes.
        size_of: text (n,), size class of the largest region; empty without one.
        source_of: text (n,), the source.
        has_truth: bool (n,), False for a defective image that is known by its boxes or its
            image label alone: nobody knows which of its pixels are good, so that pixel and region
            metrics leave it out.
        weights: int64 (r, n), how often each image was drawn; one table for all runs, so that
            their differences are paired.
    """

    ids: tuple[str, ...]
    is_defective: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.str_]
    types: npt.NDArray[np.str_]
    sizes: tuple[SizeClass, ...]
    size_of: npt.NDArray[np.str_]
    source_of: npt.NDArray[np.str_]
    has_truth: npt.NDArray[np.bool_]
    weights: Weights

    def cell(self, index: int) -> Cell:
        """What pixels of an image are counted with."""
        return str(self.types[index]), str(self.size_of[index]), str(self.source_of[index])

    def scores(self, predictions: StoredPredictions) -> ImageScores:
        """One run's image scores."""
        values = np.array([predictions.image_scores[i] for i in self.ids], np.float64)
        return ImageScores(values, self.is_defective, self.groups, self.types)


def evaluated_images(
    dataset: Dataset,
    ids: Sequence[str],
    sizes: tuple[SizeClass, ...],
    draw: Callable[[npt.NDArray[np.str_], npt.NDArray[np.str_]], Weights],
) -> EvaluatedImages:
    """Gather what is true of images; `draw` resamples from strata and groups."""
    samples = dataset.select(ids)
    types = np.array([s.defect_type if s.is_defective else GOOD for s in samples], np.str_)
    groups = np.array([s.group for s in samples], np.str_)
    has_truth = [dataset.strengths[s.image_id] == "masks" for s in samples]
    return EvaluatedImages(
        tuple(ids),
        np.array([s.is_defective for s in samples], np.bool_),
        groups,
        types,
        sizes,
        np.array([image_size(dataset, i, sizes) or "" for i in ids], np.str_),
        np.array([s.origin for s in samples], np.str_),
        np.array(has_truth, np.bool_),
        draw(types, groups),
    )


class RunEvidence:
    """Counts of one run's pixels and regions on n images.

    Attributes:
        resampler: short histograms an image.
        region_size: by size class, float (2, n): regions of that size, and those found.
        pixels: pooled counts by fold and cell: (type, size class, source).
        pimo: what AUPIMO counts.
        true_pixels, found_pixels, hit_pixels: float (n,), pixels that are defects, that were
            called so, and both.
        image_pixels: float (n,).
        pointing: float (n,), see `pointing.points_at`; NaN without a located defect.
        n_regions, n_found, n_false: float (n,), true regions, those found, and false alarms.
    """

    def __init__(self, resampler: PixelResampler, n: int, region_size: dict[str, Floats]) -> None:
        """Begin with nothing counted."""
        self.resampler = resampler
        self.region_size = region_size
        self.pixels: dict[tuple[int, Cell], PixelCounts] = {}
        self.pimo = PimoCounts(n)
        self._pimo_values: Floats | None = None
        self.true_pixels, self.found_pixels, self.hit_pixels = np.zeros((3, n))
        self.pointing = np.full(n, np.nan)
        self.image_pixels, self.n_regions, self.n_found, self.n_false = np.zeros((4, n))

    @property
    def pimo_values(self) -> Floats:
        """AUPIMO of every image, float64 (n,), NaN where it has none; once all are counted."""
        if self._pimo_values is None:
            self._pimo_values = self.pimo.of_images()
        return self._pimo_values


def gather(
    dataset: Dataset, predictions: StoredPredictions, images: EvaluatedImages, *, regions: bool
) -> RunEvidence:
    """Read a run's maps and regions once (the maps of some images twice, to choose bins).

    Args:
        dataset: with the truth.
        predictions: of the run.
        images: that are evaluated.
        regions: whether the run says which regions it found.

    Raises:
        InputError: a map that is missing or damaged, or of another size than its image.
    """
    n = len(images.ids)
    low, high = _score_range(predictions, images.ids)
    usable = np.flatnonzero(images.has_truth)
    step = max(1, -(-len(usable) // _SAMPLED_MAPS))
    sample = PixelCounts(low, high)
    for index in usable[::step].tolist():
        image_id = images.ids[index]
        pixel_scores = _map_of(dataset, predictions, image_id)
        one = _count(dataset, predictions, image_id, low, high, pixel_scores)
        sample = pooled([sample, one])
    evidence = RunEvidence(
        PixelResampler(sample, n), n, {size.name: np.zeros((2, n)) for size in images.sizes}
    )
    for index in usable.tolist():
        image_id = images.ids[index]
        pixel_scores = _map_of(dataset, predictions, image_id)
        one = _count(dataset, predictions, image_id, low, high, pixel_scores)
        if images.is_defective[index]:
            evidence.pointing[index] = points_at(pixel_scores, dataset.truths[image_id])
        evidence.resampler.put(index, one)
        key = (predictions.fold_of[image_id], images.cell(index))
        evidence.pixels[key] = pooled([evidence.pixels.get(key, PixelCounts(low, high)), one])
        evidence.pimo.add(index, one, is_defective=bool(images.is_defective[index]))
        truth = dataset.truths[image_id]
        evidence.true_pixels[index] = one.defect.sum()
        evidence.image_pixels[index] = np.prod(truth.image_hw)
        if not regions:
            continue
        evidence.found_pixels[index] = one.found
        evidence.hit_pixels[index] = one.found_and_true
        found = predictions.found_regions(image_id)
        if found is None:
            continue
        match = match_regions(truth, found, dataset.ignored.get(image_id))
        evidence.n_regions[index] = len(match.found_truth)
        evidence.n_found[index] = match.found_truth.sum()
        evidence.n_false[index] = match.false_alarm.sum()
        fractions = region_fractions(dataset, image_id)
        for size in images.sizes:
            inside = size.holds(fractions)
            evidence.region_size[size.name][:, index] = (
                inside.sum(),
                (inside & match.found_truth).sum(),
            )
    for index, image_id in enumerate(images.ids):
        if dataset.strengths[image_id] == "boxes":
            pixel_scores = _map_of(dataset, predictions, image_id)
            evidence.pointing[index] = points_at(pixel_scores, dataset.truths[image_id])
    return evidence


def match_image(dataset: Dataset, image_id: str, found: Regions) -> RegionMatch:
    """Match what was found on an image to its truth, as `match_regions` does.

    Where nobody knows where the image's defects are, nothing is missed and nothing is a false
    alarm.
    """
    if dataset.strengths[image_id] == "image":
        return RegionMatch(np.zeros(0, np.bool_), np.zeros(len(found), np.bool_))
    return match_regions(dataset.truths[image_id], found, dataset.ignored.get(image_id))


def _map_of(
    dataset: Dataset, predictions: StoredPredictions, image_id: str
) -> npt.NDArray[np.floating[Any]]:
    truth = dataset.truths[image_id]
    pixel_scores = predictions.pixel_scores(image_id)
    if pixel_scores is None:
        raise InputError(f"{predictions.run} has no score map of {image_id}.")
    if pixel_scores.shape != truth.image_hw:
        raise InputError(
            f"The score map of {image_id} in {predictions.run} is {pixel_scores.shape[1]} x "
            f"{pixel_scores.shape[0]} pixels, the image {truth.image_hw[1]} x "
            f"{truth.image_hw[0]}. Maps are evaluated at the size of their image: predict again."
        )
    return pixel_scores


def _count(
    dataset: Dataset,
    predictions: StoredPredictions,
    image_id: str,
    low: float,
    high: float,
    pixel_scores: npt.NDArray[np.floating[Any]],
) -> PixelCounts:
    truth = dataset.truths[image_id]
    found = predictions.found_regions(image_id)
    inside = union_mask(found) if found is not None else np.zeros(truth.image_hw, np.bool_)
    counts = PixelCounts(low, high)
    ignored = dataset.ignored.get(image_id)
    away = None if ignored is None else union_mask(ignored)
    counts.add(pixel_scores, region_masks(truth), inside, away)
    return counts


def _score_range(predictions: StoredPredictions, ids: Iterable[str]) -> tuple[float, float]:
    """Lowest and highest score of all maps, and of all regions that are drawn for want of one."""
    low, high = (0.0, 1.0) if not predictions.map_ranges else (np.inf, -np.inf)
    for image_id in ids:
        if image_id in predictions.map_ranges:
            bounds = predictions.map_ranges[image_id]
        elif predictions.regions is not None:
            scores = predictions.regions[image_id].scores
            drawn = [0.0] if scores is None else [0.0, *scores.tolist()]
            bounds = min(drawn), max(drawn)
        else:
            continue
        low, high = min(low, bounds[0]), max(high, bounds[1])
    return (0.0, 1.0) if low > high else (float(low), float(high))


def pixel_figures(
    evidence: RunEvidence, images: EvaluatedImages, keep: npt.NDArray[np.bool_]
) -> tuple[dict[str, Metric], dict[str, Floats]]:
    """Ranking metrics of pixels, of some images; see `pixel_metrics.pixel_metrics` and `aupimo`.

    Args:
        evidence: of the run.
        images: that were evaluated.
        keep: bool (n,), whole cells: all of a type, a size class or a source.

    Returns:
        The metrics and their resampled values, float (r,).
    """
    cells = {images.cell(index) for index in np.flatnonzero(keep).tolist()}
    parts = [counts for (_, cell), counts in evidence.pixels.items() if cell in cells]
    figures = pixel_metrics(pooled(parts or [PixelCounts(0.0, 1.0)]))
    figures = {k: m for k, m in figures.items() if k in RANKED_PIXELS or k.startswith("aupro_")}
    unknown = unknown_pixels(images, keep)
    if unknown:
        figures = {k: _with_note(m, unknown) for k, m in figures.items()}
    if any(m.value is None for m in figures.values()):
        figures["aupimo"], _ = aupimo_metric(evidence.pimo_values, images.weights, keep)
        return figures, {}
    places = np.flatnonzero(keep)
    names = list(figures)
    values = evidence.resampler.figures(images.weights, names, places)
    once = np.ones((1, len(images.ids)), np.int64)
    coarse = evidence.resampler.figures(once, names, places)
    for name, drawn in values.items():
        value = figures[name].value
        if value is not None:
            values[name] = np.clip(drawn + (value - coarse[name][0]), 0, 1)
            figures[name] = with_interval(figures[name], values[name])
    figures["aupimo"], drawn_pimo = aupimo_metric(evidence.pimo_values, images.weights, keep)
    if drawn_pimo is not None:
        values["aupimo"] = drawn_pimo
    return figures, values


def unknown_pixels(images: EvaluatedImages, keep: npt.NDArray[np.bool_]) -> str:
    """How many defective images the metrics of pixels and regions leave out; empty for none."""
    bad = keep & images.is_defective
    n, of = int((bad & ~images.has_truth).sum()), int(bad.sum())
    return f"{n} of {of} defective images have no masks and are left out" if n else ""


def _with_note(metric: Metric, text: str) -> Metric:
    if metric.value is None:
        return replace(metric, reason=f"{metric.reason}: {text}")
    return replace(metric, note=f"{metric.note}; {text}" if metric.note else text)


def overlap_figures(
    evidence: RunEvidence, images: EvaluatedImages, keep: npt.NDArray[np.bool_]
) -> tuple[dict[str, Metric], dict[str, Floats]]:
    """Dice, IoU, region recall and false alarms at the run's own threshold.

    Returns:
        dice and iou, pooled over all images; dice_defective and iou_defective, pooled over the
        defective ones; dice_per_image and iou_per_image, means over defective images;
        good_images_clean, the part of good images of which no pixel was called defect (the mean
        Dice of good images, where it is 1 with nothing called and else 0);
        good_pixels_called, the part of good images' pixels that were; region_recall;
        false_alarms_per_image and false_alarms_per_good_image. And their resampled values.
    """
    w = images.weights
    known = keep & images.has_truth
    bad, good = known & images.is_defective, known & ~images.is_defective
    hit, both = evidence.hit_pixels, evidence.true_pixels + evidence.found_pixels
    union = both - hit
    with np.errstate(invalid="ignore", divide="ignore"):
        dice_of, iou_of = np.nan_to_num(2 * hit / both), np.nan_to_num(hit / union)
    nothing = "no pixel is a defect, and none was called one"
    no_bad, no_good = "no test image has a true region", "there are no good images"
    ones = np.ones(len(w[0]) if len(w) else len(keep))
    rows = (
        ("dice", 2 * hit, both, known, nothing),
        ("iou", hit, union, known, nothing),
        ("dice_defective", 2 * hit, both, bad, no_bad),
        ("iou_defective", hit, union, bad, no_bad),
        ("dice_per_image", dice_of, ones, bad, no_bad),
        ("iou_per_image", iou_of, ones, bad, no_bad),
        ("good_pixels_called", evidence.found_pixels, evidence.image_pixels, good, no_good),
        ("false_alarms_per_image", evidence.n_false, ones, known, "there are no images"),
        ("false_alarms_per_good_image", evidence.n_false, ones, good, no_good),
        ("region_recall", evidence.n_found, evidence.n_regions, known, no_bad),
    )
    figures: dict[str, Metric] = {}
    values: dict[str, Floats] = {}
    unknown = unknown_pixels(images, keep)
    for name, above, below, of, reason in rows:
        total = float(below[of].sum())
        if name in ("dice", "iou") and unknown and not bad.any():
            # Of good images alone it would be 0 for a single pixel called.
            figures[name] = undefined(no_bad)
            continue
        if not total:
            figures[name] = undefined(reason)
            continue
        values[name] = ratio_of_sums(w[:, of], above[of], below[of])
        figures[name] = with_interval(
            Metric(float(above[of].sum()) / total, int(of.sum())), values[name]
        )
    if "region_recall" in values:
        counts = int(evidence.n_found[known].sum()), int(evidence.n_regions[known].sum())
        figures["region_recall"] = recall_metric(*counts, values["region_recall"])
    if unknown:
        about_good = ("good_pixels_called", "false_alarms_per_good_image")
        figures = {k: m if k in about_good else _with_note(m, unknown) for k, m in figures.items()}
    clean = good & (evidence.found_pixels == 0)
    figures["good_images_clean"] = rate(int(clean.sum()), int(good.sum()), what="good images")
    return figures, values


def recall_metric(found: int, total: int, values: Floats) -> Metric:
    """Found of all true regions: Clopper and Pearson's interval, or the bootstrap's over parts
    where that reaches further, since regions of one image are not independent."""
    metric = rate(found, total, what="true regions")
    drawn = with_interval(metric, values)
    if metric.low is None or metric.high is None or drawn.low is None or drawn.high is None:
        return metric
    return Metric(metric.value, total, min(metric.low, drawn.low), max(metric.high, drawn.high))
