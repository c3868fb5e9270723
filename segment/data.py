"""Images and class-index masks for the segmenter: decoded once, and mapped from disk."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from annotations import Dataset, Regions, Sample, TrainingError
from annotations.images import read_image_rgb
from inference.images import half_normalized, resize_image
from inference.tiling import crop_window, cut_tile, resize_for_tiles, tile_windows
from training.injection import DefectInjector, LabeledImage

if TYPE_CHECKING:
    import albumentations as A  # noqa: N812 - its own convention

Item = tuple[torch.Tensor, torch.Tensor]
WEAK: Final = 128
"""In a class mask, from here on: nobody knows whether this pixel is a defect, but some pixels of
its box, or of its image, are one of the type `value - WEAK`."""


def resize_class_mask(
    class_mask: npt.NDArray[np.uint8],
    new_hw: tuple[int, int],
    n_classes: int,
    *,
    covered: float = 0.5,
) -> npt.NDArray[np.uint8]:
    """Resize a class-index mask: a pixel is a defect where at least half of it is.

    Args:
        class_mask: uint8 (H, W), 0 = background.
        new_hw: height and width of the result.
        n_classes: without the background.
        covered: part of a pixel that has to be a defect, instead of half.

    Returns:
        uint8 (h, w); of several types in a pixel, the one that covers most of it.
    """
    new_wh = (new_hw[1], new_hw[0])
    covers = np.stack(
        [
            cv2.resize(
                (class_mask == index).astype(np.float32), new_wh, interpolation=cv2.INTER_AREA
            )
            for index in range(1, n_classes + 1)
        ]
    )
    largest = covers.argmax(axis=0).astype(np.uint8) + 1
    return np.where(covers.sum(axis=0) >= covered, largest, 0).astype(np.uint8)


def to_tensor(image_rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W), normalized with mean 0.5 and deviation 0.5."""
    return torch.from_numpy(half_normalized(image_rgb))


def augmentation(*, strong: bool = True) -> "A.Compose":
    """Flips, any rotation, slight scale, shift and light; a defect stays a defect under them.

    Args:
        strong: all of them; else left and right flips alone.
    """
    # Takes a second to load, and the hybrid segmenter, which shares this file, does without.
    import albumentations as A  # noqa: N812 - its own convention

    if not strong:
        return A.Compose([A.HorizontalFlip(p=0.5)])
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=(0.85, 1.15),
                translate_percent=(-0.06, 0.06),
                rotate=(-180, 180),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.9,
            ),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.6),
            A.GaussNoise(std_range=(0.01, 0.03), p=0.2),
        ]
    )


def load_resized(
    dataset: Dataset, samples: Sequence[Sample], *, size: int, tiles: int, folder: Path
) -> list[LabeledImage]:
    """Decode samples and masks, resized to a square of `size`, or for tiles of that size.

    Where an image has no mask, its mask says what its boxes or its image label tell; see `WEAK`.

    Args:
        dataset: that they are of.
        samples: to decode.
        size: of the square, or of a tile, in pixels.
        tiles: along an image's longer side.
        folder: in which pixels are kept in files without a name, so that the system may take
            their memory back; they vanish with the process.

    Raises:
        TrainingError: a full disk.
    """
    n_classes = len(dataset.class_names)
    made = []
    for sample in samples:
        image_rgb = read_image_rgb(sample.image_path)
        image_rgb = (
            resize_image(image_rgb, size)
            if tiles == 1
            else resize_for_tiles(image_rgb, size, tiles)
        )
        hw = (image_rgb.shape[0], image_rgb.shape[1])
        truth = dataset.truths[sample.image_id]
        strength = dataset.strengths[sample.image_id]
        if strength == "masks":
            mask = resize_class_mask(truth.class_index_mask(), hw, n_classes)
        elif strength == "boxes":
            mask = _weak_boxes(truth, hw)
        else:
            label = dataset.class_names.index(sample.defect_type)
            mask = np.full(hw, WEAK + label, np.uint8)
        made.append(
            LabeledImage(sample.image_id, _on_disk(image_rgb, folder), _on_disk(mask, folder))
        )
    return made


