"""Fine-tuning a segmenter on one fold."""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import lightning as L  # noqa: N812 - its own convention
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from annotations import Dataset, FoldThresholds, TrainingError, require_defects_in_training
from annotations.images import read_image_rgb
from segment.config import SegmentConfig
from segment.data import BalancedSampler, DefectImages, augmentation, resize_class_mask
from segment.network import SegmenterModule, build_network
from segment.predict import WEIGHTS_FILE, MaskPredictor
from training import (
    FoldJob,
    Predictor,
    Reporter,
    load_state_dict,
    probability_thresholds,
    resolve_device,
    seed_everything,
    train_run,
)

CHECKPOINT = "last"


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
    require_defects_in_training(dataset.split, family="segment")
    device = resolve_device(config.device)
    build_network(config, len(dataset.class_names), pretrained=config.weights == "auto")

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        return _train_fold(job, config, device)

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


class _Bar(Callback):
    def __init__(self, advance: Callable[[str], None]) -> None:
        self._advance = advance

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del pl_module
        metrics = trainer.callback_metrics
        loss = float(metrics.get("train_loss", torch.tensor(float("nan"))))
        dice = float(metrics.get("val_dice", torch.tensor(float("nan"))))
        self._advance(f"loss {loss:.3f}, validation Dice {dice:.3f}")
        if not np.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} in epoch {trainer.current_epoch}. Lower the learning "
                "rate (--set learning_rate=...), or train with --set precision=32-true."
            )


def _train_fold(
    job: FoldJob, config: SegmentConfig, device: torch.device
) -> tuple[Predictor, FoldThresholds]:
    n_classes = len(job.dataset.class_names)
    best = job.folder / WEIGHTS_FILE
    network = build_network(config, n_classes, pretrained=False)
    if not best.is_file():
        _fit(job, config, device, best)
    network.load_state_dict(load_state_dict(best))
    predictor = MaskPredictor(network, config, device=device)
    return predictor, _thresholds(job, config, predictor)


def _fit(job: FoldJob, config: SegmentConfig, device: torch.device, best: Path) -> None:
    dataset, fold = job.dataset, job.dataset.split.folds[job.fold]
    train = dataset.select(fold.train)
    # An empty mask on a defective image would teach that this defect is background.
    train = [s for s in train if not s.is_defective or len(dataset.truths[s.image_id])]
    val = [
        s for s in dataset.select(fold.val) if not s.is_defective or len(dataset.truths[s.image_id])
    ]
    if not any(sample.is_defective for sample in train):
        raise TrainingError(
            f"Fold {job.fold} has no defective image with a mask to learn from. Use fewer folds, "
            "or add images."
        )
    seed_everything(config.seed)
    network = build_network(config, len(dataset.class_names), pretrained=config.weights == "auto")
    if config.weights not in ("auto", "none"):
        network.load_state_dict(load_state_dict(Path(config.weights)))
    size = config.image_size
    train_set = DefectImages(dataset, train, size=size, transform=augmentation(config.seed))
    val_set = DefectImages(dataset, val, size=size, transform=None)
    sampler = BalancedSampler([s.is_defective for s in train], config.good_per_defect, config.seed)
    # A last batch of one image would stop batch normalisation.
    drop_last = len(sampler) % config.batch_size == 1 and len(sampler) > config.batch_size
    steps = -(-len(sampler) // config.batch_size) - int(drop_last)
    # Channels last is the faster layout on CPUs and GPUs alike.
    network = network.to(memory_format=torch.channels_last)
    module = SegmenterModule(network, config, total_steps=steps * config.epochs)
    keep_best = ModelCheckpoint(
        dirpath=job.folder / "checkpoints",
        filename="best",
        monitor="val_dice" if val else None,
        mode="max",
        save_last=True,
        save_weights_only=False,
        enable_version_counter=False,
    )
    advance = job.reporter.track(f"{job.folder.parent.name}: fold {job.fold}", config.epochs)
    precision = resolve_precision(config.precision, device)
    with _quiet_lightning():
        trainer = L.Trainer(
            max_epochs=config.epochs,
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=precision,  # type: ignore[arg-type]
            callbacks=[keep_best, _Bar(advance)],
            logger=CSVLogger(job.folder, name="log", version=0),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=min(config.val_every, config.epochs),
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        trainer.fit(
            module,
            DataLoader(
                train_set, batch_size=config.batch_size, sampler=sampler, drop_last=drop_last
            ),
            DataLoader(val_set, batch_size=config.batch_size) if val else None,
        )
    path = Path(keep_best.best_model_path or keep_best.last_model_path)
    # Our own file, written a moment ago by this process.
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "network."
    kept = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    torch.save(kept, best.with_suffix(".part"))
    best.with_suffix(".part").replace(best)
    for leftover in (job.folder / "checkpoints").glob("*.ckpt"):
        leftover.unlink()


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn `auto` into what is fast on a device without harm: `bf16-mixed` or `32-true`."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed"
    capable = device.type == "cpu" and "avx512_bf16" in _cpu_flags()
    return "bf16-mixed" if capable else "32-true"


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())


class _quiet_lightning:  # noqa: N801 - used like a function
    """Lightning's hints are for its own users; ours see our bar."""

    def __enter__(self) -> None:
        self._catch = warnings.catch_warnings()
        self._catch.__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*lightning.*")
        warnings.filterwarnings("ignore", message=".*num_workers.*")
        warnings.filterwarnings("ignore", message=".*deterministic.*")
        self._loggers = [logging.getLogger(n) for n in ("lightning", "lightning.pytorch")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
        self._catch.__exit__(None, None, None)


def _thresholds(job: FoldJob, config: SegmentConfig, predictor: MaskPredictor) -> FoldThresholds:
    """The pixel threshold with the highest pooled Dice, and the image threshold."""
    samples = job.dataset.select(job.dataset.split.folds[job.fold].val)
    n_classes = len(job.dataset.class_names)
    bins = 1000
    inside, outside = np.zeros(bins + 1), np.zeros(bins + 1)
    image_scores = []
    for sample in samples:
        image_rgb = read_image_rgb(sample.image_path)
        scores = 1 - predictor.probabilities(image_rgb)[0]
        image_scores.append(float(np.clip(np.quantile(scores, 0.999), 0.0, 1.0)))
        if sample.is_defective and not len(job.dataset.truths[sample.image_id]):
            continue
        truth = job.dataset.truths[sample.image_id].class_index_mask()
        small = resize_class_mask(truth, config.image_size, n_classes) > 0
        levels = np.clip((scores * bins).astype(int), 0, bins)
        inside += np.bincount(levels[small], minlength=bins + 1)
        outside += np.bincount(levels[~small], minlength=bins + 1)
    threshold = 0.5
    if inside.any():
        hits, false = np.cumsum(inside[::-1])[::-1], np.cumsum(outside[::-1])[::-1]
        dice = 2 * hits / (hits + false + inside.sum())
        # Neighbours are averaged: on few images the curve's single highest point is chance.
        smooth = np.convolve(dice[1:bins], np.ones(51) / 51, mode="valid")
        threshold = (int(np.argmax(smooth)) + 1 + 25) / bins
    predictor.region_threshold = threshold
    return probability_thresholds(
        image_scores, [s.is_defective for s in samples], region_threshold=threshold
    )
