"""Fine-tuning a YOLO detector on one fold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from annotations import (
    Dataset,
    FoldThresholds,
    UsageError,
    WeightsNotFoundError,
    require_defects_in_training,
)
from annotations.images import read_image_rgb
from detect import lite0
from detect.config import DetectConfig
from detect.data import choose_images
from detect.fit import fit
from detect.network import (
    OLD_WEIGHTS_FILE,
    WEIGHTS_FILE,
    Architecture,
    load_detector,
    published_architecture,
    read_checkpoint,
)
from detect.predict import BoxPredictor
from inference.matching import FoundLevels, best_region_threshold, found_levels
from training import (
    FoldJob,
    Predictor,
    Reporter,
    find_weights,
    probability_thresholds,
    read_run_config,
    train_run,
    yolo_file,
)
from training.device import device_list
from training.fold_tiles import choose_fold_tiles
from training.job import RANDOM_WEIGHTS, Start
from training.shots import select_limited

AUTO: Final = "auto"
DEFAULT_MODEL: Final = "yolo11n.pt"


DEFAULT_CONFIDENCE: Final = 0.25
"""Boxes count from here on in ultralytics, where nothing is chosen."""


def train_detector(
    dataset: Dataset,
    config: DetectConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
    start: Start | None = None,
) -> Path:
    """Fine-tune a detector on folds of a dataset and predict their test images.

    Returns:
        The run's folder.

    Raises:
        ProtocolError: the protocol keeps defective images out of training.
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        InputError, OutputExistsError, TrainingError: see `training.train_run`.
    """
    require_defects_in_training(dataset.split, dataset.samples, family="detect")
    if start is not None and config.model == AUTO:
        # The same network, whatever could be had by its name.
        config = config.model_copy(update={"model": read_run_config(start.run)["config"]["model"]})
    config = _with_model(config, reporter)
    source = None if start is not None else _model_source(config)
    device = device_list(config.device)[0]

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        return _train_fold(job, config, source, str(device))

    return train_run(
        dataset,
        name,
        family="detect",
        model=Path(config.model).stem + ("" if config.weights != "none" else RANDOM_WEIGHTS),
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
        start=start,
    )


def _with_model(config: DetectConfig, reporter: Reporter) -> DetectConfig:
    """Settings with a model's name in place of `auto`."""
    if config.model != AUTO:
        return config
    if config.weights != "auto":
        # A file says itself what it holds, and random weights are had for every name.
        return config.model_copy(update={"model": DEFAULT_MODEL})
    try:
        find_weights(yolo_file(DEFAULT_MODEL), given="auto")
    except WeightsNotFoundError:
        reporter.say(
            f"COCO weights ({DEFAULT_MODEL}) are neither here nor reachable: the detector is "
            f"{lite0.MODEL}, with ImageNet weights that are installed. `defectune doctor` says "
            "where to put the file."
        )
        return config.model_copy(update={"model": lite0.MODEL})
    return config.model_copy(update={"model": DEFAULT_MODEL})


def _model_source(config: DetectConfig) -> Path | Architecture:
    """A checkpoint from the look-up order, or layers that get random weights."""
    published = published_architecture(config.model)
    if config.model == lite0.MODEL:
        if config.weights not in ("auto", "none"):
            raise UsageError(
                f"The model {lite0.MODEL} takes --weights auto (ImageNet) or none, found "
                f"{config.weights!r}. A detector's checkpoint goes with its own --model."
            )
        if "," in config.device:
            raise UsageError(
                f"The model {lite0.MODEL} trains on one device, found --device {config.device}. "
                f"Give one, or --model {DEFAULT_MODEL}."
            )
        return published
    if config.weights == "none":
        return published
    path = find_weights(yolo_file(config.model), given=config.weights)
    read_checkpoint(path)
    return path


def _train_fold(
    job: FoldJob, config: DetectConfig, source: Path | Architecture | None, device: str
) -> tuple[Predictor, FoldThresholds]:
    train = choose_images(job.dataset, job.dataset.split.folds[job.fold].train, config)
    tiles = choose_fold_tiles(job, train, image_size=config.image_size, asked=config.tiles)
    if not any((job.folder / name).is_file() for name in (WEIGHTS_FILE, OLD_WEIGHTS_FILE)):
        fit(job, config, source, tiles)
    predictor = BoxPredictor(
        load_detector(job.folder),
        image_size=config.image_size,
        max_detections=config.max_detections,
        device=device,
        tiles=tiles,
        views=config.views,
    )
    return predictor, _thresholds(job, config, predictor)


def _thresholds(job: FoldJob, config: DetectConfig, predictor: BoxPredictor) -> FoldThresholds:
    samples = select_limited(job.dataset, job.dataset.split.folds[job.fold].val, config)
    image_scores: list[float] = []
    levels: list[FoundLevels] = []
    for sample in samples:
        prediction = predictor.predict(sample.image_id, read_image_rgb(sample.image_path))
        image_scores.append(prediction.image_score)
        # Nobody knows where the defects of an image label are: what is found is no false alarm.
        known = job.dataset.strengths[sample.image_id] != "image"
        if prediction.regions is not None and known:
            levels.append(found_levels(job.dataset.truths[sample.image_id], prediction.regions))
    return probability_thresholds(
        image_scores,
        [sample.is_defective for sample in samples],
        [sample.group for sample in samples],
        region_threshold=best_region_threshold(levels),
        default=DEFAULT_CONFIDENCE,
    )
