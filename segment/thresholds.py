"""Choosing a segmenter's thresholds on the validation images of a fold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import FoldThresholds, Sample
from annotations.images import read_image_rgb
from inference.masks import Look, SegmentPredictor
from inference.matching import match_regions
from segment.config import AimedConfig
from segment.data import resize_class_mask
from training import FoldJob, good_probability_thresholds, probability_thresholds

BINS: Final = 1000
MIN_AREAS: Final = (1e-4, 3e-4, 1e-3)
"""Candidates beside the configured one, as parts of the image."""
LOW_FRACTIONS: Final = (1.0, 0.5)
"""Candidates for hysteresis, as parts of the threshold of regions."""
MERGES: Final = (0.01, 0.03)
"""Candidates for the widest gap that is closed, as parts of the image's longer side."""
RARELY_CLOSER: Final = 0.1
GAIN: Final = 0.02
"""Of F1, from which on pieces are grouped: on a few dozen images less is chance."""
GOOD_PIXELS: Final = 0.9995
"""Part of the pixels of good validation images that stay below the threshold of regions, where
there is no defect to choose it on."""

FitScores = Callable[[Sequence[Sample], Sequence[Look]], Sequence[float]]


def look_at(
    job: FoldJob, samples: Sequence[Sample], predictor: SegmentPredictor
) -> list[Look]:
    """What a predictor sees in each of a fold's images."""
    advance = job.reporter.track(
        f"{job.folder.parent.name}: fold {job.fold}, validation images", len(samples)
    )
    looks = []
    for sample in samples:
        looks.append(predictor.look(read_image_rgb(sample.image_path)))
        advance("")
    return looks


def choose_thresholds(
    job: FoldJob,
    config: AimedConfig,
    predictor: SegmentPredictor,
    samples: Sequence[Sample],
    looks: Sequence[Look],
    *,
    good_alone: bool = False,
    fit_scores: FitScores | None = None,
) -> FoldThresholds:
    """Pixel threshold by pooled Dice, image threshold by the aim, smallest area by F1 of regions.

    The predictor gets what is chosen.

    Args:
        job: dataset and fold.
        config: settings, with the aim.
        predictor: of the trained network.
        samples: images that did not train what saw them.
        looks: what was seen in each of them.
        good_alone: without defective ones, choose on good ones; else 0.5 is taken.
        fit_scores: fits the predictor's image score to the validation images and gives held-out
            scores of them.
    """
    n_classes = len(job.dataset.class_names)
    inside, outside = np.zeros(BINS + 1), np.zeros(BINS + 1)
    for sample, seen in zip(samples, looks, strict=True):
        if job.dataset.strengths[sample.image_id] != "masks":
            continue
        truth = job.dataset.truths[sample.image_id].class_index_mask()
        scores = seen.defect
        hw = (scores.shape[0], scores.shape[1])
        small = resize_class_mask(truth, hw, n_classes) > 0
        levels = np.clip((scores * BINS).astype(int), 0, BINS)
        inside += np.bincount(levels[small], minlength=BINS + 1)
        outside += np.bincount(levels[~small], minlength=BINS + 1)
    flags = [sample.is_defective for sample in samples]
    only_good = good_alone and bool(samples) and not any(flags)
    predictor.region_threshold = (
        _good_pixel_threshold(outside) if only_good else _best_dice_threshold(inside, outside)
    )
    _choose_regions(job, predictor, samples, looks)
    image_scores: Sequence[float] = [seen.image_score for seen in looks]
    if fit_scores is not None:
        image_scores = fit_scores(samples, looks)
    if only_good:
        chosen = good_probability_thresholds(
            image_scores, region_threshold=predictor.region_threshold, aim=config.aim
        )
    else:
        chosen = probability_thresholds(
            image_scores, flags, region_threshold=predictor.region_threshold, aim=config.aim
        )
    return replace(
        chosen,
        min_area_fraction=predictor.min_area_fraction,
        low_fraction=predictor.low_fraction,
        merge_fraction=predictor.merge_fraction,
    )


def _good_pixel_threshold(outside: npt.NDArray[np.float64]) -> float:
    """The upper end of the bin with the quantile `GOOD_PIXELS` of good images' pixels."""
    share = np.cumsum(outside) / outside.sum()
    return float(np.clip((int(np.searchsorted(share, GOOD_PIXELS)) + 1) / BINS, 0.05, 0.999))


