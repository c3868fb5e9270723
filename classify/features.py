"""Images to pooled features of a pretrained network, one vector for each of its stages."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from classify.anomaly.memory import patches_of
from classify.config import NetworkConfig, PooledConfig
from inference.images import normalized, resize_square
from training.backbones import Backbone, patch_stages
from training.torch_network import TorchNetwork

Pooling = Literal["mean", "max"]


class FeatureNetwork:
    """A network that turns images into one vector a stage.

    Attributes:
        backbone: the network itself.
        image_size: side in pixels that images are resized to.
    """

    def __init__(
        self,
        model: str,
        *,
        weights: str,
        device: torch.device,
        image_size: int,
        stages: Sequence[str] = (),
        pooling: Pooling = "mean",
    ) -> None:
        """Load a network.

        Args:
            model: see `Backbone`.
            weights: see `Backbone`.
            device: where it runs.
            image_size: side in pixels that images are resized to.
            stages: see `Backbone`.
            pooling: how a map becomes a vector: the mean or the maximum over its places.

        Raises:
            UsageError, WeightsNotFoundError: see `Backbone`.
        """
        self.backbone = Backbone(model, weights=weights, stages=stages)
        self.backbone.look_at(image_size)
        self.backbone.eval().to(device).requires_grad_(False)
        self.image_size = image_size
        self._device = device
        self._pooling = pooling

    @classmethod
    def of(cls, config: NetworkConfig, device: torch.device, *, random: bool = False) -> Self:
        """The network that the settings name; `random` spares loading weights that are replaced.

        Raises:
            UsageError, WeightsNotFoundError: see `Backbone`.
        """
        return cls(
            config.model,
            weights="none" if random else config.weights,
            device=device,
            image_size=config.image_size,
            stages=config.stages,
            pooling=config.pooling if isinstance(config, PooledConfig) else "mean",
        )

    def prepare(self, image_rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
        """uint8 (H, W, 3) to float32 (3, S, S), resized by area and normalized as in training."""
        return self.normalize(resize_square(image_rgb, self.image_size))

    def normalize(self, image_rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
        """uint8 (S, S, 3) to float32 (3, S, S), with the network's mean and standard deviation."""
        return torch.from_numpy(normalized(image_rgb, *self.backbone.normalization))

    def pool(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(n, channels, h, w) a stage to (n, channels) a stage."""
        if self._pooling == "max":
            return [one.amax(dim=(2, 3)) for one in maps]
        return [one.mean(dim=(2, 3)) for one in maps]

    @torch.inference_mode()
    def __call__(self, images: list[torch.Tensor]) -> list[npt.NDArray[np.float64]]:
        """n prepared images to one float64 (n, channels) a stage."""
        maps = self.backbone(torch.stack(images).to(self._device))
        return [one.double().cpu().numpy() for one in self.pool(maps)]

    def patches(self, images: list[torch.Tensor]) -> npt.NDArray[np.float32]:
        """n prepared images to float32 (n, h * w, channels) patches.

        Raises:
            UsageError: the images are too small to have patches.
        """
        maps = self.patch_graph()(torch.stack(images).numpy())[0]
        return np.ascontiguousarray(maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1))

    def pooled_graph(self) -> TorchNetwork:
        """From prepared images to one float32 (n, channels) a stage."""
        return TorchNetwork(_Pooled(self), self._device)

    def patch_graph(self) -> TorchNetwork:
        """From prepared images to patches float32 (n, channels, h, w)."""
        return TorchNetwork(_Patches(self), self._device)


class _Pooled(torch.nn.Module):
    def __init__(self, features: FeatureNetwork) -> None:
        super().__init__()
        self.backbone, self._pool = features.backbone, features.pool

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self._pool(self.backbone(images)))


class _Patches(torch.nn.Module):
    def __init__(self, features: FeatureNetwork) -> None:
        super().__init__()
        self.backbone, self._side = features.backbone, features.image_size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return patches_of(patch_stages(self.backbone(images), self._side))
