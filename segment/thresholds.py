"""Choosing a segmenter's thresholds on the validation images of a fold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import FoldThresholds, Sample
from annotations.images import read_image_rgb
from annotations.scoring.masks import Look, SegmentPredictor
from segment.config import AimedConfig
from segment.data import resize_class_mask
from training import FoldJob, good_probability_thresholds, probability_thresholds
from training.matching import greedy_hits

BINS: Final = 1000
MIN_AREAS: Final = (1e-4, 3e-4, 1e-3)
"""Candidates beside the configured one, as parts of the image."""
GOOD_PIXELS: Final = 0.9995
"""Part of the pixels of good validation images that stay below the threshold of regions, where
there is no defect to choose it on."""

FitScores = Callable[[Sequence[Sample], Sequence[Look]], Sequence[float]]


def choose_thresholds(
    job: FoldJob,
    config: AimedConfig,
    predictor: SegmentPredictor,
    samples: Sequence[Sample],
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
        samples: validation images.
        good_alone: without defective ones, choose on good ones; else 0.5 is taken.
        fit_scores: fits the predictor's image score to the validation images and gives held-out
            scores of them.
    """
    n_classes = len(job.dataset.class_names)
    inside, outside = np.zeros(BINS + 1), np.zeros(BINS + 1)
    looks = []
    for sample in samples:
        seen = predictor.look(read_image_rgb(sample.image_path))
        looks.append(seen)
        if sample.is_defective and not len(job.dataset.truths[sample.image_id]):
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
    predictor.min_area_fraction = _best_min_area(job, predictor, samples, looks)
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
    return replace(chosen, min_area_fraction=predictor.min_area_fraction)


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


def _best_min_area(
    job: FoldJob,
    predictor: SegmentPredictor,
    samples: Sequence[Sample],
    looks: Sequence[Look],
) -> float:
    """The smallest area, as a part of the image, with the highest F1 of found regions."""
    least = predictor.min_area_fraction
    candidates = [least, *(area for area in MIN_AREAS if area > least)]
    hits = np.zeros(len(candidates))
    found_all = np.zeros(len(candidates))
    n_truth = 0
    for sample, seen in zip(samples, looks, strict=True):
        truth = job.dataset.truths[sample.image_id]
        found = predictor.prediction(sample.image_id, seen, sample.image_hw).regions
        n_truth += len(truth)
        if found is None or not len(found):
            continue
        sizes = found.areas / (sample.image_hw[0] * sample.image_hw[1])
        for number, smallest in enumerate(candidates):
            kept = found[sizes >= smallest]
            found_all[number] += len(kept)
            hits[number] += sum(greedy_hits(kept, truth))
    if not n_truth:
        return candidates[0]
    # The first of equals is the smallest: nothing is left out without a reason.
    return candidates[int(np.argmax(2 * hits / (found_all + n_truth)))]
