"""Tiles: looking at a large image through windows of the network's size, for small defects."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from annotations import InputError, Regions
from annotations.errors import shortened
from annotations.files import read_json
from annotations.regions import box_slices, decode_rle

Tiles = Literal["auto"] | int

OVERLAP: Final = 0.25
"""Part of a tile that it shares with the next one."""
SMALLEST_SIDE: Final = 8.0
"""Pixels that the side of a typical small defect should have at the network's size."""
SMALLEST_WIDTH: Final = 3.0
"""Pixels that a typical thin defect should be wide at the network's size."""
MAX_TILES: Final = 8
SAME_DEFECT: Final = 0.6
"""Two boxes of one type are one defect from this part of the smaller one on."""


class Extent(NamedTuple):
    """How large a defect is, in pixels of its image.

    Attributes:
        side: of a square of the same area.
        width: twice the largest distance to the background: 3 of a crack of 200 × 3 pixels.
        long_side: of its image.
    """

    side: float
    width: float
    long_side: int


def long_side(tiles: int, tile_side: int) -> int:
    """Pixels that `tiles` overlapping tiles of a side cover along the longer side of an image."""
    return round(tile_side * (1 + (tiles - 1) * (1 - OVERLAP)))


def needed_side(defects: Iterable[Extent]) -> float | None:
    """Longer side in pixels that images need so that three of four defects are seen.

    A defect is seen where its side is `SMALLEST_SIDE` pixels and its width `SMALLEST_WIDTH`; images
    are never enlarged for it.

    Args:
        defects: of the training side.

    Returns:
        At most the median of the images' own longer sides; None without a defect.
    """
    rows = list(defects)
    if not rows:
        return None
    wanted = [
        max(SMALLEST_SIDE / one.side, SMALLEST_WIDTH / one.width) * one.long_side for one in rows
    ]
    native = float(np.median([one.long_side for one in rows]))
    return min(float(np.quantile(wanted, 0.75)), native)


def choose_tiles(defects: Iterable[Extent], *, tile_side: int, asked: Tiles = "auto") -> int:
    """How many tiles to lay along the longer side of an image.

    Args:
        defects: of the training side.
        tile_side: the network's size in pixels.
        asked: a number, or `auto`: as few as `needed_side` needs, without enlarging images.

    Returns:
        1 for the whole image at once, up to `MAX_TILES`.
    """
    if asked != "auto":
        return asked
    rows = list(defects)
    needed = needed_side(rows)
    if needed is None:
        return 1
    native = float(np.median([one.long_side for one in rows]))
    for tiles in range(1, MAX_TILES + 1):
        if long_side(tiles, tile_side) >= needed or long_side(tiles + 1, tile_side) > native:
            return tiles
    return MAX_TILES


