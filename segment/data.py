"""Images and class-index masks for the segmenter: decoded once, kept small in memory."""

import math
from collections.abc import Iterator, Sequence

import albumentations as A  # noqa: N812 - its own convention
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from annotations import Dataset, Sample
from annotations.images import read_image_rgb

Item = tuple[torch.Tensor, torch.Tensor]


def resize_image(image_rgb: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Resize to a square of `size`, by area where it shrinks: uint8 (size, size, 3)."""
    shrinks = min(image_rgb.shape[:2]) >= size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_rgb, (size, size), interpolation=method), np.uint8)


def resize_class_mask(
    class_mask: npt.NDArray[np.uint8], size: int, n_classes: int
) -> npt.NDArray[np.uint8]:
    """Resize a class-index mask: a pixel is a defect where at least half of it is.

    Args:
        class_mask: uint8 (H, W), 0 = background.
        size: side of the result.
        n_classes: without the background.

    Returns:
        uint8 (size, size); of several types in a pixel, the one that covers most of it.
    """
    covers = np.stack(
        [
            cv2.resize(
                (class_mask == index).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA
            )
            for index in range(1, n_classes + 1)
        ]
    )
    largest = covers.argmax(axis=0).astype(np.uint8) + 1
    return np.where(covers.sum(axis=0) >= 0.5, largest, 0).astype(np.uint8)


def to_tensor(image_rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W), normalised with mean 0.5 and deviation 0.5."""
    array = np.ascontiguousarray(image_rgb.transpose(2, 0, 1))
    return torch.from_numpy(array).float().div_(127.5).sub_(1.0)


def augmentation(seed: int) -> A.Compose:
    """Flips, any rotation, slight scale, shift and light; a defect stays a defect under them."""
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
        ],
        seed=seed,
    )


class DefectImages(TorchDataset[Item]):
    """Samples as (image float32 (3, S, S), class mask int64 (S, S))."""

    def __init__(
        self, dataset: Dataset, samples: Sequence[Sample], *, size: int, transform: A.Compose | None
    ) -> None:
        """Decode and resize all samples."""
        n_classes = len(dataset.class_names)
        self.images = [resize_image(read_image_rgb(s.image_path), size) for s in samples]
        self.masks = [
            resize_class_mask(dataset.truths[s.image_id].class_index_mask(), size, n_classes)
            for s in samples
        ]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        image, mask = self.images[index], self.masks[index]
        if self.transform is not None:
            changed = self.transform(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return to_tensor(image), torch.from_numpy(mask.astype(np.int64))


class BalancedSampler(Sampler[int]):
    """Every defective image once an epoch, and fresh good ones beside them, shuffled.

    The order depends on the seed and the epoch alone, so that a resumed training goes on with
    the order that it would have had.
    """

    def __init__(self, is_defective: Sequence[bool], good_per_defect: float, seed: int) -> None:
        """Remember which images are which."""
        flags = np.asarray(is_defective, bool)
        self._defective = np.flatnonzero(flags)
        self._good = np.flatnonzero(~flags)
        self._n_good = min(len(self._good), math.ceil(good_per_defect * len(self._defective)))
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._defective) + self._n_good

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        good = rng.choice(self._good, self._n_good, replace=False)
        order = np.concatenate((self._defective, good))
        return iter(rng.permutation(order).tolist())
