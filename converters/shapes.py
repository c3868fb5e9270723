"""Regions that come as RLE, polygons or boxes, made into RLE; every size is bounded.

Label files are written by others: what they hold is checked before pycocotools' compiled code
sees it, which would read and write outside its memory.
"""

import io
import math
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

from annotations import InputError, decode_rle, encode_rle
from annotations.errors import shortened
from annotations.regions import BoolMask, CocoRle, box_slices
from annotations.rle import MAX_PERIMETER, counts_of_text, rle_of_counts
from converters.layouts.source import Shape

LINES: Final = "polygons without area, drawn as lines"


def shape_rle(shape: Shape, image_hw: tuple[int, int]) -> tuple[CocoRle, str | None]:
    """RLE of a shape.

    Polygons are filled as pycocotools fills them, so that COCO's own tools see the same pixels;
    one without any area is drawn as the line that it is. A box covers the pixels whose centers
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
        return _with_holes(shape, image_hw)
    if shape.kind == "ellipse":
        return _ellipse(shape, image_hw), None
    if shape.kind == "mask":
        return window_rle(shape, image_hw), None
    box = box_of(shape, image_hw)
    rows, columns = box_slices(box, image_hw)
    height, width = image_hw
    note = None
    if rows.start >= rows.stop or columns.start >= columns.stop:
        x = min(int((box[0] + box[2]) / 2), width - 1)
        y = min(int((box[1] + box[3]) / 2), height - 1)
        rows, columns, note = slice(y, y + 1), slice(x, x + 1), "boxes that cover no pixel's center"
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
    if shape.kind not in ("box", "polygons"):
        return False
    parts = [shape.data] if shape.kind == "box" else _outer(shape)
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
        if "starts" in data:
            return rle_of_counts(_counts_of_starts(data["starts"], image_hw), image_hw)
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
            f"{shape.where}: malformed RLE ({shortened(error)}). Mend or remove the annotation."
        ) from error


def _counts_of_starts(numbers: list[int], image_hw: tuple[int, int]) -> list[int]:
    """Counts of pairs of start (from 1, down the columns) and length."""
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers; pairs of start and length are expected")
    counts, end = [], 0
    for start, length in sorted(zip(numbers[::2], numbers[1::2], strict=True)):
        if length < 1 or start - 1 < end:
            raise ValueError(f"a run of {length} pixels from {start}, after one that ends at {end}")
        counts += [start - 1 - end, length]
        end = start - 1 + length
    total = image_hw[0] * image_hw[1]
    if end > total:
        raise ValueError(f"its last run ends at pixel {end}, the image has {total}")
    # Two runs that touch are one.
    joined: list[int] = []
    for place in range(0, len(counts), 2):
        if counts[place] == 0 and joined:
            joined[-1] += counts[place + 1]
        else:
            joined += counts[place : place + 2]
    return [*joined, total - end]


def _ellipse(shape: Shape, image_hw: tuple[int, int]) -> CocoRle:
    """Pixels whose centers lie in a turned ellipse; at least the one at its center."""
    numbers = _numbers(shape, shape.data)
    if len(numbers) != 5 or (numbers[2:4] < 0).any():
        raise InputError(f"{shape.where}: an ellipse needs a center, two radii and a turn.")
    height, width = image_hw
    cx, cy, rx, ry, degrees = numbers.tolist()
    reach = max(rx, ry)
    left, right = max(math.floor(cx - reach), 0), min(math.ceil(cx + reach), width)
    top, bottom = max(math.floor(cy - reach), 0), min(math.ceil(cy + reach), height)
    if left >= right or top >= bottom or reach > 4 * max(image_hw):
        raise InputError(
            f"{shape.where}: the ellipse at x {cx:g}, y {cy:g} lies outside its image of "
            f"{width}×{height} pixels. Mend the label."
        )
    angle = math.radians(degrees)
    x = np.arange(left, right)[None] + 0.5 - cx
    y = np.arange(top, bottom)[:, None] + 0.5 - cy
    along = (x * math.cos(angle) + y * math.sin(angle)) / max(rx, 1e-9)
    across = (y * math.cos(angle) - x * math.sin(angle)) / max(ry, 1e-9)
    return rle_of_window(along**2 + across**2 <= 1, top, left, image_hw)


def window_rle(shape: Shape, image_hw: tuple[int, int]) -> CocoRle:
    """RLE of a mask that covers a rectangle of its image; what reaches out is cut off.

    Raises:
        InputError: a PNG that cannot be read, runs that do not fill the rectangle, or a rectangle
            that is larger than the image allows.
    """
    data = shape.data
    try:
        if "png" in data:
            window = _decoded(data["png"], image_hw)
        else:
            hw = (data["height"], data["width"])
            if min(hw) < 1 or hw[0] > 2 * image_hw[0] or hw[1] > 2 * image_hw[1]:
                raise ValueError(f"a mask of {hw[1]}×{hw[0]} pixels")
            brush = "brush" in data
            flat = decode_brush(data["brush"], hw) if brush else _by_rows(data["row_runs"], hw)
            window = flat.reshape(hw)
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise InputError(
            f"{shape.where}: malformed mask ({shortened(error)}). Export it again."
        ) from error
    return rle_of_window(window, data["top"], data["left"], image_hw)


def _decoded(png: bytes, image_hw: tuple[int, int]) -> BoolMask:
    with Image.open(io.BytesIO(png)) as image:
        if image.width > 2 * image_hw[1] or image.height > 2 * image_hw[0]:
            raise ValueError(f"a mask of {image.width}×{image.height} pixels")
        if image.mode in ("RGBA", "LA", "PA"):
            return np.asarray(np.asarray(image.getchannel("A")) > 0, np.bool_)
        values = np.asarray(image.convert("L") if image.mode not in ("1", "L", "P") else image)
    return np.asarray(values != 0, np.bool_)


def _by_rows(runs: list[int], hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Runs of outside, inside, outside … along the rows."""
    lengths = np.array(runs, np.int64)
    if (lengths < 0).any() or int(lengths.sum()) != hw[0] * hw[1]:
        raise ValueError(f"runs of {int(lengths.sum())} pixels for a rectangle of {hw[0] * hw[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def decode_brush(data: bytes, hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where Label Studio's brush has painted: bool (height · width,).

    The stream: 32 bits for the number of values, 5 for the width of a value less one, four times
    4 for the widths of run lengths less one; then blocks, each of a bit for a run, 2 bits that
    choose the width of its length, the length less one, and one value, or as many as the length.
    The values are RGBA, and alpha tells what is painted.

    Raises:
        ValueError: not four values a pixel, or a stream that ends early.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    place = 0

    def read(width: int) -> int:
        nonlocal place
        if place + width > len(bits):
            raise ValueError("the stream ends early")
        value = 0
        for bit in bits[place : place + width].tolist():
            value = value << 1 | bit
        place += width
        return value

    total = read(32)
    if total != 4 * hw[0] * hw[1]:
        raise ValueError(f"{total} values for an image of {hw[1]}×{hw[0]} pixels")
    width = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint32)
    done = 0
    while done < total:
        is_run = read(1)
        end = done + 1 + read(sizes[read(2)])
        if end > total:
            raise ValueError("a run reaches beyond the image")
        if is_run:
            values[done:end] = read(width)
            done = end
        else:
            for index in range(done, end):
                values[index] = read(width)
            done = end
    return values.reshape(-1, 4)[:, 3] > 0


