"""Regions that come as RLE, polygons or boxes, made into RLE; every size is bounded.

Label files are written by others: what they hold is checked before pycocotools' compiled code
sees it, which would read and write outside its memory.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from annotations import InputError, encode_rle
from annotations.regions import BoolMask, CocoRle, box_slices
from annotations.rle import MAX_PERIMETER, counts_of_text, rle_of_counts
from converters.layouts.source import Shape


def shape_rle(shape: Shape, image_hw: tuple[int, int]) -> tuple[CocoRle, str | None]:
    """RLE of a shape.

    Polygons are filled as pycocotools fills them, so that COCO's own tools see the same pixels;
    one without any area is drawn as the line that it is. A box covers the pixels whose centres
    lie in it, and at least one.

    Args:
        shape: as the label file gives it.
        image_hw: of the image.

    Returns:
        The compressed RLE, in the one form that `encode_rle` would give, and what had to be
        decided, or None.

    Raises:
        InputError: malformed, of another size, or far outside the image.
    """
    if shape.kind == "rle":
        return _rle(shape, image_hw), None
    if shape.kind == "polygons":
        return _polygons(shape, image_hw)
    box = box_of(shape, image_hw)
    rows, columns = box_slices(box, image_hw)
    height, width = image_hw
    note = None
    if rows.start >= rows.stop or columns.start >= columns.stop:
        x = min(int((box[0] + box[2]) / 2), width - 1)
        y = min(int((box[1] + box[3]) / 2), height - 1)
        rows, columns, note = slice(y, y + 1), slice(x, x + 1), "boxes that cover no pixel's centre"
    return rle_of_counts(_box_counts(rows, columns, image_hw), image_hw), note


def box_of(shape: Shape, image_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A box shape's float32 (4,) x1, y1, x2, y2, clipped to the image.

    Raises:
        InputError: not four finite numbers, an end before its start, or outside the image.
    """
    numbers = _numbers(shape, shape.data)
    if len(numbers) != 4:
        raise InputError(f"{shape.where}: a box needs four numbers, got {len(numbers)}.")
    height, width = image_hw
    x1, y1, x2, y2 = numbers.tolist()
    clipped = np.array(
        [max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)],
        np.float64,
    )
    if x2 < x1 or y2 < y1 or (clipped[2:] < clipped[:2]).any():
        raise InputError(
            f"{shape.where}: the box x {x1:g} to {x2:g}, y {y1:g} to {y2:g} lies outside its image "
            f"of {width}×{height} pixels, or ends before it starts. Mend the label."
        )
    return clipped.astype(np.float32)


def is_clipped(shape: Shape, image_hw: tuple[int, int]) -> bool:
    """True where a box or polygon reaches out of the image by more than rounding."""
    if shape.kind == "rle":
        return False
    parts = [shape.data] if shape.kind == "box" else shape.data
    numbers = np.concatenate([_numbers(shape, part) for part in parts])
    height, width = image_hw
    slack = 1e-3
    x, y = numbers[0::2], numbers[1::2]
    return bool(
        min(x.min(), y.min()) < -slack or x.max() > width + slack or y.max() > height + slack
    )


def union_rle(rles: list[CocoRle]) -> CocoRle:
    """Union of RLEs of one size; a single one comes back as it is."""
    if len(rles) == 1:
        return rles[0]
    merged = coco_mask.merge([{**r, "counts": r["counts"].encode("ascii")} for r in rles])
    height, width = (int(n) for n in merged["size"])
    return rle_of_counts(counts_of_text(merged["counts"].decode("ascii")), (height, width))


def rle_window(rle: CocoRle) -> tuple[BoolMask, int, int]:
    """The smallest cut-out that holds a mask: bool (h, w), its top row, its left column.

    Only the cut-out is drawn, however large the image.
    """
    height = int(rle["size"][0])
    counts = np.array(counts_of_text(rle["counts"]), np.int64)
    ends = np.cumsum(counts)[1::2]
    lengths = counts[1::2]
    if not len(lengths):
        return np.zeros((0, 0), np.bool_), 0, 0
    starts = ends - lengths
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    columns, rows = np.divmod(offsets + np.arange(int(lengths.sum())), height)
    top, left = int(rows.min()), int(columns.min())
    window = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), np.bool_)
    window[rows - top, columns - left] = True
    return window, top, left


