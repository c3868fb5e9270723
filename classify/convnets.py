"""A small convolutional encoder and decoder, shared by what reconstructs or generates images."""

import math
from typing import Final

from torch import nn

from annotations import UsageError

LOWEST_SIDE: Final = 4
MOST_CHANNELS: Final = 128


def image_encoder(side: int, latent: int, *, width: int = 16) -> nn.Sequential:
    """Strided convolutions down to 4 × 4 places, then a linear layer (as in DCGAN's
    discriminator, Radford, Metz, Chintala 2016, with leaky rectifiers).

    Args:
        side: of the images, in pixels: a power of two from 32 on.
        latent: numbers that an image becomes.
        width: channels after the first layer; they double with every layer, up to 128.

    Raises:
        UsageError: another side.
    """
    layers: list[nn.Module] = []
    before = 3
    for channels in _channels(side, width):
        layers += [
            nn.Conv2d(before, channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * LOWEST_SIDE**2, latent))


def image_decoder(side: int, latent: int, *, width: int = 16) -> nn.Sequential:
    """The way back: (n, latent) to (n, 3, side, side) in [0, 1].

    Enlarging and convolving leaves no checkerboard, as strided transposed convolutions do (Odena,
    Dumoulin, Olah 2016).

    Raises:
        UsageError: see `image_encoder`.
    """
    channels = _channels(side, width)[::-1]
    layers: list[nn.Module] = [
        nn.Linear(latent, channels[0] * LOWEST_SIDE**2),
        nn.Unflatten(1, (channels[0], LOWEST_SIDE, LOWEST_SIDE)),
    ]
    before = channels[0]
    for after in [*channels[1:], width]:
        layers += [
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
        before = after
    return nn.Sequential(*layers, nn.Conv2d(before, 3, 3, padding=1), nn.Sigmoid())


def _channels(side: int, width: int) -> list[int]:
    halvings = math.log2(side / LOWEST_SIDE)
    if side < 32 or halvings != int(halvings):
        raise UsageError(
            f"This method takes images of 32, 64, 128, 256 or 512 pixels; got {side}. Set "
            "--image-size (or smote_size) to one of them."
        )
    return [min(width * 2**n, MOST_CHANNELS) for n in range(int(halvings))]
