"""What to say beside a verdict on an image that shows too little for one."""

from typing import Final

from inference.base import ImageRgb

SMALLEST_SIDE: Final = 32
"""Pixels: one place of the deepest map of a usual network."""
FLAT_LEVELS: Final = 2
"""An image whose gray levels differ by no more shows nothing but a sensor's noise."""
_STEP: Final = 16


def remark_on(image_rgb: ImageRgb) -> str:
    """Why a verdict on an image says little; empty where nothing speaks against it.

    Args:
        image_rgb: uint8 (H, W, 3).
    """
    height, width = image_rgb.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        return (
            f"the image has {width}×{height} pixels, and a side below {SMALLEST_SIDE} shows a "
            "network next to nothing"
        )
    # Most images differ within a few rows; the rest is looked at only where they do not.
    for part in (image_rgb[::_STEP, ::_STEP], image_rgb):
        low, high = part.min(axis=(0, 1)), part.max(axis=(0, 1))
        if int((high - low).max()) > FLAT_LEVELS:
            return ""
    word = "black" if int(high.max()) <= FLAT_LEVELS else "of one color"
    return f"the image is {word} all over: is the light on, and the lens uncovered?"
