"""Images that look alike: a small fixed descriptor of picture and score maps, and its neighbors.

No network is asked: the descriptor is what a thumbnail shows, so that "similar" here means alike in
color, in edges, and in where the models see something. It costs less than the thumbnail itself.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

Descriptor = npt.NDArray[np.float32]
NEIGHBORS: Final = 5
_SIDE: Final = 64
_CELLS: Final = 8
_TURNS: Final = 8
_BLOCKS: Final = (_CELLS * _CELLS * 3, 4 * 4 * _TURNS, _CELLS * _CELLS)
_ROWS: Final = 512
_CELL: Final = np.arange(_SIDE) // (_SIDE // 4)
# Where the first direction of each pixel's cell stands among the edges.
_AT: Final = (_CELL[:, None] * 4 + _CELL) * _TURNS


def describe(
    image_rgb: npt.NDArray[np.uint8], maps: Sequence[npt.NDArray[np.floating[Any]]] = ()
) -> Descriptor:
    """Describe how an image looks.

    Args:
        image_rgb: uint8 (H, W, 3).
        maps: score maps of the runs, float (h, w) of any size, from 0 (as in good images) to 1.

    Returns:
        float32 (384,): colors of 8 x 8 cells (Lab), strength of edges by direction of 4 x 4 cells,
        and the mean of the maps in 8 x 8 cells, 0 where there is none.
    """
    small = cv2.resize(image_rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    colors = cv2.resize(lab, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    across = cv2.Sobel(lab[..., 0], cv2.CV_32F, 1, 0)
    down = cv2.Sobel(lab[..., 0], cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    # An edge and the same edge from dark to bright are one direction.
    turn = (np.asarray(angle) % np.pi / np.pi * _TURNS).astype(np.int64) % _TURNS
    edges = np.bincount((_AT + turn).ravel(), np.asarray(strength).ravel(), _BLOCKS[1])
    heat = np.zeros((_CELLS, _CELLS), np.float32)
    for scores in maps:
        as_float = np.asarray(scores, np.float32)
        heat += cv2.resize(as_float, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA) / len(maps)
    # Roots, so that one strong edge does not outweigh all that is weak.
    parts = (np.asarray(colors).ravel(), np.sqrt(edges), np.sqrt(heat).ravel())
    return np.concatenate(parts).astype(np.float32)


def balanced(descriptors: Sequence[Descriptor | None]) -> Descriptor:
    """Descriptors as rows, centered, with color, edges and maps weighing the same.

    Args:
        descriptors: of N images; None where an image cannot be read.

    Returns:
        float32 (N, 384); rows of zeros for None.
    """
    rows = np.zeros((len(descriptors), sum(_BLOCKS)), np.float32)
    known = [n for n, one in enumerate(descriptors) if one is not None]
    if not known:
        return rows
    values = np.stack([one for one in descriptors if one is not None])
    values -= values.mean(axis=0)
    at = 0
    for wide in _BLOCKS:
        block = values[:, at : at + wide]
        spread = float(np.sqrt((block.astype(np.float64) ** 2).sum(axis=1).mean()))
        # A block that is the same in all images, up to rounding, tells nothing.
        block /= spread if spread > 1e-4 else np.inf
        at += wide
    rows[known] = values
    return rows


def neighbors(
    rows: Descriptor, parts: Sequence[str], known: Sequence[bool], most: int = NEIGHBORS
) -> list[list[int]]:
    """The nearest images of other parts, nearest first.

    Args:
        rows: float32 (N, D), as of `balanced`.
        parts: which physical part each image shows; images of the same part are no answer.
        known: whether an image can be read; the others have no neighbors and are none.
        most: neighbors of an image.
    """
    place = {part: number for number, part in enumerate(dict.fromkeys(parts))}
    part_of = np.array([place[part] for part in parts], np.int64)
    readable = np.asarray(known, bool)
    squares = (rows * rows).sum(axis=1)
    found: list[list[int]] = []
    # Some hundred rows at a time: the table of all distances of 5,000 images would take 100 MB.
    for start in range(0, len(rows), _ROWS):
        block = slice(start, start + _ROWS)
        far = squares[block, None] + squares[None] - 2 * (rows[block] @ rows.T)
        far[(part_of[block, None] == part_of[None]) | ~readable[None]] = np.inf
        far[~readable[block]] = np.inf
        kept = min(most, len(rows))
        nearest = np.argpartition(far, kept - 1, axis=1)[:, :kept]
        for line, candidates in zip(far, np.sort(nearest, axis=1), strict=True):
            order = candidates[np.argsort(line[candidates], kind="stable")]
            found.append([int(n) for n in order if np.isfinite(line[n])])
    return found


def positions(rows: Descriptor, known: Sequence[bool]) -> list[list[float] | None]:
    """Where each image stands on a map of all: the two main directions, each from 0 to 1.

    Args:
        rows: float32 (N, D), as of `balanced`.
        known: whether an image can be read; None is the place of the others.
    """
    readable = np.flatnonzero(np.asarray(known, bool))
    places: list[list[float] | None] = [None] * len(rows)
    if not len(readable):
        return places
    _, _, axes = np.linalg.svd(rows[readable], full_matrices=False)
    axes = axes[:2]
    # An axis and its mirror image are the same to the algebra: the same run gives the same map.
    strongest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    flat = np.zeros((len(readable), 2))
    flat[:, : len(axes)] = rows[readable] @ (axes * np.sign(strongest)).T
    low, high = flat.min(axis=0), flat.max(axis=0)
    wide = np.where(high - low > 1e-6, high - low, np.inf)
    scaled = np.where(np.isfinite(wide), (flat - low) / wide, 0.5)
    for number, place in zip(readable.tolist(), scaled.tolist(), strict=True):
        places[number] = [round(value, 4) for value in place]
    return places
