"""Merging regions that lie near each other: one scratch, seen as three, is one scratch."""

from collections.abc import Hashable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from annotations.regions import CocoRle, boxes_of_masks
from converters.shapes import rle_window


def merge_near(
    rles: Sequence[CocoRle], kinds: Sequence[Hashable], distance: float
) -> list[list[int]]:
    """Group regions of one kind whose nearest pixels lie at most `distance` apart.

    Single linkage: A near B and B near C makes one group of three. Distances are Euclidean,
    between pixel centers; two regions with one background pixel between them are 2 apart.

    Args:
        rles: masks of one size.
        kinds: only regions of equal kind meet.
        distance: in pixels.

    Returns:
        Indices by group, groups by their first member.
    """
    from scipy.spatial import cKDTree

    root = list(range(len(rles)))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    borders: dict[int, npt.NDArray[np.int64]] = {}
    trees: dict[int, Any] = {}

    def near(one: int, other: int) -> bool:
        for index in (one, other):
            if index not in borders:
                borders[index] = border_pixels(rles[index])
        if one not in trees:
            trees[one] = cKDTree(borders[one])
        found, _ = trees[one].query(borders[other], distance_upper_bound=distance + 1e-6)
        return bool(np.isfinite(found).any())

    boxes = boxes_of_masks(list(rles)).astype(np.float64)
    number = {kind: n for n, kind in enumerate(dict.fromkeys(kinds))}
    kind_of = np.array([number[kind] for kind in kinds], np.int64)
    for one in range(len(rles) - 1):
        rest = boxes[one + 1 :]
        # From the last pixel of one box to the first of the other; half-open ends, so minus one.
        gap_low = rest[:, :2] - (boxes[one, 2:] - 1)
        gap_high = boxes[one, :2] - (rest[:, 2:] - 1)
        gap = np.maximum(np.maximum(gap_low, gap_high), 0)
        close = (gap**2).sum(axis=1) <= (distance + 1e-6) ** 2
        for other in np.flatnonzero(close & (kind_of[one + 1 :] == kind_of[one])) + one + 1:
            first, second = find(one), find(int(other))
            if first != second and near(one, int(other)):
                root[max(first, second)] = min(first, second)
    groups: dict[int, list[int]] = {}
    for index in range(len(rles)):
        groups.setdefault(find(index), []).append(index)
    return [groups[index] for index in sorted(groups)]


def border_pixels(rle: CocoRle) -> npt.NDArray[np.int64]:
    """Rows and columns (n, 2) of the pixels of a mask that touch what is outside of it."""
    window, top, left = rle_window(rle)
    inner = cv2.erode(
        window.view(np.uint8),
        np.ones((3, 3), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    rows, columns = np.nonzero(window & (inner == 0))
    return np.stack((rows + top, columns + left), axis=1).astype(np.int64)