def extents(truth: Regions) -> Iterator[Extent]:
    """How large the defects of an image are; a mere box counts by its shorter side."""
    longest = max(truth.image_hw)
    for number, (x1, y1, x2, y2) in enumerate(truth.boxes_xyxy.tolist()):
        short = min(x2 - x1, y2 - y1)
        if truth.masks is None:
            yield Extent(math.sqrt((x2 - x1) * (y2 - y1)), short, longest)
            continue
        rows, columns = box_slices(truth.boxes_xyxy[number], truth.image_hw)
        inside = decode_rle(truth.masks[number])[rows, columns]
        framed = np.pad(inside.astype(np.uint8), 1)
        depth = float(cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
        yield Extent(math.sqrt(float(inside.sum())), max(2 * depth - 1, 1.0), longest)


def read_tiles(path: Path) -> int:
    """How many tiles a fold was trained with; 1 where nothing was noted.

    Raises:
        InputError: the file is damaged.
    """
    return read_noted(path, "tiles", 1, most=MAX_TILES)


def read_noted(path: Path, key: str, default: int, *, most: int) -> int:
    """A number of how a fold looks at images, as its training noted it; `default` without one.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return default
    document = read_json(path, what="a run's tiles")
    value = document.get(key, default) if isinstance(document, dict) else None
    if type(value) is not int or not 1 <= value <= most:
        raise InputError(
            f"{path} is damaged: expected {key} from 1 to {most}, found {shortened(document)}. "
            "Train this fold again."
        )
    return value


def tiled_hw(image_hw: tuple[int, int], tiles: int, tile_side: int) -> tuple[int, int]:
    """Height and width that an image is resized to before tiles are laid, its aspect kept."""
    ratio = long_side(tiles, tile_side) / max(image_hw)
    return max(1, round(image_hw[0] * ratio)), max(1, round(image_hw[1] * ratio))


def resize_for_tiles(
    image_rgb: npt.NDArray[np.uint8], size: int, tiles: int
) -> npt.NDArray[np.uint8]:
    """Resize so that tiles of `size` cover the image: uint8 (h, w, 3), its aspect kept."""
    height, width = tiled_hw((image_rgb.shape[0], image_rgb.shape[1]), tiles, size)
    shrinks = min(image_rgb.shape[:2]) >= min(height, width)
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_rgb, (width, height), interpolation=method), np.uint8)


def tile_starts(length: int, tile_side: int) -> list[int]:
    """Where tiles begin along one side, in pixels: evenly, overlapping by `OVERLAP` at least.

    The last one ends at the end; a side shorter than a tile has one, at 0.
    """
    if length <= tile_side:
        return [0]
    count = math.ceil((length - tile_side) / (tile_side * (1 - OVERLAP)) - 1e-9) + 1
    return [round(number * (length - tile_side) / (count - 1)) for number in range(count)]


def tile_windows(image_hw: tuple[int, int], tile_side: int) -> list[tuple[int, int]]:
    """Top left corners (y, x) of the tiles that cover an image, row by row."""
    rows, columns = (tile_starts(length, tile_side) for length in image_hw)
    return [(y, x) for y in rows for x in columns]


def cut_tile(
    image: npt.NDArray[np.uint8], top_left: tuple[int, int], tile_side: int, *, reflect: bool
) -> npt.NDArray[np.uint8]:
    """Cut a tile out of (H, W) or (H, W, C); what lies beyond the image is mirrored, or zero."""
    y, x = top_left
    part = image[y : y + tile_side, x : x + tile_side]
    missing = [(0, tile_side - part.shape[0]), (0, tile_side - part.shape[1])]
    if not any(end for _, end in missing):
        return part
    pads = missing + [(0, 0)] * (image.ndim - 2)
    # `symmetric` repeats as often as needed, also for a strip narrower than what is missing.
    return np.asarray(np.pad(part, pads, mode="symmetric" if reflect else "constant"), np.uint8)


def crop_window(
    mask: npt.NDArray[np.uint8], side: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top left corner of a random crop; it holds a random pixel of a defect, if there is one."""
    places = np.flatnonzero(mask)
    corner = []
    inside = places[int(rng.integers(len(places)))] if len(places) else None
    for axis, length in enumerate(mask.shape):
        low, high = 0, max(0, length - side)
        if inside is not None:
            at = int(np.unravel_index(int(inside), mask.shape)[axis])
            low, high = max(low, min(high, at - side + 1)), min(high, at)
        corner.append(int(rng.integers(low, high + 1)))
    return corner[0], corner[1]


def join_tiles(
    tiles: Sequence[npt.NDArray[np.float32]],
    windows: Sequence[tuple[int, int]],
    image_hw: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """Average overlapping tiles (C, S, S) into (C, H, W), a tile's middle counting most.

    Masks are merged as masks: a defect that lies on the border of two tiles is one region.
    """
    height, width = image_hw
    channels, side = tiles[0].shape[0], tiles[0].shape[1]
    ramp = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32) + 1
    weight = np.minimum.outer(ramp, ramp)
    total = np.zeros((channels, height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    for tile, (y, x) in zip(tiles, windows, strict=True):
        rows, columns = min(side, height - y), min(side, width - x)
        part = weight[:rows, :columns]
        total[:, y : y + rows, x : x + columns] += tile[:, :rows, :columns] * part
        weights[y : y + rows, x : x + columns] += part
    return np.asarray(total / weights, np.float32)


def merge_boxes(regions: Regions, *, same: float = SAME_DEFECT) -> Regions:
    """Merge boxes that neighboring tiles found of one defect.

    Boxes of one type of which one lies mostly in the other (intersection over the smaller box)
    become the box around both, with the higher score: a tile sees the part of a defect that lies
    in it.

    Args:
        regions: n scored boxes in the pixels of the whole image.
        same: part of the smaller box from which on two are one.

    Returns:
        Scored boxes without masks, highest scores first.

    Raises:
        ValueError: the regions have no scores.
    """
    if regions.scores is None:
        raise ValueError("Boxes to merge need scores.")
    order = np.argsort(-regions.scores, kind="stable")
    boxes: list[npt.NDArray[np.float64]] = []
    labels: list[int] = []
    scores: list[float] = []
    for index in order.tolist():
        box = regions.boxes_xyxy[index].astype(np.float64)
        label = int(regions.labels[index])
        for number, other in enumerate(boxes):
            if labels[number] == label and _part_of_smaller(box, other) >= same:
                boxes[number] = np.concatenate(
                    (np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:]))
                )
                break
        else:
            boxes.append(box)
            labels.append(label)
            scores.append(float(regions.scores[index]))
    return Regions(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=None,
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float32),
        image_hw=regions.image_hw,
    )


def _part_of_smaller(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = float(np.maximum(sides, 0).prod())
    smaller = min(float((a[2:] - a[:2]).prod()), float((b[2:] - b[:2]).prod()))
    return overlap / smaller if smaller > 0 else 0.0
