"""Fine-tuning a segmenter on folds, and choosing its thresholds on validation images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import Dataset, FoldThresholds, Sample, require_defects_in_training
from annotations.files import write_json_atomic
from annotations.images import read_image_rgb
from annotations.run_files import SEGMENTER_WEIGHTS_FILE, TILES_FILE
from segment.config import SegmentConfig
from segment.data import resize_class_mask
from segment.fit import fit, with_masks
from segment.network import build_network
from segment.predict import MaskPredictor
from training import (
    FoldJob,
    Predictor,
    Reporter,
    load_into,
    probability_thresholds,
    resolve_device,
    train_run,
)
from training.device import device_list
from training.matching import greedy_hits
from training.shots import limit_defects
from training.tiling import choose_tiles

BINS: Final = 1000
MIN_AREAS: Final = (1e-4, 3e-4, 1e-3)
"""Candidates beside the configured one, as parts of the image."""


def train_segmenter(
    dataset: Dataset,
    config: SegmentConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
) -> Path:
    """Fine-tune a segmenter on folds of a dataset and predict their test images.

    Returns:
        The run's folder.

    Raises:
        ProtocolError: the protocol keeps defective images out of training.
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        InputError, OutputExistsError, TrainingError: see `training.train_run`.
    """
    require_defects_in_training(dataset.split, dataset.samples, family="segment")
    device_list(config.device)
    build_network(config, len(dataset.class_names), pretrained=config.weights == "auto")

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        return _train_fold(job, config)

    return train_run(
        dataset,
        name,
        family="segment",
        model=f"{config.architecture} {config.encoder}",
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
    )


def _train_fold(job: FoldJob, config: SegmentConfig) -> tuple[Predictor, FoldThresholds]:
    best = job.folder / SEGMENTER_WEIGHTS_FILE
    network = build_network(config, len(job.dataset.class_names), pretrained=False)
    tiles = _tiles(job, config)
    if not best.is_file():
        fit(job, config, tiles, best)
    load_into(network, best)
    device = resolve_device(config.device)
    predictor = MaskPredictor(network, config, device=device, tiles=tiles)
    return predictor, _thresholds(job, config, predictor)


def _tiles(job: FoldJob, config: SegmentConfig) -> int:
    """Along the longer side; written down, for whoever opens the run later."""
    path = job.folder / TILES_FILE
    truths = job.dataset.truths
    train = with_masks(job, job.dataset.split.folds[job.fold].train, config)
    tiles = choose_tiles(
        ((float(a), max(s.image_hw)) for s in train for a in truths[s.image_id].areas),
        tile_side=config.image_size,
        asked=config.tiles,
    )
    if config.tiles == "auto" and tiles > 1:
        job.reporter.say(f"Defects are small: {tiles} tiles along the longer side of an image.")
    write_json_atomic(path, {"tiles": tiles})
    return tiles


def _thresholds(job: FoldJob, config: SegmentConfig, predictor: MaskPredictor) -> FoldThresholds:
    """Pixel threshold by pooled Dice, image threshold, and smallest area by F1 of regions."""
    samples = limit_defects(
        job.dataset.select(job.dataset.split.folds[job.fold].val),
        config.shots_per_type,
        seed=config.seed,
    )
    n_classes = len(job.dataset.class_names)
    inside, outside = np.zeros(BINS + 1), np.zeros(BINS + 1)
    image_scores = []
    for sample in samples:
        probabilities = predictor.probabilities(read_image_rgb(sample.image_path))
        scores = 1 - probabilities[0]
        image_scores.append(predictor.image_score(scores))
        if sample.is_defective and not len(job.dataset.truths[sample.image_id]):
            continue
        truth = job.dataset.truths[sample.image_id].class_index_mask()
        small = resize_class_mask(truth, scores.shape, n_classes) > 0
        levels = np.clip((scores * BINS).astype(int), 0, BINS)
        inside += np.bincount(levels[small], minlength=BINS + 1)
        outside += np.bincount(levels[~small], minlength=BINS + 1)
    predictor.region_threshold = _best_dice_threshold(inside, outside)
    predictor.min_area_fraction = _best_min_area(job, config, predictor, samples)
    thresholds = probability_thresholds(
        image_scores,
        [s.is_defective for s in samples],
        region_threshold=predictor.region_threshold,
    )
    return replace(thresholds, min_area_fraction=predictor.min_area_fraction)


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
    job: FoldJob, config: SegmentConfig, predictor: MaskPredictor, samples: Sequence[Sample]
) -> float:
    """The smallest area, as a part of the image, with the highest F1 of found regions."""
    candidates = [
        config.min_area_fraction,
        *(a for a in MIN_AREAS if a > config.min_area_fraction),
    ]
    hits = np.zeros(len(candidates))
    found_all = np.zeros(len(candidates))
    n_truth = 0
    for sample in samples:
        truth = job.dataset.truths[sample.image_id]
        found = predictor.predict(sample.image_id, read_image_rgb(sample.image_path)).regions
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
