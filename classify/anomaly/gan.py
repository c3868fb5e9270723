"""A generator of good images with an encoder, and a discriminator that knows good images.

Akcay, Atapour-Abarghouei, Breckon: GANomaly (ACCV 2018), section 3: the generator encodes an image
and decodes it, a second encoder reads the result; losses are those of feature matching,
reconstruction (L1) and of the two codes, weighted 1 : 50 : 1. The score takes the discriminator's
word as well, by the distance of its features between an image and its reconstruction (Schlegl et
al.: f-AnoGAN, Medical Image Analysis 2019, equation 6). Each of the three parts of the score is
counted in multiples of its mean on good images.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import lightning as L  # noqa: N812 - its own convention
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from classify.anomaly.method import AnomalyMethod
from classify.config import GanConfig
from classify.convnets import image_decoder, image_encoder
from classify.loop import Item, load_small, train_module, varied_items
from classify.method import (
    FoldData,
    load_arrays_into,
    need_good,
    state_arrays,
)
from inference.images import unit_planes
from inference.reconstruction import ErrorScorer, UsualErrors, top_mean
from training import Predictor
from training.array_files import Arrays
from training.torch_network import TorchNetwork

_NETWORK: Final = "network/"
WEIGHTS: Final = {"matching": 1.0, "reconstruction": 50.0, "codes": 1.0}
_TINY: Final = 1e-9


class Gan(AnomalyMethod[GanConfig]):
    """GANomaly's reconstruction and codes, and the discriminator's features."""

    name = "gan"
    title = "GAN"
    has_map = True

    def __init__(self, config: GanConfig, device: torch.device) -> None:
        """Check the settings."""
        super().__init__(config, device)
        GanNetworks(config)

    def fit(self, data: FoldData) -> Arrays:
        """Train generator and discriminator on good images, then note what is usual."""
        need_good(data)
        config = self.config
        images = load_small(data.good, config.image_size, data)
        module = _Adversaries(GanNetworks(config), config)
        # No loss of a game says which epoch is best; the last one is kept.
        train_module(
            module,
            varied_items(images, config),
            lambda _epoch: range(len(images)),
            data,
            config,
            what="GAN",
            epochs=config.epochs,
        )
        networks = module.network.eval().to(self.device)
        ask = TorchNetwork(_Parts(networks), self.device)
        parts = [ask(unit_planes(image)[None]) for image in images]
        usual = UsualErrors.of([error[0] for error, _, _ in parts])
        rows = [[top_mean(usual.unusual(e[0])), float(f[0]), float(c[0])] for e, f, c in parts]
        scale = np.maximum(np.mean(rows, axis=0), _TINY)
        return {"scale": scale, **usual.arrays(), **state_arrays(networks, _NETWORK)}

    def open(self, learned: Arrays) -> Predictor:
        """Score by all three parts; the map is that of the reconstruction."""
        networks = GanNetworks(self.config)
        load_arrays_into(networks, learned, _NETWORK)
        scale = np.asarray(learned["scale"], np.float64)
        if scale.shape != (3,):
            raise ValueError(f"the scale has the shape {scale.shape}")
        usual = UsualErrors.from_arrays(learned)
        return ErrorScorer(
            TorchNetwork(_Parts(networks), self.device),
            usual,
            image_size=self.config.image_size,
            scale=scale,
        )


class _Parts(nn.Module):
    """Absolute error by place, (1, S, S), and distances of features and of codes, (1,) each."""

    def __init__(self, networks: "GanNetworks") -> None:
        super().__init__()
        self.networks = networks

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        networks = self.networks
        code = networks.encoder(images)
        made = networks.decoder(code)
        error = (images - made).abs().mean(dim=1)
        features = ((networks.features(images) - networks.features(made)) ** 2).flatten(1)
        codes = (code - networks.second(made)).abs().flatten(1)
        return error, features.mean(dim=1), codes.mean(dim=1)


class GanNetworks(nn.Module):
    """Generator (encoder, decoder), second encoder, and discriminator."""

    def __init__(self, config: GanConfig) -> None:
        """Draw random weights."""
        super().__init__()
        self.encoder = image_encoder(config.image_size, config.latent)
        self.decoder = image_decoder(config.image_size, config.latent)
        self.second = image_encoder(config.image_size, config.latent)
        self.discriminator = image_encoder(config.image_size, 1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the discriminator sees before it decides: (n, features)."""
        return cast(torch.Tensor, self.discriminator[:-1](images))

    def discriminate(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, 1): real?"""
        return cast(torch.Tensor, self.discriminator(images))

    def generator_parameters(self) -> Sequence[nn.Parameter]:
        """All but the discriminator's."""
        nets: list[nn.Module] = [self.encoder, self.decoder, self.second]
        return [p for net in nets for p in net.parameters()]


class _Adversaries(L.LightningModule):
    def __init__(self, network: GanNetworks, config: GanConfig) -> None:
        super().__init__()
        self.network = network
        self._config = config
        self.automatic_optimization = False

    def training_step(self, batch: Item, batch_idx: int) -> torch.Tensor:
        del batch_idx
        images, network = batch[0], self.network
        of_generator, of_discriminator = cast(Sequence[Any], self.optimizers())
        code = network.encoder(images)
        made = network.decoder(code)
        self.toggle_optimizer(of_generator)
        matching = functional.mse_loss(network.features(made), network.features(images).detach())
        loss = (
            WEIGHTS["matching"] * matching
            + WEIGHTS["reconstruction"] * functional.l1_loss(made, images)
            + WEIGHTS["codes"] * functional.mse_loss(network.second(made), code)
        )
        of_generator.zero_grad()
        self.manual_backward(loss)
        of_generator.step()
        self.untoggle_optimizer(of_generator)
        self.toggle_optimizer(of_discriminator)
        real, false = network.discriminate(images), network.discriminate(made.detach())
        decided = (
            functional.binary_cross_entropy_with_logits(real, torch.ones_like(real))
            + functional.binary_cross_entropy_with_logits(false, torch.zeros_like(false))
        ) / 2
        of_discriminator.zero_grad()
        self.manual_backward(decided)
        of_discriminator.step()
        self.untoggle_optimizer(of_discriminator)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(images))
        self.log("discriminator_loss", decided, on_epoch=True, on_step=False)
        return loss.detach()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rate, network = self._config.learning_rate, self.network
        # As in DCGAN (Radford, Metz, Chintala 2016).
        return [
            torch.optim.Adam(network.generator_parameters(), lr=rate, betas=(0.5, 0.999)),
            torch.optim.Adam(network.discriminator.parameters(), lr=rate, betas=(0.5, 0.999)),
        ]
