"""Frozen features of images, computed once and kept on disk."""

import math
from typing import Final

import torch
from torch.nn import functional

from annotations import UsageError
from training.backbones import Backbone

STRIDES: Final = (2, 4, 8, 16)
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

    def levels(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Features of normalized images float32 (n, 3, h, w), sides multiples of 32.

        Returns:
            A level each: float32 (n, channels, h / stride, w / stride), on the network's device.
            Levels of stride 8 and more are averaged over 3×3 places, as in PatchCore and
            SuperSimpleNet.
        """
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
