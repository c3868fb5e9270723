"""Which found regions hit a true one, to choose thresholds on validation images."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from annotations import Regions

HIT_IOU: Final = 0.3


def greedy_hits(found: Regions, truth: Regions, *, min_iou: float = HIT_IOU) -> list[bool]:
    """Which found boxes are the first, by score, on a true box of any type.

    Args:
        found: n scored regions.
        truth: m true regions.
        min_iou: of the boxes, from which on a true box is hit.

    Returns:
        n truth values, in the order of `found`.

    Raises:
        ValueError: `found` has no scores.
    """
    if found.scores is None:
        raise ValueError("Found regions need scores.")
    result = [False] * len(found)
    if not len(truth):
        return result
    ious = box_ious(found.boxes_xyxy, truth.boxes_xyxy)
    taken: set[int] = set()
    for index in np.argsort(-found.scores, kind="stable").tolist():
        best = int(np.argmax(ious[index]))
        if ious[index, best] >= min_iou and best not in taken:
            taken.add(best)
            result[index] = True
    return result


def box_ious(
    first_xyxy: npt.NDArray[np.float32], second_xyxy: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Intersection over union of half-open boxes, (n, 4) and (m, 4): float64 (n, m)."""
    from torchvision.ops import box_iou

    first, second = (torch.from_numpy(b.astype(np.float64)) for b in (first_xyxy, second_xyxy))
    # Boxes without any area have no union to divide by.
    return np.asarray(box_iou(first, second).nan_to_num(0.0).numpy(), np.float64)