def _on_disk(pixels: npt.NDArray[np.uint8], folder: Path) -> npt.NDArray[np.uint8]:
    """The same pixels, mapped from a file that has no name."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # Written, and not only mapped: a full disk would end the process at a later touch.
            file.write(np.ascontiguousarray(pixels).data)
            file.flush()
            return np.memmap(file, np.uint8, mode="r", shape=pixels.shape)
    except OSError as error:
        raise TrainingError(
            f"Decoded images could not be kept in {folder} ({error.strerror}). Make room on that "
            "disk, or train with a smaller --image-size."
        ) from error


def _weak_boxes(truth: Regions, hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A class mask of boxes at another size; smaller boxes lie on larger ones."""
    scale = np.array([hw[1] / truth.image_hw[1], hw[0] / truth.image_hw[0]] * 2)
    mask = np.zeros(hw, np.uint8)
    for number in np.argsort(-truth.areas, kind="stable").tolist():
        x1, y1, x2, y2 = truth.boxes_xyxy[number] * scale
        rows = slice(int(np.floor(y1)), int(np.ceil(y2)))
        columns = slice(int(np.floor(x1)), int(np.ceil(x2)))
        mask[rows, columns] = WEAK + int(truth.labels[number])
    return mask


def all_tiles(images: Sequence[LabeledImage], size: int) -> list[LabeledImage]:
    """All tiles of all images; an image of exactly one tile is itself."""
    return [
        LabeledImage(
            image.image_id,
            cut_tile(image.image_rgb, window, size, reflect=True),
            cut_tile(image.class_mask, window, size, reflect=False),
        )
        for image in images
        for window in tile_windows((image.class_mask.shape[0], image.class_mask.shape[1]), size)
    ]


class DefectImages(TorchDataset[Item]):
    """Images as (image float32 (3, S, S), class mask int64 (S, S)).

    An item is asked for by epoch and number, and depends on nothing else than these and the
    seed: a training that was interrupted goes on with the images that it would have had.
    Numbers beyond the images are injected ones, new in every epoch.
    """

    def __init__(
        self,
        images: Sequence[LabeledImage],
        *,
        transform: "A.Compose | None" = None,
        injector: DefectInjector | None = None,
        crop: int | None = None,
        seed: int = 0,
    ) -> None:
        """Take decoded images; `crop` cuts a random square of so many pixels out of each, around
        a defect where there is one."""
        self._crop = crop
        self._images = images
        self._transform = transform
        self._injector = injector
        self._seed = seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if index < len(self._images):
            image, mask = self._images[index].image_rgb, self._images[index].class_mask
        else:
            image, mask = self.injected(epoch, index - len(self._images))
        draw = np.random.default_rng([self._seed, 1, epoch, index])
        if self._crop is not None:
            window = crop_window(mask, self._crop, draw)
            image = cut_tile(image, window, self._crop, reflect=True)
            mask = cut_tile(mask, window, self._crop, reflect=False)
        if self._transform is not None:
            self._transform.set_random_seed(int(draw.integers(2**31)))
            changed = self._transform(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return to_tensor(image), torch.from_numpy(mask.astype(np.int64))

    def injected(
        self, epoch: int, number: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The injected image and class mask of an epoch by number.

        Raises:
            IndexError: the data set was made without an injector.
        """
        if self._injector is None:
            raise IndexError(f"{number}: there are no injected images.")
        made = self._injector.make(np.random.default_rng([self._seed, 2, epoch, number]))
        return made.image_rgb, made.class_mask


class BalancedSampler(Sampler[tuple[int, int]]):
    """Every defective image once an epoch; fresh good ones and injected ones beside; shuffled.

    Yields (epoch, number). The order depends on the seed and the epoch alone, so that a resumed
    training goes on with the order that it would have had.
    """

    def __init__(
        self,
        is_defective: Sequence[bool],
        *,
        good_per_defect: float,
        inject_per_defect: float = 0.0,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Remember which images are which.

        Args:
            is_defective: of every image.
            good_per_defect: good images for each defective one.
            inject_per_defect: injected images for each defective one.
            seed: of the order.
            rank: of this process among those that train together.
            world: number of those processes; each gets an equal share of an epoch.
        """
        flags = np.asarray(is_defective, bool)
        self._defective = np.flatnonzero(flags)
        self._good = np.flatnonzero(~flags)
        self._n_good = min(len(self._good), math.ceil(good_per_defect * len(self._defective)))
        n_injected = math.ceil(inject_per_defect * len(self._defective)) if len(self._good) else 0
        self._injected = len(flags) + np.arange(n_injected)
        self._seed = seed
        self._epoch = 0
        self._rank, self._world = rank, world

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        # Rounded down: processes of unequal length would wait for one another for ever.
        return (len(self._defective) + self._n_good + len(self._injected)) // self._world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        good = rng.choice(self._good, self._n_good, replace=False)
        order = np.concatenate((self._defective, good, self._injected))
        share = rng.permutation(order)[self._rank :: self._world][: len(self)]
        return iter([(self._epoch, number) for number in share.tolist()])
