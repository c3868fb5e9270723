"""Changes of an image in units that can be measured on a line.

Each is drawn by a seed and the image's id alone, so that a larger value is more of the same: the
same noise, the speck at the same place. albumentations makes those that it has with a fixed
parameter; light is changed here, in linear light (see `evaluation.stress.light`).
"""

import difflib
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations import UsageError
from annotations.errors import shortened
from evaluation.stress.light import NEUTRAL_KELVIN, kelvin_gains, with_field, with_gains

ImageRgb = npt.NDArray[np.uint8]
Apply = Callable[[ImageRgb, float, int], ImageRgb]
NO_NOISE: Final = 60.0
"""Less than a seventh of a gray level on a middle gray: rounding leaves nothing of it."""
NO_JPEG: Final = 101.0
SPECK_LIGHT: Final = 0.2
"""Share of the light that a speck of dust lets through."""


@dataclass(frozen=True)
class Kind:
    """A kind of change.

    Attributes:
        name: as it is typed.
        unit: of its values.
        words: what a value means, a sentence.
        unchanged: the value that leaves an image as it is.
        sides: the gentlest and the harshest value that are tried, for each direction.
        apply: changes an image, uint8 (H, W, 3), by a value, with a seed.
        growing: steps between both ends grow by a factor, and not by a summand.
        whole: values can be had in such steps from the gentlest one on; 0 for any value.
    """

    name: str
    unit: str
    words: str
    unchanged: float
    sides: tuple[tuple[float, float], ...]
    apply: Apply
    growing: bool = False
    whole: int = 0

    def steps(self, count: int) -> tuple[float, ...]:
        """Values that are tried, ascending: `count` in all, shared by both directions.

        Raises:
            UsageError: fewer than two.
        """
        if count < 2:
            raise UsageError(f"--steps must be at least 2, got {count}.")
        found: set[float] = set()
        for side, (gentle, harsh) in enumerate(self.sides):
            n = count // len(self.sides) + (side < count % len(self.sides))
            for i in range(n):
                found.add(self.between(gentle, harsh, i / (n - 1) if n > 1 else 1.0))
        return tuple(sorted(found))

    def between(self, low: float, high: float, part: float) -> float:
        """A value that can be had, at `part` (0 to 1) of the way from `low` to `high`."""
        if self.growing and low > 0 and high > 0:
            value = low * (high / low) ** part
        else:
            value = low + (high - low) * part
        if self.whole:
            gentle = self.sides[0][0]
            value = gentle + self.whole * round((value - gentle) / self.whole)
        return float(f"{value:.3g}")

    def within(self, low: float, high: float, part: float) -> float:
        """A value that can be had inside a window, at `part` of its width."""
        value = low + (high - low) * part
        if self.whole:
            gentle, harsh = self.sides[0]
            n = round(abs(harsh - gentle) / self.whole) + 1
            had = [self.unchanged, *np.linspace(gentle, harsh, n).tolist()]
            return float(min((v for v in had if low <= v <= high), key=lambda v: abs(v - value)))
        return min(max(float(f"{value:.3g}"), low), high)


@dataclass(frozen=True, order=True)
class Change:
    """A kind at a value, as a cell of the measurement names it."""

    kind: str
    value: float

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"


def _exposure(image_rgb: ImageRgb, stops: float, _seed: int) -> ImageRgb:
    gain = 2.0**stops
    return with_gains(image_rgb, (gain, gain, gain))


def _white_balance(image_rgb: ImageRgb, kelvin: float, _seed: int) -> ImageRgb:
    return with_gains(image_rgb, kelvin_gains(kelvin))


def _uneven(image_rgb: ImageRgb, percent: float, _seed: int) -> ImageRgb:
    return with_field(image_rgb, lambda x, y: 1 + percent / 200 * x + 0 * y)


def _vignetting(image_rgb: ImageRgb, percent: float, _seed: int) -> ImageRgb:
    return with_field(image_rgb, lambda x, y: 1 - percent / 100 * (x**2 + y**2) / 2)


