"""Drawn defects - scratches, blobs, chips, textures - for when there are next to none to cut out.

Masks from thresholded smooth noise follow Zavrtanik et al. 2021 (DRAEM, section 3.2); unlike
there, the defect's look is a change of the image's own light, since no foreign textures are at
hand.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

BoolMask = npt.NDArray[np.bool_]
FloatImage = npt.NDArray[np.float32]
Shape = tuple[int, int]


def draw_defect(
    image: FloatImage, allowed: BoolMask, rng: np.random.Generator
) -> tuple[FloatImage, BoolMask]:
    """Draw one defect.

    Args:
        image: float32 (H, W, 3), 0 to 255.
        allowed: bool (H, W), where the defect may be.
        rng: draws its kind, place, size and look.

    Returns:
        A new image, and bool (H, W): the pixels that belong to the defect; empty where nothing
        is allowed.
    """
    places = np.flatnonzero(allowed)
    nothing = np.zeros(allowed.shape, bool)
    if not len(places):
        return image, nothing
    y, x = np.unravel_index(int(places[int(rng.integers(len(places)))]), allowed.shape)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    inside = kind(allowed.shape, (int(y), int(x)), rng) & allowed
    if not inside.any():
        inside = nothing.copy()
        inside[y, x] = True
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)
    alpha = np.maximum(alpha, inside * 0.6)[..., None] * rng.uniform(0.5, 1.0)
    texture = _noise(allowed.shape, rng, cells=int(rng.integers(6, 24)))[..., None] * 40
    sign = 1.0 if rng.random() < 0.5 else -1.0
    tint = rng.uniform(-15, 15, 3) + sign * rng.uniform(35, 110)
    changed = np.clip(image + tint.astype(np.float32) + texture, 0, 255)
    return np.asarray(image * (1 - alpha) + changed * alpha, np.float32), inside


def _noise(shape: Shape, rng: np.random.Generator, *, cells: int) -> FloatImage:
    """Smooth noise in about -1 to 1."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    smooth = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth * 0.5, np.float32)


def _size(shape: Shape, rng: np.random.Generator, low: float, high: float) -> float:
    return float(max(2.0, min(shape) * np.exp(rng.uniform(np.log(low), np.log(high)))))


def _scratch(shape: Shape, at: tuple[int, int], rng: np.random.Generator) -> BoolMask:
    length, angle = _size(shape, rng, 0.08, 0.5), rng.uniform(0, np.pi)
    steps = np.linspace(-0.5, 0.5, 12) * length
    bend = np.cumsum(rng.normal(0, 0.03 * length, len(steps)))
    xs = at[1] + steps * np.cos(angle) - bend * np.sin(angle)
    ys = at[0] + steps * np.sin(angle) + bend * np.cos(angle)
    canvas = np.zeros(shape, np.uint8)
    points = np.rint(np.stack((xs, ys), axis=1)).astype(np.int32)
    width = int(rng.integers(1, max(2, round(min(shape) * 0.012)) + 1))
    cv2.polylines(canvas, [points], isClosed=False, color=1, thickness=width)
    return np.asarray(canvas > 0)


def _disc(shape: Shape, at: tuple[int, int], radius: float, stretch: float) -> FloatImage:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot((rows - at[0]) / radius, (columns - at[1]) / (radius * stretch))
    return np.asarray(1 - distance, np.float32)


def _blob(shape: Shape, at: tuple[int, int], rng: np.random.Generator) -> BoolMask:
    radius, stretch = _size(shape, rng, 0.01, 0.1), float(rng.uniform(0.6, 1.7))
    bumps = _noise(shape, rng, cells=max(4, round(min(shape) / radius)))
    return np.asarray(_disc(shape, at, radius, stretch) + 0.4 * bumps > 0)


def _chip(shape: Shape, at: tuple[int, int], rng: np.random.Generator) -> BoolMask:
    radius, corners = _size(shape, rng, 0.015, 0.1), int(rng.integers(3, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = radius * rng.uniform(0.5, 1.2, corners)
    points = np.stack((at[1] + reach * np.cos(angles), at[0] + reach * np.sin(angles)), axis=1)
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return np.asarray(canvas > 0)


def _patch(shape: Shape, at: tuple[int, int], rng: np.random.Generator) -> BoolMask:
    radius = _size(shape, rng, 0.05, 0.2)
    holes = _noise(shape, rng, cells=int(rng.integers(10, 40)))
    return np.asarray((_disc(shape, at, radius, 1.0) > 0) & (holes > 0.1))


KINDS: tuple[Callable[[Shape, tuple[int, int], np.random.Generator], BoolMask], ...] = (
    _scratch,
    _blob,
    _chip,
    _patch,
)
