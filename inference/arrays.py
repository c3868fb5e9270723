"""An image that comes as an array."""

from typing import Final

import numpy as np

from annotations.errors import UsageError
from inference.base import ImageRgb

_WANTED: Final = "An image should be a path or a uint8 array, RGB (H, W, 3) or gray (H, W)"


def as_image(image: object) -> ImageRgb:
    """An image as it is predicted: uint8 (H, W, 3).

    Args:
        image: whatever NumPy takes for an array of uint8, RGB (H, W, 3) or gray (H, W): also a
            `numpy.matrix`, or a Pillow image.

    Raises:
        UsageError: anything else; says what was expected and what was found.
    """
    try:
        # A plain array: what subclasses make of an index or of repeat() is their own.
        array = np.asarray(image)
    except Exception as error:  # whatever the object's own conversion raises
        raise UsageError(f"{_WANTED}, got {type(image).__name__}.") from error
    found = f"{array.dtype} {array.shape}"
    if not isinstance(image, np.ndarray):
        found = f"{type(image).__name__}, as an array {found}"
    if array.dtype != np.uint8:
        hint = (
            " Scale values of 0 to 1 by 255 and round them first."
            if np.issubdtype(array.dtype, np.floating)
            else ""
        )
        raise UsageError(f"{_WANTED}, got {found}.{hint}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        hint = " Drop the alpha channel first." if array.ndim == 3 and array.shape[2] == 4 else ""
        raise UsageError(f"{_WANTED}, got {found}.{hint}")
    return np.ascontiguousarray(array)
