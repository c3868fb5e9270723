"""What good images alone say of a part: where it is, whether it lies still, how it is symmetric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

WORKING_SIDE: Final = 96
"""Pixels; looks at overall shape, so that fine texture says nothing."""
ALIGNED: Final = 0.9
"""Median correlation of good images with their mean, from which on a part counts as aligned."""
SYMMETRIC: Final = 0.9
"""Correlation of the mean image with its turned or mirrored self."""
PLAIN_BORDER: Final = 14.0
"""Largest deviation, in gray levels of 255, of a border that can be a backdrop."""

ImageRgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PartGeometry:
    """Where defects can be, from good images.

    Attributes:
        aligned: every image shows the part at the same place and angle.
        rotational: the part looks the same at every angle around the image's center.
        mirrored: the part looks the same in a mirror (left and right).
        foreground: bool (WORKING_SIDE, WORKING_SIDE), pixels of the part in the mean image, the
            image being stretched to that square; None where parts are not aligned.
    """

    aligned: bool
    rotational: bool
    mirrored: bool
    foreground: npt.NDArray[np.bool_] | None

    def foreground_of(self, image_rgb: ImageRgb) -> npt.NDArray[np.bool_]:
        """The part's pixels in an image uint8 (H, W, 3): bool (H, W)."""
        height, width = image_rgb.shape[:2]
        small = self.foreground if self.foreground is not None else part_mask(_shrink(image_rgb))
        resized = cv2.resize(
            small.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        return np.asarray(resized > 0)


def _shrink(image_rgb: ImageRgb) -> npt.NDArray[np.float32]:
    size = (WORKING_SIDE, WORKING_SIDE)
    small = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1.5))


def _correlation(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    where: npt.NDArray[np.bool_],
) -> float:
    a, b = first[where].ravel().astype(np.float64), second[where].ravel().astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    # Two flat images are as alike as can be.
    return float((a * b).sum() / norm) if norm > 1e-6 else 1.0


def part_mask(small_rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Separate a part from a plain backdrop; all of the image where there is none.

    The backdrop is what resembles the border's median color and is connected to the border.

    Args:
        small_rgb: float32 (S, S, 3), 0 to 255.

    Returns:
        bool (S, S), True on the part, grown by two pixels.
    """
    border = np.concatenate((small_rgb[0], small_rgb[-1], small_rgb[:, 0], small_rgb[:, -1]))
    color = np.median(border, axis=0)
    spread = float(np.median(np.abs(border - color).max(axis=1)))
    whole = np.ones(small_rgb.shape[:2], bool)
    if spread > PLAIN_BORDER:
        return whole
    alike = (np.abs(small_rgb - color).max(axis=2) <= 2 * PLAIN_BORDER).astype(np.uint8)
    _, components = cv2.connectedComponents(alike, connectivity=4)
    rim = np.concatenate((components[0], components[-1], components[:, 0], components[:, -1]))
    backdrop = np.isin(components, np.setdiff1d(rim, 0))
    part = cv2.dilate((~backdrop).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    # A part that all but vanishes was no part on a backdrop, but a plain surface.
    return np.asarray(part) if part.mean() >= 0.02 else whole


def estimate_geometry(good_rgb: Sequence[ImageRgb]) -> PartGeometry:
    """Estimate a part's geometry.

    Args:
        good_rgb: good images uint8 (H, W, 3) of any sizes; without any, nothing is assumed.

    Returns:
        The geometry; of fewer than three images, one that assumes nothing.
    """
    if len(good_rgb) < 3:
        return PartGeometry(aligned=False, rotational=False, mirrored=False, foreground=None)
    smalls = [_shrink(image) for image in good_rgb]
    mean = np.asarray(np.mean(smalls, axis=0), np.float32)
    everywhere = np.ones(mean.shape[:2], bool)
    likeness = [_correlation(small, mean, everywhere) for small in smalls]
    contrast = float(mean.std())
    # A plain surface is trivially like its mean; it has no place to be aligned to.
    aligned = contrast > 8.0 and float(np.median(likeness)) >= ALIGNED
    if not aligned:
        return PartGeometry(aligned=False, rotational=False, mirrored=False, foreground=None)
    center = (WORKING_SIDE - 1) / 2
    rows, columns = np.mgrid[:WORKING_SIDE, :WORKING_SIDE]
    disc = (rows - center) ** 2 + (columns - center) ** 2 <= center**2
    turned = []
    for angle in (41.0, 90.0, 137.0, 201.0, 289.0):
        matrix = cv2.getRotationMatrix2D((center, center), angle, 1.0)
        other = cv2.warpAffine(mean, matrix, (WORKING_SIDE, WORKING_SIDE))
        turned.append(_correlation(mean, np.asarray(other, np.float32), disc))
    mirror = _correlation(mean, np.ascontiguousarray(mean[:, ::-1]), everywhere)
    return PartGeometry(
        aligned=True,
        rotational=min(turned) >= SYMMETRIC,
        mirrored=mirror >= SYMMETRIC,
        foreground=part_mask(mean),
    )
