"""Fine-tuning a YOLO detector on one fold."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from annotations import (
    Dataset,
    FoldThresholds,
    InputError,
    Regions,
    Sample,
    TrainingError,
    require_defects_in_training,
)
from annotations.files import write_text_atomic
from annotations.images import read_image_rgb, write_png
from detect.config import DetectConfig
from detect.predict import BoxPredictor
from detect.ultralytics_setup import import_yolo
from training import (
    FoldJob,
    Predictor,
    Reporter,
    best_f1_threshold,
    find_weights,
    probability_thresholds,
    resolve_device,
    seed_everything,
    train_run,
    yolo_file,
)
from training.contact_sheet import (
    CONTACT_SHEET,
    load_labelled,
    make_injector,
    write_contact_sheet,
)
from training.matching import greedy_hits
from training.yolo_labels import yolo_box_lines, yolo_polygon_lines

WEIGHTS_FILE = "best.pt"
INJECTION_SIDE = 1024
"""Longest side in pixels of images that defects are pasted into; larger ones are shrunk."""


def train_detector(
    dataset: Dataset,
    config: DetectConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
) -> Path:
    """Fine-tune a detector on folds of a dataset and predict their test images.

    Returns:
        The run's folder.

    Raises:
        ProtocolError: the protocol keeps defective images out of training.
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        InputError, OutputExistsError, TrainingError: see `training.train_run`.
    """
    require_defects_in_training(dataset.split, family="detect")
    source = _model_source(config)
    device = resolve_device(config.device)

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        return _train_fold(job, config, source, str(device))

    return train_run(
        dataset,
        name,
        family="detect",
        model=Path(config.model).stem + ("" if config.weights != "none" else " (random weights)"),
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
    )


def _model_source(config: DetectConfig) -> str:
    """What `YOLO()` opens: a checkpoint from the look-up order, or an architecture."""
    if config.model != Path(config.model).name or not config.model.endswith(".pt"):
        raise InputError(
            f"The model {config.model!r} should be the name of an ultralytics checkpoint, such as "
            "yolo11n.pt. Your own file goes to --weights FILE."
        )
    if config.weights == "none":
        return config.model.removesuffix(".pt") + ".yaml"
    return str(find_weights(yolo_file(config.model), given=config.weights))


def _choose_images(dataset: Dataset, ids: Sequence[str], ratio: float, seed: int) -> list[Sample]:
    """All defective images with boxes, and some good ones for each."""
    samples = dataset.select(ids)
    # A defective image with an empty mask has no box to teach, and is not a good one either.
    defective = [s for s in samples if s.is_defective and len(dataset.truths[s.image_id])]
    good = [s for s in samples if not s.is_defective]
    wanted = min(len(good), math.ceil(ratio * len(defective)))
    picked = np.random.default_rng(seed).permutation(len(good))[:wanted]
    return defective + [good[i] for i in sorted(picked.tolist())]


def _write_data(job: FoldJob, config: DetectConfig) -> Path:
    """A folder of its own for ultralytics, so that its label cache can never be stale."""
    dataset, fold = job.dataset, job.dataset.split.folds[job.fold]
    data = job.folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    for side, ids in (("train", fold.train), ("val", fold.val)):
        samples = _choose_images(dataset, ids, config.good_per_defect, config.seed)
        if side == "train" and not any(sample.is_defective for sample in samples):
            raise TrainingError(
                f"Fold {job.fold} has no defective image with a mask to learn from. Use fewer "
                "folds, or add images."
            )
        images, labels = data / "images" / side, data / "labels" / side
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for sample in samples:
            link = images / f"{sample.stem}{sample.image_path.suffix}"
            try:
                link.symlink_to(sample.image_path.resolve())
            except OSError:
                shutil.copyfile(sample.image_path, link)
            lines = _label_lines(dataset.truths[sample.image_id], config)
            write_text_atomic(labels / f"{sample.stem}.txt", lines)
        if side == "train":
            _write_injected(job, config, samples, images, labels)
    document = {
        "path": str(data.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(dataset.class_names)),
    }
    path = data / "data.yaml"
    write_text_atomic(path, yaml.safe_dump(document, allow_unicode=True))
    return path


def _label_lines(regions: Regions, config: DetectConfig) -> str:
    return yolo_polygon_lines(regions) if config.tight_boxes else yolo_box_lines(regions)


def _write_injected(
    job: FoldJob, config: DetectConfig, samples: Sequence[Sample], images: Path, labels: Path
) -> None:
    dataset = job.dataset
    # Of the whole training side: what is not shown as a good image can still be pasted into.
    good = [
        sample
        for sample in dataset.select(dataset.split.folds[job.fold].train)
        if not sample.is_defective
    ]
    defective = [sample for sample in samples if sample.is_defective]
    injector = make_injector(
        [load_labelled(dataset, s, max_side=INJECTION_SIDE) for s in defective],
        [load_labelled(dataset, s, max_side=INJECTION_SIDE) for s in good]
        if config.inject_per_defect
        else [],
        n_classes=len(dataset.class_names),
        per_defect=config.inject_per_defect,
        drawn=config.drawn_defects,
    )
    if injector is None:
        return
    write_contact_sheet(job.folder / CONTACT_SHEET, injector, seed=config.seed)
    count = math.ceil(config.inject_per_defect * len(defective))
    for number in range(count):
        made = injector.make(np.random.default_rng([config.seed, number]))
        stem = f"injected__{number:05d}"
        write_png(images / f"{stem}.png", made.image_rgb)
        write_text_atomic(labels / f"{stem}.txt", _label_lines(made.regions(), config))


def _train_fold(
    job: FoldJob, config: DetectConfig, source: str, device: str
) -> tuple[Predictor, FoldThresholds]:
    best = job.folder / WEIGHTS_FILE
    if not best.is_file():
        _fit(job, config, source, device, best)
    predictor = BoxPredictor(
        best, image_size=config.image_size, max_detections=config.max_detections, device=device
    )
    return predictor, _thresholds(job, predictor)


def _fit(job: FoldJob, config: DetectConfig, source: str, device: str, best: Path) -> None:
    data = _write_data(job, config)
    seed_everything(config.seed)
    model = import_yolo()(source)
    advance = job.reporter.track(f"{job.folder.parent.name}: fold {job.fold}", config.epochs)

    def after_epoch(trainer: Any) -> None:
        fitness = trainer.fitness if trainer.fitness is not None else 0.0
        advance(f"validation fitness {float(fitness):.3f}")

    model.add_callback("on_fit_epoch_end", after_epoch)
    work = job.folder / "ultralytics"
    try:
        model.train(
            data=str(data),
            epochs=config.epochs,
            imgsz=config.image_size,
            batch=config.batch_size,
            device=device,
            workers=0,
            seed=config.seed,
            deterministic=True,
            project=str(job.folder.resolve()),
            name=work.name,
            exist_ok=True,
            plots=False,
            verbose=False,
            amp=device != "cpu",
            cache="ram",
            patience=0,
            optimizer=config.optimizer,
            lr0=config.lr0,
            warmup_epochs=min(3, config.epochs / 10),
            degrees=config.degrees,
            flipud=config.flipud,
            mosaic=config.mosaic,
            scale=config.scale,
            close_mosaic=min(config.close_mosaic, config.epochs // 2),
            freeze=config.freeze or None,
            pretrained=config.weights != "none",
            # One optimiser step a batch: with few images, gathering 64 leaves a step an epoch.
            nbs=config.nominal_batch or config.batch_size,
        )
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"ultralytics stopped while training fold {job.fold} in {job.folder}: {error}. With "
            "too little memory, lower batch_size or --image-size."
        ) from error
    trained = work / "weights" / "best.pt"
    if not trained.is_file():
        trained = work / "weights" / "last.pt"
    shutil.copyfile(trained, best.with_suffix(".part"))
    best.with_suffix(".part").replace(best)
    shutil.rmtree(work / "weights", ignore_errors=True)
    shutil.rmtree(data.parent, ignore_errors=True)


def _thresholds(job: FoldJob, predictor: BoxPredictor) -> FoldThresholds:
    samples = job.dataset.select(job.dataset.split.folds[job.fold].val)
    image_scores: list[float] = []
    scores: list[float] = []
    hits: list[bool] = []
    n_truth = 0
    for sample in samples:
        prediction = predictor.predict(sample.image_id, read_image_rgb(sample.image_path))
        image_scores.append(prediction.image_score)
        truth = job.dataset.truths[sample.image_id]
        n_truth += len(truth)
        if prediction.regions is not None and prediction.regions.scores is not None:
            scores += [float(score) for score in prediction.regions.scores]
            hits += greedy_hits(prediction.regions, truth)
    return probability_thresholds(
        image_scores,
        [sample.is_defective for sample in samples],
        region_threshold=best_f1_threshold(scores, hits, n_truth),
    )
