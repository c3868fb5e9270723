"""Images to pooled features of a pretrained network, one vector for each of its stages."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import timm
import torch
import torchvision

from annotations import UsageError
from classify.patch_memory import patches_of
from training import (
    TORCHVISION_FILES,
    efficientnet_lite0_state_dict,
    find_weights,
    load_state_dict,
)

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
_HALF: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STAGES: dict[str, tuple[str, ...]] = {
    "efficientnet_lite0": tuple(f"blocks.{n}" for n in range(7)),
    "resnet18": ("layer1", "layer2", "layer3", "layer4"),
    "vgg16": ("features.4", "features.9", "features.16", "features.23", "features.30"),
}
"""Where each network is read: the end of every stage (for VGG-16, its five pooling layers)."""
PATCH_STAGES: dict[str, tuple[str, ...]] = {
    "efficientnet_lite0": ("blocks.2", "blocks.4"),
    "resnet18": ("layer2", "layer3"),
    "vgg16": ("features.16", "features.23"),
}
"""Where patches are read: an eighth and a sixteenth of the image's side."""


class FeatureNetwork:
    """A frozen network that turns images into one vector a stage."""

    def __init__(self, model: str, *, weights: str, device: torch.device, image_size: int) -> None:
        """Load a network.

        Args:
            model: a key of `STAGES`.
            weights: `auto` for ImageNet's, `none` for random ones, else a file.
            device: where it runs.
            image_size: side in pixels that images are resized to.

        Raises:
            UsageError: an unknown model, or weights that do not fit it.
            WeightsNotFoundError: ImageNet weights are neither here nor reachable.
        """
        if model not in STAGES:
            near = difflib.get_close_matches(model, STAGES, n=3) or list(STAGES)
            raise UsageError(f"Unknown model {model!r}. Did you mean {' or '.join(near)}?")
        network, self._normalisation = _build(model, weights)
        self._network = network.eval().to(device).requires_grad_(False)
        self._stages = STAGES[model]
        self._patch_stages = PATCH_STAGES[model]
        self._maps: dict[str, torch.Tensor] = {}
        # Hooks and not torch.fx: timm's SAME padding branches on the image's size.
        for stage in self._stages:
            self._network.get_submodule(stage).register_forward_hook(self._keep(stage))
        self._device = device
        self._size = image_size

    def _keep(self, stage: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
            del module, inputs
            self._maps[stage] = output

        return hook

    def prepare(self, image_rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
        """uint8 (H, W, 3) to float32 (3, S, S), resized by area and normalised as in training."""
        side = (self._size, self._size)
        resized = cv2.resize(image_rgb, side, interpolation=cv2.INTER_AREA)
        mean, deviation = self._normalisation
        scaled = (resized.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(
            deviation, np.float32
        )
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))

    @torch.inference_mode()
    def __call__(self, images: list[torch.Tensor]) -> list[npt.NDArray[np.float64]]:
        """n prepared images to one float64 (n, channels) a stage: means over all places."""
        self._network(torch.stack(images).to(self._device))
        return [self._maps[s].mean(dim=(2, 3)).double().cpu().numpy() for s in self._stages]

    @torch.inference_mode()
    def patches(
        self, images: list[torch.Tensor]
    ) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        """n prepared images to float32 (n, h * w, channels) patches, and h and w."""
        self._network(torch.stack(images).to(self._device))
        found, place_hw = patches_of([self._maps[s] for s in self._patch_stages])
        return np.asarray(found.float().cpu().numpy(), np.float32), place_hw


def _build(model: str, weights: str) -> tuple[torch.nn.Module, Normalisation]:
    if model == "efficientnet_lite0":
        # timm's plain `efficientnet_lite0` loads the same tensors and computes something else.
        network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        if weights == "auto":
            network.load_state_dict(efficientnet_lite0_state_dict())
        elif weights != "none":
            _load(network, Path(weights))
        return network, _HALF
    network = getattr(torchvision.models, model)(weights=None)
    if weights != "none":
        _load(network, find_weights(TORCHVISION_FILES[model], given=weights))
    return network, _IMAGENET


def _load(network: torch.nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_state_dict(path))
    except RuntimeError as error:
        raise UsageError(f"The weights {path} do not fit the model: {error}") from error
