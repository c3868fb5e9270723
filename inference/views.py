"""Looking at an image several times, turned and mirrored, and putting the answers together.

Test-time augmentation over the symmetries of the square. Boxes are put together by weighted boxes
fusion (Solovyev, Wang and Gabruseva 2021, "Weighted boxes fusion"), section 3.
"""

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from annotations import Regions

Views = Literal[1, 2, 4, 8]

SAME_BOX_IOU: Final = 0.55
"""Overlap from which boxes are one, as in the paper of weighted boxes fusion."""


def view_of(image: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
    """One of eight views of (H, W, ...): number 0 is the image, odd ones are mirrored.

    With 2 views an image and its mirror image are seen, with 4 also both upside down, with 8 also
    those at a right angle.
    """
    turned = np.rot90(image, TURNS[number // 2])
    return turned[:, ::-1] if number % 2 else turned


TURNS: Final = (0, 2, 1, 3)


def map_back(maps: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.float32]:
    """Undo a view in maps (C, h, w): the view's maps at the image's own orientation."""
    straight = maps[:, :, ::-1] if number % 2 else maps
    return np.asarray(np.rot90(straight, -TURNS[number // 2], axes=(1, 2)), np.float32)


def boxes_back(
    boxes_xyxy: npt.NDArray[np.float32], number: int, image_hw: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Undo a view in boxes float32 (n, 4), pixels.

    Args:
        boxes_xyxy: in the view.
        number: of the view.
        image_hw: height and width of the image, not of the view.

    Returns:
        The boxes in the image.
    """
    height, width = image_hw
    turns = TURNS[number // 2]
    view_width = height if turns % 2 else width
    x1, y1, x2, y2 = boxes_xyxy.T
    if number % 2:
        x1, x2 = view_width - x2, view_width - x1
    # A quarter turn to the left brings (x, y) of the image to (y, width - x).
    if turns == 1:
        x1, y1, x2, y2 = width - y2, x1, width - y1, x2
    elif turns == 2:
        x1, y1, x2, y2 = width - x2, height - y2, width - x1, height - y1
    elif turns == 3:
        x1, y1, x2, y2 = y1, height - x2, y2, height - x1
    return np.stack((x1, y1, x2, y2), axis=1).astype(np.float32)


def fuse_boxes(regions: Regions, views: int, *, same: float = SAME_BOX_IOU) -> Regions:
    """Weighted boxes fusion of what several views found.

    Boxes of one type that overlap a cluster's box by `same` IoU join it; a cluster's box is the
    mean of its boxes by score. Its score is the sum of its boxes' scores, divided by the number of
    views: what one view alone sees counts little.

    Args:
        regions: n scored boxes of all views, at the image's own orientation.
        views: how many views there were.
        same: IoU from which on two boxes are one.

    Returns:
        Scored boxes without masks, highest scores first.

    Raises:
        ValueError: the regions have no scores.
    """
    if regions.scores is None:
        raise ValueError("Boxes to fuse need scores.")
    order = np.argsort(-regions.scores, kind="stable")
    sums = np.zeros((len(order), 4))
    fused = np.zeros((len(order), 4))
    labels = np.zeros(len(order), np.int64)
    weights = np.zeros(len(order))
    count = 0
    for index in order.tolist():
        box = regions.boxes_xyxy[index].astype(np.float64)
        score, label = float(regions.scores[index]), int(regions.labels[index])
        ious = np.where(labels[:count] == label, _ious(box, fused[:count]), 0.0)
        best = int(np.argmax(ious)) if count else 0
        if not count or ious[best] < same:
            best, count = count, count + 1
            labels[best] = label
        sums[best] += score * box
        weights[best] += score
        fused[best] = sums[best] / weights[best]
    scores = np.minimum(weights[:count] / views, 1.0)
    ranked = np.argsort(-scores, kind="stable")
    return Regions(
        boxes_xyxy=fused[ranked].astype(np.float32),
        masks=None,
        labels=labels[ranked],
        scores=scores[ranked].astype(np.float32),
        image_hw=regions.image_hw,
    )


def _ious(box: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    overlap = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = float((box[2:] - box[:2]).prod()) + areas - overlap
    return np.asarray(np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0))
