"""Changes of light, in linear light: a value of an image is taken as sRGB (IEC 61966-2-1).

A camera that stores values in proportion to light, without sRGB's curve, sees another change of
its values for one stop; what the images of a line are is not in their files.
"""

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

ImageRgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
NEUTRAL_KELVIN: Final = 6500.0
"""Color temperature that the camera is balanced for; D65 by CIE's formula of daylight."""
_TO_LINEAR_RGB: Final = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560],
     [0.0556434, -0.2040259, 1.0572252]]
)  # fmt: skip
_LEVELS: Final = 4096


@cache
def linear_of_level() -> Floats:
    """Light, 0 to 1, of each of the 256 values: float32 (256,)."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def value_of(light: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Values, 0 to 255 and not rounded, of light that is clipped to 0 to 1."""
    clipped = np.clip(np.asarray(light, np.float64), 0, 1)
    curve = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.asarray(curve * 255)


def with_gains(image_rgb: ImageRgb, gains: tuple[float, float, float]) -> ImageRgb:
    """Light times a gain for each channel: uint8 (H, W, 3). Light beyond white is white."""
    out = np.empty_like(image_rgb)
    for channel, gain in enumerate(gains):
        table = np.rint(value_of(linear_of_level().astype(np.float64) * gain)).astype(np.uint8)
        out[..., channel] = table[image_rgb[..., channel]]
    return out


def with_field(
    image_rgb: ImageRgb, field: Callable[[Floats, Floats], npt.NDArray[np.floating]]
) -> ImageRgb:
    """Light times a factor that depends on the place.

    Args:
        image_rgb: uint8 (H, W, 3).
        field: factor of x (1, W) and y (H, 1), both from -1 to 1 between the outermost pixels.

    Returns:
        uint8 (H, W, 3).
    """
    height, width = image_rgb.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = linear_of_level()[image_rgb] * np.asarray(field(x, y), np.float32)[..., None]
    # A table of 4,096 square roots: fine where values are dense, and no power for every pixel.
    table = np.rint(value_of((np.arange(_LEVELS) / (_LEVELS - 1)) ** 2)).astype(np.uint8)
    place = np.sqrt(np.clip(light, 0, 1)) * (_LEVELS - 1)
    return np.asarray(table[np.rint(place).astype(np.int32)], np.uint8)


def kelvin_gains(kelvin: float) -> tuple[float, float, float]:
    """Gains of red, green and blue where a light of this color temperature replaces one of 6,500 K.

    The light's chromaticity is CIE's daylight (CIE 15:2004, from 4,000 to 25,000 K); the camera
    keeps the balance that it has. Green keeps its gain, since exposure is a change of its own.

    Raises:
        ValueError: a temperature that the formula does not have.
    """
    light, neutral = _linear_rgb(kelvin), _linear_rgb(NEUTRAL_KELVIN)
    ratio = light / neutral
    red, green, blue = (float(value) for value in ratio / ratio[1])
    return red, green, blue


def _linear_rgb(kelvin: float) -> npt.NDArray[np.float64]:
    if not 4000 <= kelvin <= 25000:
        raise ValueError(f"CIE's daylight has 4,000 to 25,000 K, got {kelvin}.")
    t = 1000 / kelvin
    if kelvin <= 7000:
        x = 0.244063 + 0.09911 * t + 2.9678 * t**2 - 4.6070 * t**3
    else:
        x = 0.237040 + 0.24748 * t + 1.9018 * t**2 - 2.0064 * t**3
    y = -3 * x**2 + 2.87 * x - 0.275
    xyz = np.array([x / y, 1, (1 - x - y) / y])
    return np.asarray(_TO_LINEAR_RGB @ xyz, np.float64)
