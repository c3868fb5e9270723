"""Regions as vectors: the page draws them over one plain picture, at every size."""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Regions, decode_rle

MOST_REGIONS: Final = 500
"""Regions of an image that are drawn; the highest-scoring ones where there are more."""
FULL_DETAIL_PIXELS: Final = 1600
"""On larger images an outline may be off by as much as a screen of this size cannot show."""


def outline_path(mask: npt.NDArray[np.bool_], tolerance: float = 0.0) -> str:
    """Outlines of a mask, bool (H, W), as an SVG path that fills by the even-odd rule.

    Points are pixels' middles, so that outlines run half a pixel inside the mask's edge.

    Args:
        mask: the mask.
        tolerance: how far an outline may be from the mask's, in pixels.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return ""
    top, left = int(rows[0]), int(columns[0])
    # Only the part that holds the region is searched: most regions are small in large images.
    window = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].astype(np.uint8)
    found, _ = cv2.findContours(window, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for contour in found:
        kept = cv2.approxPolyDP(contour, tolerance, True) if tolerance else contour
        points = " ".join(f"{x + left + 0.5:g} {y + top + 0.5:g}" for x, y in kept[:, 0].tolist())
        parts.append(f"M{points}Z")
    return "".join(parts)


def _tolerance(image_hw: tuple[int, int]) -> float:
    scale = max(image_hw) / FULL_DETAIL_PIXELS
    return scale / 2 if scale > 1 else 0.0


def _box_path(box: tuple[float, ...]) -> str:
    x1, y1, x2, y2 = box
    return f"M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z"


def _paths(regions: Regions) -> list[str]:
    if regions.masks is None:
        return [_box_path(tuple(box)) for box in regions.boxes_xyxy.tolist()]
    tolerance = _tolerance(regions.image_hw)
    return [outline_path(decode_rle(rle), tolerance) for rle in regions.masks]


def truth_vectors(truth: Regions) -> list[list[Any]]:
    """True regions: label, box and path each."""
    return [
        [label, [round(v, 1) for v in box], path]
        for label, box, path in zip(
            truth.labels.tolist(), truth.boxes_xyxy.tolist(), _paths(truth), strict=True
        )
    ]


def found_vectors(found: Regions, states: npt.NDArray[np.int64]) -> list[list[Any]]:
    """Found regions: label, box, path, score, and their state, see `region_states`.

    The path is empty where only a box is known.
    """
    scores = found.scores if found.scores is not None else np.zeros(len(found), np.float32)
    places = np.sort(np.argsort(-scores, kind="stable")[:MOST_REGIONS])
    kept = found[places]
    paths = [""] * len(kept) if kept.masks is None else _paths(kept)
    return [
        [label, [round(v, 1) for v in box], path, round(score, 4), state]
        for label, box, path, score, state in zip(
            kept.labels.tolist(),
            kept.boxes_xyxy.tolist(),
            paths,
            scores[places].tolist(),
            states[places].tolist(),
            strict=True,
        )
    ]