def _rle(shape: Shape, image_hw: tuple[int, int]) -> CocoRle:
    data = shape.data
    try:
        size = tuple(int(n) for n in data["size"])
        counts = data["counts"]
        if size != image_hw:
            raise ValueError(f"its size is {size}, the image's {image_hw}")
        if isinstance(counts, str):
            numbers = counts_of_text(counts)
        elif isinstance(counts, list) and all(type(n) is int for n in counts):
            numbers = counts
        else:
            raise TypeError("counts must be a text or a list of whole numbers")
        return rle_of_counts(numbers, image_hw)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{shape.where}: malformed RLE ({error}). Mend or remove the annotation."
        ) from error


def _polygons(shape: Shape, image_hw: tuple[int, int]) -> tuple[CocoRle, str | None]:
    height, width = image_hw
    rles: list[CocoRle] = []
    note = None
    if not isinstance(shape.data, list | tuple) or not shape.data:
        raise InputError(f"{shape.where}: a polygon without points. Mend the annotation.")
    for part in shape.data:
        numbers = _numbers(shape, part)
        if len(numbers) < 2 or len(numbers) % 2:
            raise InputError(
                f"{shape.where}: a polygon of {len(numbers)} numbers; pairs x, y are expected."
            )
        points = numbers.reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        if (
            (low < [-width, -height]).any()
            or (high > [2 * width, 2 * height]).any()
            or (low > [width, height]).any()
            or (high < 0).any()
        ):
            raise InputError(
                f"{shape.where}: the polygon reaches from {low.tolist()} to {high.tolist()}, far "
                f"outside its image of {width}×{height} pixels. Mend the annotation."
            )
        perimeter = np.abs(np.diff(points, axis=0, append=points[:1])).sum()
        if perimeter > MAX_PERIMETER:
            raise InputError(
                f"{shape.where}: the polygon's outline is {perimeter:.0f} pixels long; at most "
                f"{MAX_PERIMETER:,} are read. Mend the annotation."
            )
        rle = None
        # Of four numbers pycocotools would make a box.
        if len(points) > 2:
            packed = coco_mask.frPyObjects([numbers.tolist()], height, width)[0]
            if coco_mask.area(packed):
                text = packed["counts"].decode("ascii")
                rle = rle_of_counts(counts_of_text(text), image_hw)
        if rle is None:
            note = "polygons without area, drawn as lines"
            rle = _line(points, image_hw)
        rles.append(rle)
    return union_rle(rles), note


def _line(points: npt.NDArray[np.float64], image_hw: tuple[int, int]) -> CocoRle:
    """Pixels under a line of one pixel's width, at least one."""
    height, width = image_hw
    whole = np.floor(points).astype(np.int64)
    whole[:, 0] = np.clip(whole[:, 0], 0, width - 1)
    whole[:, 1] = np.clip(whole[:, 1], 0, height - 1)
    left, top = (int(n) for n in whole.min(axis=0))
    right, bottom = (int(n) for n in whole.max(axis=0))
    canvas = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    line = (whole - [left, top]).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [line], isClosed=True, color=1)
    columns, rows = np.nonzero(canvas.T)
    pixels = (columns + left) * height + rows + top
    breaks = np.flatnonzero(np.diff(pixels) != 1)
    starts = np.concatenate((pixels[:1], pixels[breaks + 1]))
    ends = np.concatenate((pixels[breaks], pixels[-1:])) + 1
    bounds = np.stack((starts, ends), axis=1).ravel()
    counts = np.diff(bounds, prepend=0, append=height * width)
    return rle_of_counts(counts.tolist(), image_hw)


def _box_counts(rows: slice, columns: slice, image_hw: tuple[int, int]) -> list[int]:
    height, width = image_hw
    run = rows.stop - rows.start
    counts = [columns.start * height + rows.start]
    for _ in range(columns.start, columns.stop - 1):
        counts += [run, height - run]
    counts.append(run)
    return [*counts, height * width - sum(counts)]


def _numbers(shape: Shape, values: Any) -> npt.NDArray[np.float64]:
    if not isinstance(values, list | tuple) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    ):
        raise InputError(f"{shape.where}: numbers are expected, found {str(values)[:60]!r}.")
    try:
        numbers = np.array(values, np.float64)
    except OverflowError as error:
        raise InputError(f"{shape.where}: a number is too large.") from error
    if not np.isfinite(numbers).all():
        raise InputError(f"{shape.where}: a number that is not finite. Mend the label.")
    return numbers


def turn_rle(rle: CocoRle, turn: Any) -> CocoRle:
    """An RLE with its picture turned by `turn`, a function of an array (H, W)."""
    encoded = {**rle, "counts": rle["counts"].encode("ascii")}
    return encode_rle(turn(coco_mask.decode(encoded)))
