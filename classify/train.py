"""Learning by one of the methods, and predicting a fold's test images."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import (
    Dataset,
    DefectuneError,
    FoldThresholds,
    InputError,
    Prediction,
    Sample,
    UsageError,
    require_defects_in_training,
)
from annotations.errors import shortened
from annotations.files import remove_tree
from annotations.run_files import CHECKPOINTS, CLASSIFIER_FILE, CONFIG_FILE
from classify.config import ClassifyConfig, config_class
from classify.method import Calibration, FoldData
from classify.methods import method_named
from inference.tiling import extents
from training import (
    FoldJob,
    Predictor,
    Reporter,
    fold_folder,
    read_run_config,
    resolve_device,
    seed_everything,
    stored_config,
    train_run,
)
from training.array_files import Arrays, damaged_arrays, load_arrays, save_arrays
from training.job import Start

VANISHING_PIXELS: Final = 4
"""A defect of fewer, 2 by 2 at the network's size, is averaged away."""
VANISHING_WIDTH: Final = 1
"""Pixels at the network's size; of a thinner crack, less than half of each pixel is crack."""


class _WithHeldOutScores:
    """A predictor, and scores of images that its model was fitted to by fits without them."""

    def __init__(self, predictor: Predictor, scores: Mapping[str, float]) -> None:
        self._predictor = predictor
        self.held_out_scores = dict(scores)

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        return self._predictor.predict(image_id, image_rgb)


def train_classifier(
    dataset: Dataset,
    config: ClassifyConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
    start: Start | None = None,
) -> Path:
    """Learn on folds of a dataset and score their test images.

    Methods that do without defects learn, under every protocol, from the good images alone that
    the source gives for training.

    Returns:
        The run's folder.

    Raises:
        ProtocolError: the method needs defects, and the protocol keeps them out of training.
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        UsageError: an unknown model or method.
        InputError: too few training images.
    """
    kind = method_named(config.method)
    if kind.needs_defects:
        require_defects_in_training(
            dataset.split, dataset.samples, family=f"classify --method {kind.name}"
        )
    seed_everything(config.seed)
    method = kind(config, resolve_device(config.device))
    _say_if_enlarged(dataset.samples, config.image_size, reporter)
    train_ids = {image_id for fold in folds for image_id in dataset.split.folds[fold].train}
    if warning := vanishing_defects(dataset, sorted(train_ids), config.image_size):
        reporter.say(warning)
    learned: dict[tuple[str, ...], tuple[Arrays, Calibration]] = {}

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        data = _fold_data(job, name)
        key = method.key(data)
        # Folds of kfold share their good images, and so what is learned from them.
        key = (*key, str(job.fold)) if start is not None else key
        if key not in learned:
            # Networks are built in it: what was trained before must not show.
            seed_everything(config.seed)
            arrays = method.fit(data)
            learned.clear()
            learned[key] = arrays, method.calibrate(data, method.open(arrays))
        arrays, calibration = learned[key]
        save_arrays(job.folder / CLASSIFIER_FILE, arrays)
        remove_tree(job.folder / CHECKPOINTS)
        predictor = _WithHeldOutScores(method.open(arrays), calibration.held_out_scores)
        return predictor, calibration.thresholds

    return train_run(
        dataset,
        name,
        family="classify",
        model=method.described(),
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
        start=start,
    )


def _say_if_enlarged(samples: Sequence[Sample], side: int, reporter: Reporter) -> None:
    small = sum(min(sample.image_hw) < side for sample in samples)
    if small:
        reporter.say(f"{small} of {len(samples)} images are enlarged to {side} pixels.")


def vanishing_defects(dataset: Dataset, train_ids: Sequence[str], side: int) -> str:
    """A warning where training images lose their defects to resizing; empty where none does.

    Args:
        dataset: of the training.
        train_ids: images of the training side.
        side: of the square that images are resized to, in pixels.
    """
    needed: list[tuple[int, str]] = []
    for sample in dataset.select(train_ids):
        truth = dataset.truths[sample.image_id]
        if truth.masks is None or not len(truth):
            continue
        root = math.sqrt(sample.image_hw[0] * sample.image_hw[1])
        # The defect that is seen first decides: a classifier needs one of them.
        sides = [
            max(
                math.sqrt(VANISHING_PIXELS) * root / one.side,
                VANISHING_WIDTH * one.long_side / one.width,
            )
            for one in extents(truth)
        ]
        needed.append((math.ceil(min(sides) - 1e-9), sample.image_id))
    lost = [one for one in needed if one[0] > side]
    if not lost:
        return ""
    most, example = max(lost)
    half = sorted(size for size, _ in needed)[len(needed) // 2]
    return (
        f"WARNING: in {len(lost)} of {len(needed)} training images with defects, every defect "
        f"covers less than {VANISHING_PIXELS} pixels, or is less than {VANISHING_WIDTH} wide, once "
        f"the image is resized to {side}×{side} (such as {shortened(example, 80)}). A classifier "
        f"cannot see what vanishes. Train with --image-size {most} for all of them, {half} for "
        "half, or train a detector or segmenter, which can look through tiles."
    )


def _fold_data(job: FoldJob, name: str) -> FoldData:
    fold = job.dataset.split.folds[job.fold]
    train = job.dataset.select(fold.train)
    validation = job.dataset.select(fold.val)
    old = None if job.start is None else fold_folder(job.start.run, job.fold) / CLASSIFIER_FILE
    return FoldData(
        job,
        name,
        _good(train),
        _good(validation),
        tuple(train),
        tuple(validation),
        None if old is None else load_arrays(old),
    )


def _good(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Good images that the source gives for training; of other folds where it gives none."""
    good = [s for s in samples if not s.is_defective]
    return tuple([s for s in good if s.source_split != "test"] or good)


def load_classifier(run: Path, fold: int, *, device: str = "auto") -> Predictor:
    """Open one fold of a finished classifier run.

    Raises:
        InputError: not a classifier run, or that fold has no model.
    """
    config = stored_config(run, _stored_class(run))
    path = fold_folder(run, fold) / CLASSIFIER_FILE
    arrays = load_arrays(path)
    # With random weights the same seed makes the same network again.
    seed_everything(config.seed)
    method = method_named(config.method)(config, resolve_device(device))
    try:
        predictor = method.open(arrays)
        # Arrays of another model often fit until an image is looked at.
        predictor.predict("", np.zeros((32, 32, 3), np.uint8))
    except DefectuneError:
        raise
    except Exception as error:  # NumPy and torch raise many kinds
        raise damaged_arrays(path, error) from error
    return predictor


def _stored_class(run: Path) -> type[ClassifyConfig]:
    try:
        return config_class(read_run_config(run)["config"].get("method", "pretrained"))
    except UsageError as error:
        raise InputError(
            f"{run / CONFIG_FILE} is damaged: {shortened(error)} Train again."
        ) from error