def _best_dice_threshold(
    inside: npt.NDArray[np.float64], outside: npt.NDArray[np.float64]
) -> float:
    """Threshold with the highest pooled Dice, from counts of pixels by score bin."""
    if not inside.any():
        return 0.5
    hits, false = np.cumsum(inside[::-1])[::-1], np.cumsum(outside[::-1])[::-1]
    dice = 2 * hits / (hits + false + inside.sum())
    # Neighbours are averaged: on few images the curve's single highest point is chance.
    smooth = np.convolve(dice[1:BINS], np.ones(51) / 51, mode="valid")
    return (int(np.argmax(smooth)) + 1 + 25) / BINS


def _choose_regions(
    job: FoldJob,
    predictor: SegmentPredictor,
    samples: Sequence[Sample],
    looks: Sequence[Look],
) -> None:
    """Give a predictor the smallest area, and the grouping of pieces, with the highest F1 of
    regions found.

    A thin crack falls into pieces wherever its score dips. Pieces are joined, and pixels below the
    threshold taken in, only where that finds clearly more, and over no wider gap than nine in ten
    images of the training side have between regions of their own.
    """
    gap = _usual_gap(job)
    least = predictor.min_area_fraction
    areas = [least, *(area for area in MIN_AREAS if area > least)]
    groupings = [(low, merge) for merge in (0.0, *MERGES) for low in LOW_FRACTIONS if merge < gap]
    best: tuple[float, float, float, float] | None = None
    for low, merge in groupings:
        predictor.low_fraction, predictor.merge_fraction = low, merge
        found_f1 = _f1_by_area(job, predictor, samples, looks, areas)
        # The first of equals is the smallest: nothing is left out without a reason.
        number = int(np.argmax(found_f1))
        score = found_f1[number]
        if best is None or score > best[0] + GAIN:
            best = (score, areas[number], low, merge)
    if best is not None:
        _, predictor.min_area_fraction, predictor.low_fraction, predictor.merge_fraction = best


def _usual_gap(job: FoldJob) -> float:
    """Nine in ten training images with several regions have no two closer together than this part
    of the longer side; 1 where no image has two."""
    gaps = []
    for sample in job.dataset.select(job.dataset.split.folds[job.fold].train):
        boxes = job.dataset.truths[sample.image_id].boxes_xyxy
        # Between boxes, which is never more than between what is inside them.
        apart = [
            float(np.hypot(*np.maximum(0, np.maximum(b[:2] - a[2:], a[:2] - b[2:]))))
            for number, a in enumerate(boxes[:-1])
            for b in boxes[number + 1 :]
        ]
        if apart:
            gaps.append(min(apart) / max(sample.image_hw))
    return float(np.quantile(gaps, RARELY_CLOSER)) if gaps else 1.0


def _f1_by_area(
    job: FoldJob,
    predictor: SegmentPredictor,
    samples: Sequence[Sample],
    looks: Sequence[Look],
    candidates: Sequence[float],
) -> list[float]:
    """F1 of the regions found, with smaller ones than each candidate left out."""
    matched, found_all = np.zeros(len(candidates)), np.zeros(len(candidates))
    n_truth = 0
    for sample, seen in zip(samples, looks, strict=True):
        truth = job.dataset.truths[sample.image_id]
        if job.dataset.strengths[sample.image_id] != "masks":
            # Nobody knows which of its pixels are defects: what is found there is no false alarm.
            continue
        found = predictor.prediction(sample.image_id, seen, sample.image_hw).regions
        n_truth += len(truth)
        if found is None or not len(found):
            continue
        sizes = found.areas / (sample.image_hw[0] * sample.image_hw[1])
        for number, smallest in enumerate(candidates):
            kept = found[sizes >= smallest]
            match = match_regions(truth, kept)
            found_all[number] += len(kept)
            # Pieces of one defect, and one piece over several defects, count once.
            matched[number] += min(match.found_truth.sum(), (~match.false_alarm).sum())
    if not n_truth:
        return [0.0] * len(candidates)
    return [float(value) for value in 2 * matched / (found_all + n_truth)]
