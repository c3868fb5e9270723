"""The training loop of the methods that train a network: Lightning's, and it resumes.

Every item of an epoch depends on the seed, the epoch and its number alone, and torch's own random
numbers are seeded anew in every step, so that an interrupted training ends with the weights of an
undisturbed one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import cv2
import lightning as L  # noqa: N812 - its own convention
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset, Sampler

from annotations import Sample
from annotations.images import read_image_rgb
from annotations.run_files import CHECKPOINTS
from classify.config import AugmentedConfig, ClassifyConfig
from classify.method import FoldData
from inference.images import resize_square
from training import seed_everything
from training.device import device_list
from training.geometry import PartGeometry, estimate_geometry
from training.lightning_loop import (
    Progress,
    SeedSteps,
    StopAtNonFinite,
    hardware_options,
    loggers,
    quiet_lightning,
    unwrapped,
    usable_checkpoint,
)

ImageRgb = npt.NDArray[np.uint8]
Item = tuple[torch.Tensor, int]
MakeItem = Callable[[int, int], Item]
"""From epoch and number to an image and its class."""


class EpochItems(Dataset[Item]):
    """Items made from (epoch, number)."""

    def __init__(self, make: MakeItem) -> None:
        """Take what makes them."""
        self._make = make

    def __getitem__(self, key: tuple[int, int]) -> Item:
        return self._make(*key)


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, number) of every item of an epoch, shuffled by seed and epoch."""

    def __init__(self, numbers: Callable[[int], Sequence[int]], *, seed: int) -> None:
        """Take what lists an epoch's numbers; always as many."""
        self._numbers = numbers
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._numbers(self._epoch))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self._seed, 4, self._epoch])
        numbers = rng.permutation(np.asarray(self._numbers(self._epoch)))
        return iter([(self._epoch, int(number)) for number in numbers])


def train_module(
    module: L.LightningModule,
    make: MakeItem,
    numbers: Callable[[int], Sequence[int]],
    data: FoldData,
    config: ClassifyConfig,
    *,
    what: str,
    epochs: int,
    validation: Sequence[Item] = (),
    monitor: str | None = None,
    mode: str = "min",
    shown: str = "",
) -> None:
    """Train a module, or go on where a training of it was interrupted; it holds the result.

    Args:
        module: has `training_step`, and `validation_step` where there is validation.
        make: items by epoch and number.
        numbers: of an epoch.
        data: folder and reporter.
        config: batch size, seed, device.
        what: is trained, for the bar and the names of files.
        epochs: passes.
        validation: items.
        monitor: logged name by which the best epoch is kept; None keeps the last.
        mode: `min` or `max`, of the monitor.
        shown: words for the monitor in the bar.

    Raises:
        TrainingError: a loss that is no number.
    """
    if not epochs:
        return
    folder = data.job.folder / CHECKPOINTS / what
    seed_everything(config.seed)
    sampler = EpochSampler(numbers, seed=config.seed)
    # A last batch of one image would stop batch normalization.
    odd = len(sampler) % config.batch_size == 1 and len(sampler) > 1
    loader = DataLoader(
        EpochItems(make), batch_size=config.batch_size, sampler=sampler, drop_last=odd
    )
    # A sequence is all that a loader needs of a dataset.
    in_order = (
        DataLoader(cast(Dataset[Item], validation), batch_size=config.batch_size)
        if validation
        else None
    )
    keep = ModelCheckpoint(
        dirpath=folder,
        filename="best",
        monitor=monitor,
        mode=mode,
        save_last=True,
        enable_version_counter=False,
    )
    bar = data.job.reporter.track(f"{data.name}: {what}", epochs)
    last = folder / "last.ckpt"
    goes_on = usable_checkpoint(last, data.job.reporter)
    words = {monitor: shown} if monitor else {}
    with quiet_lightning():
        trainer = L.Trainer(
            max_epochs=epochs,
            **hardware_options(device_list(config.device)[:1]),
            callbacks=[keep, StopAtNonFinite(), SeedSteps(config.seed), Progress(bar, **words)],
            logger=loggers(data.job.folder),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(
                module,
                loader,
                in_order,
                ckpt_path=goes_on,
                weights_only=True,
            )
        except Exception as error:
            raise unwrapped(error) from error
    chosen = folder / "best.ckpt" if monitor and keep.best_model_path else last
    # Our own file, written a moment ago by this training.
    state = torch.load(chosen, map_location="cpu", weights_only=True)["state_dict"]
    module.load_state_dict(state)
    module.eval()


def load_small(samples: Sequence[Sample], side: int, data: FoldData) -> list[ImageRgb]:
    """Samples' images, uint8 (side, side, 3) each, with a bar."""
    advance = data.job.reporter.track(f"{data.name}: reading images", len(samples))
    images = []
    for sample in samples:
        images.append(resize_square(read_image_rgb(sample.image_path), side))
        advance("")
    return images


def vary(image_rgb: ImageRgb, geometry: PartGeometry, rng: np.random.Generator) -> ImageRgb:
    """Shift an image by up to a fiftieth, change its light by up to a tenth, and turn or mirror it
    where the good images show a part that allows it.

    Args:
        image_rgb: uint8 (S, S, 3).
        geometry: of the good images.
        rng: draws the change.

    Returns:
        uint8 (S, S, 3).
    """
    side = image_rgb.shape[0]
    angle = float(rng.uniform(0, 360)) if geometry.rotational else 0.0
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1.0)
    matrix[:, 2] += rng.uniform(-0.02, 0.02, 2) * side
    moved = cv2.warpAffine(image_rgb, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    # A surface without a part has no side of its own.
    if (geometry.mirrored or not geometry.aligned) and rng.random() < 0.5:
        moved = moved[:, ::-1]
    if not geometry.aligned and rng.random() < 0.5:
        moved = moved[::-1]
    light = rng.uniform(0.9, 1.1)
    return np.ascontiguousarray(np.clip(moved * light, 0, 255).astype(np.uint8))


def varied_items(images: Sequence[ImageRgb], config: AugmentedConfig) -> MakeItem:
    """Good images, uint8 (S, S, 3), as items in [0, 1], varied where the settings say so."""
    geometry = estimate_geometry(images)

    def make(epoch: int, number: int) -> Item:
        image = images[number]
        if config.augment:
            image = vary(image, geometry, of_epoch(config.seed, epoch, number))
        return unit_tensor(image), 0

    return make


def unit_tensor(image_rgb: ImageRgb) -> torch.Tensor:
    """uint8 (S, S, 3) to float32 (3, S, S) in [0, 1]."""
    scaled = image_rgb.astype(np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def of_epoch(seed: int, epoch: int, number: int) -> np.random.Generator:
    """What an item draws its changes with."""
    return np.random.default_rng([seed, 5, epoch, number])