def _by_albumentations(image_rgb: ImageRgb, seed: int, name: str, **settings: Any) -> ImageRgb:
    # Imported here: it imports torch, where that is installed.
    import albumentations

    transform = getattr(albumentations, name)(**settings, p=1.0)
    transform.set_random_seed(seed)
    return np.ascontiguousarray(transform(image=image_rgb)["image"])


def _gamma(image_rgb: ImageRgb, gamma: float, seed: int) -> ImageRgb:
    limits = (100 * gamma, 100 * gamma)
    return _by_albumentations(image_rgb, seed, "RandomGamma", gamma_limit=limits)


def _focus(image_rgb: ImageRgb, sigma: float, seed: int) -> ImageRgb:
    return _by_albumentations(
        image_rgb, seed, "GaussianBlur", blur_limit=0, sigma_limit=(sigma, sigma)
    )


def _motion(image_rgb: ImageRgb, pixels: float, seed: int) -> ImageRgb:
    return _by_albumentations(
        image_rgb, seed, "MotionBlur", blur_limit=(int(pixels), int(pixels)), allow_shifted=False,
        angle_range=(0, 0), direction_range=(0, 0),
    )  # fmt: skip


def noise_deviation(mean: float, decibel: float) -> float:
    """Standard deviation of noise, in gray levels, where an image of this mean has this ratio.

    The signal-to-noise ratio is 20 log10(mean / deviation), as in EMVA 1288.
    """
    return mean / 10 ** (decibel / 20)


def _noise(image_rgb: ImageRgb, decibel: float, seed: int) -> ImageRgb:
    # Not albumentations' noise, which drops what is behind the decimal point: 4 % of a deviation
    # of ten gray levels, and nearly all of one below a gray level.
    deviation = noise_deviation(float(image_rgb.mean()), decibel)
    # A gray camera has one sensor: its noise is the same in all three channels.
    gray = bool((image_rgb == image_rgb[..., :1]).all())
    shape = (*image_rgb.shape[:2], 1 if gray else 3)
    drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
    noisy = image_rgb + drawn * np.float32(deviation)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def _affine(image_rgb: ImageRgb, seed: int, **settings: Any) -> ImageRgb:
    import cv2

    return _by_albumentations(
        image_rgb, seed, "Affine", border_mode=cv2.BORDER_REPLICATE, **settings
    )


def _shift(image_rgb: ImageRgb, percent: float, seed: int) -> ImageRgb:
    # In whole pixels here: albumentations cuts off what is beyond the decimal point.
    moved = {
        axis: (round(side * percent / 100),) * 2
        for axis, side in zip("yx", image_rgb.shape[:2], strict=True)
    }
    return _affine(image_rgb, seed, translate_px=moved)


def _rotation(image_rgb: ImageRgb, degrees: float, seed: int) -> ImageRgb:
    return _affine(image_rgb, seed, rotate=(degrees, degrees))


def _scale(image_rgb: ImageRgb, percent: float, seed: int) -> ImageRgb:
    return _affine(image_rgb, seed, scale=(percent / 100, percent / 100))


def _jpeg(image_rgb: ImageRgb, quality: float, seed: int) -> ImageRgb:
    limits = (int(quality), int(quality))
    return _by_albumentations(image_rgb, seed, "ImageCompression", quality_range=limits)


def _speck(image_rgb: ImageRgb, pixels: float, seed: int) -> ImageRgb:
    """A dark disk with an edge of one pixel, at a place that the seed draws."""
    height, width = image_rgb.shape[:2]
    place = np.random.default_rng(seed).random(2)
    y0, x0 = place[0] * (height - 1), place[1] * (width - 1)
    reach = math.ceil(pixels / 2) + 1
    rows = slice(max(0, int(y0) - reach), min(height, int(y0) + reach + 2))
    columns = slice(max(0, int(x0) - reach), min(width, int(x0) + reach + 2))
    y, x = np.ogrid[rows, columns]
    inside = np.clip(pixels / 2 + 0.5 - np.hypot(y - y0, x - x0), 0, 1)
    out = image_rgb.copy()
    out[rows, columns] = with_field(
        image_rgb[rows, columns], lambda _x, _y: np.asarray(1 - (1 - SPECK_LIGHT) * inside)
    )
    return out