def rle_of_window(
    window: npt.NDArray[np.bool_], top: int, left: int, image_hw: tuple[int, int]
) -> CocoRle:
    """RLE of a mask (h, w) whose first pixel lies at (top, left); what reaches out is cut off."""
    height, width = image_hw
    cut = window[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    columns, rows = np.nonzero(cut.T)
    pixels = (columns + max(left, 0)) * height + rows + max(top, 0)
    return _rle_of_pixels(pixels.astype(np.int64), image_hw)


def _rle_of_pixels(pixels: npt.NDArray[np.int64], image_hw: tuple[int, int]) -> CocoRle:
    """RLE of sorted places down the columns."""
    total = image_hw[0] * image_hw[1]
    if not len(pixels):
        return rle_of_counts([total], image_hw)
    breaks = np.flatnonzero(np.diff(pixels) != 1)
    starts = np.concatenate((pixels[:1], pixels[breaks + 1]))
    ends = np.concatenate((pixels[breaks], pixels[-1:])) + 1
    bounds = np.stack((starts, ends), axis=1).ravel()
    return rle_of_counts(np.diff(bounds, prepend=0, append=total).tolist(), image_hw)


def _outer(shape: Shape) -> list[Any]:
    data = shape.data
    return [data["outer"]] if isinstance(data, dict) else data


def _with_holes(shape: Shape, image_hw: tuple[int, int]) -> tuple[CocoRle, str | None]:
    """Polygons, less the holes that `{"outer", "holes"}` names."""
    if not isinstance(shape.data, dict):
        return _polygons(shape, image_hw)
    rle, note = _polygons(replace(shape, data=[shape.data["outer"]]), image_hw)
    inside = decode_rle(rle)
    for hole in shape.data["holes"]:
        cut, _ = _polygons(replace(shape, data=[hole]), image_hw)
        inside = inside & ~decode_rle(cut)
    return encode_rle(inside), note


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
            note = LINES
            rle = _line(points, image_hw)
        rles.append(rle)
    if note == LINES and len(rles) == 1 and _has_area(shape.box_xyxy):
        box = replace(shape, kind="box", data=list(shape.box_xyxy or ()))
        return shape_rle(box, image_hw)[0], "polygons without area; the box beside them is taken"
    return union_rle(rles), note


def _has_area(box_xyxy: tuple[float, float, float, float] | None) -> bool:
    # A line that really is one has a box of a pixel's height or width.
    return box_xyxy is not None and min(
        box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    ) >= 2  # fmt: skip


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
    return rle_of_window(canvas != 0, top, left, image_hw)


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
