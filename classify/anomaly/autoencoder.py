"""Reconstruction error of an autoencoder that has seen good images only.

Bergmann, Löwe, Fauser, Sattlegger, Steger: Improving Unsupervised Defect Segmentation by Applying
Structural Similarity to Autoencoders (VISAPP 2019): squared error and SSIM (Wang, Bovik, Sheikh,
Simoncelli 2004, window 11), both as loss and as map. Unlike there, the two are added, whole images
and not crops are squeezed, and errors are counted against what is usual on good images (see
`inference.reconstruction`).
"""

from typing import Final

import lightning as L  # noqa: N812 - its own convention
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from classify.anomaly.method import AnomalyMethod
from classify.config import AutoencoderConfig
from classify.convnets import image_decoder, image_encoder
from classify.loop import Item, load_small, train_module, unit_tensor, varied_items
from classify.method import (
    FoldData,
    load_arrays_into,
    need_good,
    state_arrays,
)
from inference.images import unit_planes
from inference.reconstruction import ErrorScorer, UsualErrors
from training import Predictor
from training.array_files import Arrays
from training.torch_network import TorchNetwork

_NETWORK: Final = "network/"
SQUARED_SCALE: Final = 10.0
"""Brings the squared error of colors in [0, 1] near to 1 - SSIM, which lies in [0, 2]."""


class Autoencoder(AnomalyMethod[AutoencoderConfig]):
    """Error of reconstruction."""

    name = "autoencoder"
    title = "autoencoder"
    has_map = True

    def __init__(self, config: AutoencoderConfig, device: torch.device) -> None:
        """Check the settings."""
        super().__init__(config, device)
        _network(config)

    def fit(self, data: FoldData) -> Arrays:
        """Train on good images, then note their usual errors."""
        need_good(data)
        config = self.config
        images = load_small(data.good, config.image_size, data)
        held_out = load_small(data.held_out, config.image_size, data)
        module = _Reconstruction(_network(config), config)
        train_module(
            module,
            varied_items(images, config),
            lambda _epoch: range(len(images)),
            data,
            config,
            what="autoencoder",
            epochs=config.epochs,
            validation=[(unit_tensor(image), 0) for image in held_out],
            monitor="val_loss" if config.keep == "best" else None,
            shown="held-out loss",
        )
        network = module.network.eval().to(self.device)
        error = TorchNetwork(_Error(network, config.ssim_weight), self.device)
        usual = UsualErrors.of([error(unit_planes(image)[None])[0][0] for image in images])
        return {**usual.arrays(), **state_arrays(network, _NETWORK)}

    def open(self, learned: Arrays) -> Predictor:
        """Score by unusual errors."""
        network = _network(self.config)
        load_arrays_into(network, learned, _NETWORK)
        usual = UsualErrors.from_arrays(learned)
        error = TorchNetwork(_Error(network, self.config.ssim_weight), self.device)
        return ErrorScorer(error, usual, image_size=self.config.image_size)


class _Error(torch.nn.Module):
    """From images float32 (1, 3, S, S) to the error of their reconstruction (1, S, S)."""

    def __init__(self, network: torch.nn.Module, ssim_weight: float) -> None:
        super().__init__()
        self.network, self._weight = network, ssim_weight

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return error_maps(images, self.network(images), self._weight)


class _Reconstruction(L.LightningModule):
    def __init__(self, network: torch.nn.Module, config: AutoencoderConfig) -> None:
        super().__init__()
        self.network = network
        self._config = config

    def training_step(self, batch: Item, batch_idx: int) -> torch.Tensor:
        del batch_idx
        loss = error_maps(batch[0], self.network(batch[0]), self._config.ssim_weight).mean()
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        del batch_idx
        loss = error_maps(batch[0], self.network(batch[0]), self._config.ssim_weight).mean()
        self.log("val_loss", loss, batch_size=len(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self._config.learning_rate)


def error_maps(images: torch.Tensor, made: torch.Tensor, ssim_weight: float) -> torch.Tensor:
    """Error of reconstruction, place by place.

    Args:
        images: float32 (n, 3, S, S) in [0, 1].
        made: the reconstructions, alike.
        ssim_weight: share of 1 - SSIM.

    Returns:
        float32 (n, S, S): `ssim_weight` times 1 - SSIM and the rest times ten squared errors, means
        over the colors.
    """
    squared = SQUARED_SCALE * ((images - made) ** 2).mean(dim=1)
    if not ssim_weight:
        return squared
    _, likeness = structural_similarity_index_measure(
        made, images, data_range=1.0, return_full_image=True
    )
    side = images.shape[-1]
    # torchmetrics gives the windows' middles; the border repeats the outermost of them.
    missing = side - likeness.shape[-1]
    if missing:
        pad = (missing // 2, missing - missing // 2) * 2
        likeness = torch.nn.functional.pad(likeness, pad, mode="replicate")
    return ssim_weight * (1 - likeness.mean(dim=1)) + (1 - ssim_weight) * squared


def _network(config: AutoencoderConfig) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        image_encoder(config.image_size, config.latent),
        image_decoder(config.image_size, config.latent),
    )
