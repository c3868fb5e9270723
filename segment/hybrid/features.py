"""Frozen features of images, computed once and kept on disk."""

import hashlib
import json
import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.nn import functional

from annotations import TrainingError, UsageError
from annotations.files import remove_tree
from inference.base import ImageRgb
from inference.images import normalised
from training.backbones import Backbone

STRIDES: Final = (2, 4, 8, 16)
FORMAT_VERSION: Final = 1
"""Of the cached features; others are never read."""
FEATURES_FOLDER: Final = "features"
_PROBE_SIDE: Final = 224


class FrozenFeatures(torch.nn.Module):
    """A frozen network whose maps are read at strides up to 16, as far as it has them.

    Attributes:
        strides: of the levels, ascending.
        channels: of each level.
    """

    def __init__(self, encoder: str, *, weights: str, finest: int = STRIDES[0]) -> None:
        """Load a network.

        Args:
            encoder: any torchvision or timm name.
            weights: `auto`, `none` or a file.
            finest: stride of the finest maps that are of use; finer ones are not read.

        Raises:
            UsageError: an unknown network, or one without a map of features at a stride up to 16.
            WeightsNotFoundError: ImageNet weights are neither here nor reachable.
        """
        super().__init__()
        self.backbone = Backbone(encoder, weights=weights)
        self.backbone.eval().requires_grad_(False)
        chosen: dict[int, int] = {}
        channels: dict[int, int] = {}
        with torch.inference_mode():
            maps = self.backbone(torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE))
        for number, one in enumerate(maps):
            ratio = _PROBE_SIDE / one.shape[-1]
            stride = min(STRIDES, key=lambda s: abs(math.log(s / ratio)))
            if stride < finest:
                continue
            # A map at stride 32 is none at stride 16; one of a patch of 14 pixels is.
            if one.shape[-1] > 1 and abs(math.log2(stride / ratio)) < 0.5:
                chosen[stride] = number
                channels[stride] = int(one.shape[1])
        if not any(stride in chosen for stride in STRIDES[1:]):
            raise UsageError(
                f"The network {encoder!r} has no map of features at strides 4 to 16, and a hybrid "
                "segmenter needs one to draw its own map. Convolutional networks have them; "
                "efficientnet_lite0 is the default."
            )
        self.strides = tuple(sorted(chosen))
        self.channels = tuple(channels[stride] for stride in self.strides)
        self.backbone.keep([chosen[stride] for stride in self.strides])

    def train(self, mode: bool = True) -> "FrozenFeatures":
        """Stay as it is: nothing in a frozen network learns, its batch statistics neither."""
        del mode
        return super().train(False)

    @torch.inference_mode()
    def of(self, images_rgb: Sequence[ImageRgb]) -> list[torch.Tensor]:
        """Features of images of one size uint8 (h, w, 3), sides multiples of 32.

        Returns:
            A level each: float32 (n, channels, h / stride, w / stride), on the network's device.
            Levels of stride 8 and more are averaged over 3×3 places, as in PatchCore and
            SuperSimpleNet.
        """
        batch = np.stack([normalised(one, *self.backbone.normalisation) for one in images_rgb])
        device = next(self.backbone.parameters()).device
        return self.levels(torch.from_numpy(batch).to(device))

    def levels(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Levels, as `of` gives them, of normalised images float32 (n, 3, h, w)."""
        height, width = batch.shape[2:]
        maps = self.backbone(batch)
        levels = []
        for stride, level in zip(self.strides, maps, strict=True):
            level = level.float()
            hw = (height // stride, width // stride)
            if tuple(level.shape[2:]) != hw:
                level = functional.interpolate(level, size=hw, mode="bilinear")
            if stride >= 8:
                level = functional.avg_pool2d(
                    level, 3, stride=1, padding=1, count_include_pad=False
                )
            levels.append(level)
        return levels

    def shapes(self, hw: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Channels, height and width of every level of an image of a size."""
        return [
            (count, hw[0] // stride, hw[1] // stride)
            for count, stride in zip(self.channels, self.strides, strict=True)
        ]

    def size(self, hw: tuple[int, int]) -> int:
        """Numbers in all levels of an image of a size."""
        return sum(math.prod(shape) for shape in self.shapes(hw))


class FeatureCache:
    """Features on disk: one memory-mapped .npy of float16 for each view of each image.

    A file is written beside its place and moved there whole. Its name is a digest of all that the
    features depend on, and its header holds how many there are: a file of another version, or one
    that was cut off, is never used.
    """

    def __init__(self, folder: Path, network: FrozenFeatures, *, network_key: str) -> None:
        """Take a folder, made when first needed, and the network.

        Args:
            folder: of the files.
            network: computes what is not there.
            network_key: tells networks and weights apart.
        """
        self._folder, self._network, self._key = folder, network, network_key

    def path(self, image_key: str, hw: tuple[int, int], view: int) -> Path:
        """Where the features of a view stand.

        Args:
            image_key: the image's SHA-256, with whatever was done to it.
            hw: of the resized image, not of the view.
            view: number of the view.
        """
        key = [FORMAT_VERSION, self._key, image_key, list(hw), view]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self._folder / f"{digest[:40]}.npy"

    def read(self, path: Path, hw: tuple[int, int]) -> list[torch.Tensor] | None:
        """Levels float32 (channels, h, w) of a view whose own size is `hw`; None where there is
        no whole file of it."""
        try:
            flat = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if flat.dtype != np.float16 or flat.shape != (self._network.size(hw),):
            return None
        tensor = torch.from_numpy(flat.astype(np.float32))
        levels, start = [], 0
        for shape in self._network.shapes(hw):
            count = math.prod(shape)
            levels.append(tensor[start : start + count].view(shape))
            start += count
        return levels

    def write(self, path: Path, levels: Sequence[torch.Tensor]) -> None:
        """Keep levels (channels, h, w) of one view.

        Raises:
            TrainingError: the disk is full or cannot be written to.
        """
        flat = torch.cat([level.flatten() for level in levels]).cpu().numpy()
        # Beyond half precision's range lies no feature that means anything.
        limit = float(np.finfo(np.float16).max)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.save(file, np.clip(flat, -limit, limit).astype(np.float16))
            partial.replace(path)
        except OSError as error:
            raise TrainingError(
                f"Features could not be kept in {self._folder} ({error.strerror}). Make room on "
                "that disk, or lower what may be kept with --set cache_gb=N; with 0 nothing is "
                "kept, and training takes several times as long."
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all of it: weights are what training leaves."""
        remove_tree(self._folder)


def views_that_fit(sizes: Sequence[int], wanted: int, gigabytes: float) -> int:
    """How many views of all images fit into a number of GB: `wanted`, halves of it, or 0.

    Args:
        sizes: numbers in the features of one view of each image, two bytes each.
        wanted: 1, 2, 4 or 8.
        gigabytes: 1e9 bytes each.
    """
    views = wanted
    while views and 2 * views * sum(sizes) > gigabytes * 1e9:
        views //= 2
    return views