KINDS: Final[tuple[Kind, ...]] = (
    Kind("shift", "%", "The part lies so much of the sides further to the right and down; its "
         "border is drawn on.", 0, ((-2, -6), (2, 6)), _shift),
    Kind("rotation", "degrees", "The part is turned, counterclockwise where positive; its border "
         "is drawn on.", 0, ((-3, -12), (3, 12)), _rotation),
    Kind("scale", "%", "The part is so large, 100 being as it is; its border is drawn on.",
         100, ((97, 90), (103, 110)), _scale),
    Kind("exposure", "stops", "Light is doubled by 1 and halved by -1; what is brighter than "
         "white is white.", 0, ((-0.25, -1), (0.25, 1)), _exposure),
    Kind("white-balance", "kelvin", "Daylight of this color temperature, the camera being "
         "balanced for 6500.", NEUTRAL_KELVIN, ((6000, 4500), (7000, 10000)), _white_balance),
    Kind("uneven-light", "%", "So much more light at the right edge than at the left, of the mean.",
         0, ((-10, -60), (10, 60)), _uneven),
    Kind("vignetting", "%", "So much light is lost in the corners, by the square of the distance.",
         0, ((10, 60),), _vignetting),
    Kind("dust", "pixels", "Diameter of a dark speck at a place drawn for each image, that lets "
         "a fifth of the light through.", 0, ((4, 48),), _speck, growing=True),
    Kind("focus-blur", "pixels", "Standard deviation of a Gaussian blur.", 0, ((0.5, 6),), _focus,
         growing=True),
    Kind("motion-blur", "pixels", "Length of a blur along the rows.", 1, ((3, 23),), _motion,
         whole=2),
    Kind("noise", "dB", "Signal-to-noise ratio, 20 log10 of the mean over the noise's standard "
         "deviation (EMVA 1288); 60 stands for no noise.", NO_NOISE, ((45, 15),), _noise),
    Kind("gamma", "exponent", "Values between 0 and 1 are raised to this power.",
         1, ((0.9, 0.6), (1.1, 1.6)), _gamma),
    Kind("jpeg", "quality", "Quality of a JPEG; 101 stands for none.", NO_JPEG, ((95, 20),), _jpeg,
         whole=1),
)  # fmt: skip
"""In the order in which they come upon an image: the part, its light, the lens, the sensor, the
file."""


def kind_named(name: str) -> Kind:
    """A kind by its name.

    Raises:
        UsageError: there is none of this name; near ones are named.
    """
    found = {kind.name: kind for kind in KINDS}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name[:80], found, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        f"{shortened(repr(name), 80)} is no kind of change.{hint} There are {', '.join(found)}."
    )


def seed_of(seed: int, image_id: str, kind: str) -> int:
    """What draws a change of an image: the same for all its steps."""
    text = f"{seed}\0{image_id}\0{kind}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")


def changed(
    image_rgb: ImageRgb, changes: Sequence[Change], *, image_id: str, seed: int
) -> ImageRgb:
    """An image after some changes, each kind at most once, in the order of `KINDS`.

    Args:
        image_rgb: uint8 (H, W, 3); left as it is.
        changes: none, or only unchanged values, give the very image.
        image_id: what is drawn hangs on it.
        seed: what is drawn hangs on it.
    """
    values = {change.kind: change.value for change in changes}
    for kind in KINDS:
        value = values.get(kind.name, kind.unchanged)
        if value != kind.unchanged:
            image_rgb = kind.apply(image_rgb, value, seed_of(seed, image_id, kind.name))
    return image_rgb
