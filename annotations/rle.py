"""COCO's run lengths, checked before pycocotools' compiled code sees them.

It trusts what it is given: runs that reach beyond the image make it write beyond its memory.
"""

from typing import Final

from pycocotools import mask as coco_mask

from annotations.regions import CocoRle

MAX_PERIMETER: Final = 10_000_000
"""Pixels that the outline of one polygon may run along: pycocotools sets memory aside for each."""
_MAX_COUNT_CHARACTERS: Final = 7  # five bits each: more than any image that is read has pixels


def counts_of_text(text: str) -> list[int]:
    """Run lengths of COCO's compressed text (pycocotools, maskApi.c, rleFrString).

    Raises:
        ValueError: not such a text.
    """
    counts: list[int] = []
    value = position = 0
    for character in text.encode("ascii"):
        part = character - 48
        if not 0 <= part < 64 or position >= _MAX_COUNT_CHARACTERS:
            raise ValueError("a character or number that no RLE has")
        value |= (part & 31) << (5 * position)
        position += 1
        if part & 32:
            continue
        if part & 16:
            value -= 1 << (5 * position)
        # From the fourth on, a run is written as the difference to the one before the last.
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = position = 0
    if position:
        raise ValueError("it stops within a number")
    return counts


def rle_of_counts(counts: list[int], image_hw: tuple[int, int]) -> CocoRle:
    """Compressed RLE of run lengths in column-major order, outside first.

    Raises:
        ValueError: a negative run, or another sum than the image has pixels.
    """
    height, width = image_hw
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"the runs do not sum up to {height}×{width} pixels")
    # Empty runs within are allowed, but then one mask has several texts.
    merged: list[int] = []
    inside = False
    for number, count in enumerate(counts):
        if not count:
            continue
        if merged and inside == bool(number % 2):
            merged[-1] += count
        else:
            if not merged and number % 2:
                merged.append(0)
            merged.append(count)
        inside = bool(number % 2)
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": merged}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def check_rle(rle: CocoRle) -> None:
    """Refuse a compressed RLE whose runs do not fill its image.

    Raises:
        ValueError: not such a text, a negative run, or another sum.
    """
    height, width = rle["size"]
    counts = counts_of_text(rle["counts"])
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"the runs of a mask do not sum up to {height}×{width} pixels")
