"""Fine-tuning a YOLO detector on one fold."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from annotations import (
    Dataset,
    FoldThresholds,
    InputError,
    TrainingError,
    require_defects_in_training,
)
from annotations.files import write_json_atomic
from annotations.images import read_image_rgb
from detect.config import DetectConfig
from detect.data import choose_images, write_data
from detect.predict import TILES_FILE, BoxPredictor
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
from training.device import device_list, is_out_of_memory
from training.matching import greedy_hits
from training.shots import limit_defects
from training.tiling import choose_tiles

WEIGHTS_FILE = "best.pt"


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
    device = device_list(config.device)[0]

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


def _train_fold(
    job: FoldJob, config: DetectConfig, source: str, device: str
) -> tuple[Predictor, FoldThresholds]:
    best = job.folder / WEIGHTS_FILE
    tiles = _tiles(job, config)
    if not best.is_file():
        _fit(job, config, source, tiles, best)
    predictor = BoxPredictor(
        best,
        image_size=config.image_size,
        max_detections=config.max_detections,
        device=device,
        tiles=tiles,
        views=config.views,
    )
    return predictor, _thresholds(job, config, predictor)


def _tiles(job: FoldJob, config: DetectConfig) -> int:
    """Along the longer side; written down, for whoever opens the run later."""
    dataset = job.dataset
    train = choose_images(dataset, dataset.split.folds[job.fold].train, config)
    tiles = choose_tiles(
        (
            (float(area), max(sample.image_hw))
            for sample in train
            for area in dataset.truths[sample.image_id].areas
        ),
        tile_side=config.image_size,
        asked=config.tiles,
    )
    if config.tiles == "auto" and tiles > 1:
        job.reporter.say(f"Defects are small: {tiles} tiles along the longer side of an image.")
    write_json_atomic(job.folder / TILES_FILE, {"tiles": tiles})
    return tiles


def _fit(job: FoldJob, config: DetectConfig, source: str, tiles: int, best: Path) -> None:
    data = write_data(job, config, tiles)
    seed_everything(config.seed)
    work, saved = job.folder / "ultralytics", job.folder / "saved"
    last = work / "weights" / "last.pt"
    # ultralytics writes its checkpoints in place: one that was cut off there cannot be read. Our
    # copies are moved into place, and so are whole.
    shutil.rmtree(work / "weights", ignore_errors=True)
    if saved.is_dir():
        shutil.copytree(saved, work / "weights")
    resumes = last.is_file() and not _has_ended(last)
    model = import_yolo()(str(last) if resumes else source)
    advance = job.reporter.track(f"{job.folder.parent.name}: fold {job.fold}", config.epochs)

    shown: set[int] = set()

    def before_training(trainer: Any) -> None:
        for epoch in range(trainer.start_epoch):
            shown.add(epoch)
            advance("trained before")

    def after_epoch(trainer: Any) -> None:
        # ultralytics calls once more for its last validation, which is no epoch.
        if trainer.epoch in shown or trainer.epoch >= config.epochs:
            return
        shown.add(trainer.epoch)
        fitness = trainer.fitness if trainer.fitness is not None else 0.0
        advance(f"validation fitness {float(fitness):.3f}")

    def after_save(trainer: Any) -> None:
        # The last one last: what stands beside it is then never older.
        for path in (Path(trainer.best), Path(trainer.last)):
            if path.is_file():
                saved.mkdir(exist_ok=True)
                shutil.copyfile(path, saved / f"{path.name}.part")
                (saved / f"{path.name}.part").replace(saved / path.name)

    model.add_callback("on_train_start", before_training)
    model.add_callback("on_fit_epoch_end", after_epoch)
    model.add_callback("on_model_save", after_save)
    if resumes:
        job.reporter.say(f"Fold {job.fold} goes on after its last saved epoch.")
    trained = work / "weights" / "best.pt"
    if not (last.is_file() and not resumes):
        _run_ultralytics(model, job, config, data, work, resumes=resumes)
    if not trained.is_file():
        trained = last
    shutil.copyfile(trained, best.with_suffix(".part"))
    best.with_suffix(".part").replace(best)
    for folder in (work / "weights", saved, data.parent):
        shutil.rmtree(folder, ignore_errors=True)


def _has_ended(checkpoint: Path) -> bool:
    """Whether a training has run to its end: ultralytics then takes the optimiser out."""
    import torch

    # Our own training's file; ultralytics saves whole objects, which only pickle can read.
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return state.get("optimizer") is None


def _run_ultralytics(
    model: Any, job: FoldJob, config: DetectConfig, data: Path, work: Path, *, resumes: bool
) -> None:
    device = config.device if "," in config.device else str(resolve_device(config.device))
    try:
        model.train(
            resume=resumes,
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
        if is_out_of_memory(error):
            raise TrainingError(
                f"Memory ran out while training fold {job.fold} on {device} with batches of "
                f"{config.batch_size} images of {config.image_size} pixels. Try --set batch_size="
                f"{max(1, config.batch_size // 2)} --set nominal_batch="
                f"{config.nominal_batch or config.batch_size}, which takes the same steps, or a "
                "smaller --image-size."
            ) from error
        raise TrainingError(
            f"ultralytics stopped while training fold {job.fold} in {job.folder}: {error}. What "
            "it had saved is kept there; call again to go on."
        ) from error


def _thresholds(job: FoldJob, config: DetectConfig, predictor: BoxPredictor) -> FoldThresholds:
    samples = limit_defects(
        job.dataset.select(job.dataset.split.folds[job.fold].val),
        config.shots_per_type,
        seed=config.seed,
    )
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
