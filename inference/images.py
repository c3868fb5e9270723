"""Resizing and normalizing an image for a network."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.base import ImageRgb

SIDE_STEP: Final = 32
"""Sides of fitted images are multiples of it, so that every level of a network is a whole part."""


def resize_image(image_rgb: ImageRgb, size: int) -> ImageRgb:
    """Resize to a square of `size`, by area where it shrinks: uint8 (size, size, 3)."""
    shrinks = min(image_rgb.shape[:2]) >= size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_rgb, (size, size), interpolation=method), np.uint8)


def resize_square(image_rgb: ImageRgb, side: int) -> ImageRgb:
    """uint8 (H, W, 3) to (side, side, 3): by area, but linearly where both sides grow.

    By area, OpenCV enlarges in blocks whose steps a network takes for edges.
    """
    grows = max(image_rgb.shape[:2]) < side
    method = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(image_rgb, (side, side), interpolation=method), np.uint8)


def half_normalized(image_rgb: ImageRgb) -> npt.NDArray[np.float32]:
    """uint8 (H, W, 3) to float32 (3, H, W), normalized with mean 0.5 and standard deviation 0.5."""
    planes = np.ascontiguousarray(image_rgb.transpose(2, 0, 1)).astype(np.float32)
    planes /= np.float32(127.5)
    planes -= np.float32(1)
    return planes


def normalized(
    image_rgb: ImageRgb, mean: Sequence[float], deviation: Sequence[float]
) -> npt.NDArray[np.float32]:
    """uint8 (H, W, 3) to float32 (3, H, W), by the mean and standard deviation of each channel."""
    scaled = image_rgb.astype(np.float32) / 255 - np.asarray(mean, np.float32)
    scaled = scaled / np.asarray(deviation, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def unit_planes(image_rgb: ImageRgb) -> npt.NDArray[np.float32]:
    """uint8 (H, W, 3) to float32 (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(image_rgb.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)


def fitted_hw(image_hw: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Height and width that an image is resized to: its longer side `long_side`, its aspect kept
    but for rounding to multiples of 32, of which every side has one at least."""
    ratio = long_side / max(image_hw)
    height, width = (max(1, round(side * ratio / SIDE_STEP)) * SIDE_STEP for side in image_hw)
    return height, width


def resize_to(image_rgb: ImageRgb, hw: tuple[int, int]) -> ImageRgb:
    """Resize uint8 (H, W, 3) to (h, w, 3), by area where it shrinks."""
    shrinks = image_rgb.shape[0] >= hw[0] and image_rgb.shape[1] >= hw[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_rgb, (hw[1], hw[0]), interpolation=method), np.uint8)
