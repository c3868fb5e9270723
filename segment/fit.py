"""The training loop of the segmenter: Lightning's, with what keeps a training trustworthy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import lightning as L  # noqa: N812 - its own convention
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from annotations import Sample, TrainingError
from annotations.run_files import CHECKPOINTS
from segment.config import SegmentConfig
from segment.data import (
    WEAK,
    BalancedSampler,
    DefectImages,
    Item,
    all_tiles,
    augmentation,
    load_resized,
)
from segment.losses import defect_loss
from segment.module import SegmenterModule
from segment.network import build_network
from segment.trained import trained_weights
from training import FoldJob, load_into, seed_everything
from training.contact_sheet import CONTACT_SHEET, make_injector, write_contact_sheet
from training.device import (
    device_list,
    fitting_batch_size,
    is_out_of_memory,
    resolve_precision,
)
from training.lightning_loop import (
    Progress,
    SeedSteps,
    StopAtNonFinite,
    hardware_options,
    loggers,
    quiet_lightning,
    unwrapped,
    usable_checkpoint,
    write_weights,
)
from training.shots import limit_defects

LAST: Final = "last"
MOST_TYPES: Final = 255 - WEAK
"""That an 8-bit mask tells apart where not all pixels are known."""


def fit(job: FoldJob, config: SegmentConfig, tiles: int, best: Path) -> None:
    """Train one fold, or go on where a training of it was interrupted, and write its weights.

    Every item of an epoch depends on seed, epoch and number alone, and the checkpoint holds
    weights, optimizer and schedule, so that an interrupted training ends with the weights of an
    undisturbed one.

    Args:
        job: dataset, fold and folder.
        config: settings.
        tiles: along an image's longer side.
        best: file to write: the state of the epoch with the highest validation Dice.

    Raises:
        TrainingError: nothing to learn from, a loss that is no number, or too little memory.
    """
    dataset, fold = job.dataset, job.dataset.split.folds[job.fold]
    train = learnable(job, fold.train, config, tiles=tiles)
    val = [s for s in learnable(job, fold.val, config, tiles=tiles) if _has_pixels(job, s)]
    flags = [sample.is_defective for sample in train]
    if not any(flags):
        raise TrainingError(
            f"Fold {job.fold} has no defective image to learn from. Use fewer folds, add images, "
            "or let --method hybrid learn from good images alone."
        )
    n_classes = len(dataset.class_names)
    if n_classes > MOST_TYPES and not all(_has_pixels(job, s) for s in train):
        raise TrainingError(
            f"A U-Net learns from boxes and image labels of at most {MOST_TYPES} types, and there "
            f"are {n_classes}. Train with --method hybrid, or join types with --map-class."
        )
    seed_everything(config.seed)
    network = build_network(config, n_classes, pretrained=config.weights == "auto")
    if job.start is not None:
        load_into(network, trained_weights(job.start.run, job.fold))
    elif config.weights not in ("auto", "none"):
        load_into(network, Path(config.weights))
    size = config.image_size
    images = load_resized(dataset, train, size=size, tiles=tiles, folder=job.folder)
    injector = make_injector(
        [
            image
            for image, s in zip(images, train, strict=True)
            if s.is_defective and _has_pixels(job, s)
        ],
        [image for image, defective in zip(images, flags, strict=True) if not defective],
        n_classes=n_classes,
        per_defect=config.inject_per_defect,
    )
    if injector is not None:
        write_contact_sheet(job.folder / CONTACT_SHEET, injector, seed=config.seed)
    data = _Data(
        config,
        flags,
        DefectImages(
            images,
            transform=augmentation(strong=config.augment),
            injector=injector,
            crop=size if tiles > 1 else None,
            seed=config.seed,
        ),
        DefectImages(
            all_tiles(load_resized(dataset, val, size=size, tiles=tiles, folder=job.folder), size)
        ),
        injects=injector is not None,
    )
    devices = device_list(config.device)
    # Channels last is the faster layout on CPUs and GPUs alike.
    network = network.to(memory_format=torch.channels_last)
    module = SegmenterModule(network, config, total_steps=data.steps(len(devices)) * config.epochs)
    keep_best = ModelCheckpoint(
        dirpath=job.folder / CHECKPOINTS,
        filename="best",
        monitor="val_dice" if val else None,
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    bar = job.reporter.track(f"{job.folder.parent.name}: fold {job.fold}", config.epochs)
    last = usable_checkpoint(job.folder / CHECKPOINTS / f"{LAST}.ckpt", job.reporter)
    with quiet_lightning():
        trainer = L.Trainer(
            max_epochs=config.epochs,
            **hardware_options(devices),
            precision=resolve_precision(config.precision, devices[0]),  # type: ignore[arg-type]
            accumulate_grad_batches=config.accumulate,
            callbacks=[
                keep_best,
                StopAtNonFinite(),
                SeedSteps(config.seed),
                Progress(bar, val_dice="validation Dice"),
            ],
            logger=loggers(job.folder),
            default_root_dir=job.folder / CHECKPOINTS,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=min(config.val_every, config.epochs),
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module, data, ckpt_path=last, weights_only=True)
        except RuntimeError as error:
            raise _explained(error, job, config, network, devices[0]) from error
        except Exception as error:
            # Lightning wraps what a process of several raised.
            raise unwrapped(error) from error
    write_weights(Path(keep_best.best_model_path or keep_best.last_model_path), best)
    for leftover in (job.folder / CHECKPOINTS).glob("*.ckpt"):
        leftover.unlink()


def learnable(
    job: FoldJob, ids: Sequence[str], config: SegmentConfig, *, tiles: int
) -> list[Sample]:
    """Images that a U-Net learns from, as many as the settings allow: good ones, and defective
    ones with masks, boxes, or, where images are looked at as a whole, an image label."""
    samples = job.dataset.select(ids)
    if tiles > 1:
        # A tile of an image with an image label may be good.
        strengths = job.dataset.strengths
        samples = [s for s in samples if strengths[s.image_id] != "image"]
    return limit_defects(samples, config.shots_per_type, seed=config.seed)


def _has_pixels(job: FoldJob, sample: Sample) -> bool:
    return job.dataset.strengths[sample.image_id] == "masks"


class _Data(L.LightningDataModule):
    """Loaders, made in the process that uses them: each gets its own share of an epoch."""

    def __init__(
        self,
        config: SegmentConfig,
        flags: list[bool],
        train: DefectImages,
        val: DefectImages,
        *,
        injects: bool,
    ) -> None:
        super().__init__()
        self._config, self._flags = config, flags
        self._train, self._val = train, val
        self._injects = injects

    def _sampler(self, rank: int, world: int) -> BalancedSampler:
        config = self._config
        return BalancedSampler(
            self._flags,
            good_per_defect=config.good_per_defect,
            inject_per_defect=config.inject_per_defect if self._injects else 0.0,
            seed=config.seed,
            rank=rank,
            world=world,
        )

    def _drops_last(self, sampler: BalancedSampler) -> bool:
        # A last batch of one image would stop batch normalization.
        size = self._config.batch_size
        return len(sampler) % size == 1 and len(sampler) > size

    def steps(self, world: int) -> int:
        """Steps of the optimizer in an epoch."""
        sampler = self._sampler(0, world)
        batches = -(-len(sampler) // self._config.batch_size) - int(self._drops_last(sampler))
        return -(-batches // self._config.accumulate)

    def train_dataloader(self) -> DataLoader[Item]:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        sampler = self._sampler(rank, world)
        return DataLoader(
            self._train,
            batch_size=self._config.batch_size,
            sampler=sampler,
            drop_last=self._drops_last(sampler),
        )

    def val_dataloader(self) -> DataLoader[Item] | list[Any]:
        if not len(self._val):
            return []
        return DataLoader(self._val, batch_size=self._config.batch_size)


def _explained(
    error: RuntimeError,
    job: FoldJob,
    config: SegmentConfig,
    network: torch.nn.Module,
    device: torch.device,
) -> Exception:
    if not is_out_of_memory(error):
        return unwrapped(error)

    def step(batch_size: int) -> None:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        side = config.image_size
        images = torch.zeros(batch_size, 3, side, side, device=device)
        masks = torch.ones(batch_size, side, side, dtype=torch.int64, device=device)
        loss = defect_loss(network.to(device).train()(images), masks)
        torch.autograd.backward(loss)

    fits = fitting_batch_size(step, config.batch_size)
    advice = (
        f"A batch of {fits} fits: --set batch_size={fits} --set accumulate="
        f"{config.accumulate * config.batch_size // fits} takes the same steps"
        if fits is not None and fits > 1
        else "Use a smaller --image-size or encoder"
    )
    return TrainingError(
        f"Memory ran out while training fold {job.fold} on {device} with batches of "
        f"{config.batch_size} images of {config.image_size} pixels. {advice}."
    )
