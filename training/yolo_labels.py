"""Labels for training a YOLO detector: boxes, or hulls whose boxes stay tight when turned."""

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Regions
from annotations.regions import decode_rle

Points = npt.NDArray[np.float32]


def region_hulls(regions: Regions) -> list[Points]:
    """Convex hulls of regions, around the outer corners of their pixels.

    A rotated box is wider than what it encloses, so that a detector trained on rotated boxes
    learns to answer too wide. A hull's extent in any direction is its region's own, and before
    any change its box is exactly the region's half-open one.

    Args:
        regions: n regions; where there are no masks, a hull is the box.

    Returns:
        n arrays float32 (k, 2) of x, y in pixels, k >= 4 before simplification of collinear ones.
    """
    if regions.masks is None:
        return [_corners(box) for box in regions.boxes_xyxy]
    hulls = []
    for box, rle in zip(regions.boxes_xyxy, regions.masks, strict=True):
        left, top, right, bottom = (int(v) for v in box)
        rows, columns = np.nonzero(decode_rle(rle)[top:bottom, left:right])
        points = np.stack((columns + left, rows + top), axis=1).astype(np.int32)
        corners = np.concatenate([points + offset for offset in ((0, 0), (1, 0), (0, 1), (1, 1))])
        hulls.append(cv2.convexHull(corners).reshape(-1, 2).astype(np.float32))
    return hulls


def _corners(box_xyxy: npt.NDArray[np.float32]) -> Points:
    x1, y1, x2, y2 = box_xyxy
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float32)


def yolo_polygon_lines(regions: Regions) -> str:
    """Label lines `class x1 y1 x2 y2 …` of hulls, as parts of the image's width and height."""
    height, width = regions.image_hw
    return "".join(
        _line(label, [float(v) for v in (hull / np.array([width, height])).ravel()])
        for label, hull in zip(regions.labels.tolist(), region_hulls(regions), strict=True)
    )


def yolo_box_lines(regions: Regions) -> str:
    """Label lines `class x y width height` of boxes: center and size, as parts of the image's."""
    height, width = regions.image_hw
    lines = []
    for label, box in zip(regions.labels.tolist(), regions.boxes_xyxy, strict=True):
        x1, y1, x2, y2 = (float(value) for value in box)
        values = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
        lines.append(_line(label, [*values, (x2 - x1) / width, (y2 - y1) / height]))
    return "".join(lines)


def _line(label: int, values: list[float]) -> str:
    return " ".join([str(label), *(f"{value:.7f}" for value in values)]) + "\n"
