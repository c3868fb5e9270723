"""Metrics of regions: COCO's average precision, and regions found or false."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from annotations import Regions, box_slices, decode_rle, encode_rle
from annotations.regions import BoolMask, CocoRle

FOUND_COVER: Final = 0.3
FALSE_COVER: Final = 0.1
MATCHING_RULE: Final = (
    "A true defect is found where found regions together cover at least 30 % of its pixels; a "
    "found region is a false alarm where less than 10 % of its pixels lie on true defects. Types "
    "do not count; regions are those at the run's own threshold."
)


@dataclass(frozen=True, slots=True)
class RegionMatch:
    """Which regions of an image were found, and which found ones are false alarms.

    Attributes:
        found_truth: bool (n true regions,).
        false_alarm: bool (n found regions,).
    """

    found_truth: npt.NDArray[np.bool_]
    false_alarm: npt.NDArray[np.bool_]


def region_masks(regions: Regions) -> Iterator[BoolMask]:
    """Masks bool (H, W) of regions, one at a time; filled boxes where there are no masks."""
    if regions.masks is not None:
        for rle in regions.masks:
            yield decode_rle(rle)
        return
    for box in regions.boxes_xyxy:
        mask = np.zeros(regions.image_hw, np.bool_)
        mask[box_slices(box, regions.image_hw)] = True
        yield mask


def match_regions(truth: Regions, found: Regions, ignored: Regions | None = None) -> RegionMatch:
    """Match found regions to true ones, of any type.

    A true region is found where found regions together cover at least 30 % of its pixels. A
    found region is a false alarm where less than 10 % of its pixels lie on true regions. So one
    large region may find several true ones, and several pieces together may find one.

    Args:
        truth: regions of one image.
        found: regions of the same image, those at or above the run's own threshold. Without
            masks, boxes count as filled.
        ignored: regions that are neither defect nor background; what lies on them is no false
            alarm.

    Raises:
        ValueError: sizes that differ.
    """
    if truth.image_hw != found.image_hw:
        raise ValueError(f"Truth of {truth.image_hw}, found regions of {found.image_hw}.")
    true_rles, found_rles = _rles(truth), _rles(found)
    return RegionMatch(
        _covers(true_rles, found_rles) >= FOUND_COVER,
        _covers(found_rles, true_rles + ([] if ignored is None else _rles(ignored))) < FALSE_COVER,
    )


def union_mask(regions: Regions) -> BoolMask:
    """All regions together, bool (H, W), decoded once however many regions there are."""
    if not len(regions):
        return np.zeros(regions.image_hw, np.bool_)
    return decode_rle(coco_mask.merge(_rles(regions), intersect=False))


def _rles(regions: Regions) -> list[CocoRle]:
    """Encoded masks with bytes for counts, as pycocotools computes with them."""
    masks = regions.masks
    rles = masks if masks is not None else [encode_rle(mask) for mask in region_masks(regions)]
    return [{**rle, "counts": rle["counts"].encode("ascii")} for rle in rles]


def _covers(regions: list[CocoRle], by: list[CocoRle]) -> npt.NDArray[np.float64]:
    """Part of each region's pixels that the others together cover: float64 (n,); 0 if empty.

    It never decodes: a noisy map may have ten thousand regions of a megapixel each.
    """
    if not regions or not by:
        return np.zeros(len(regions), np.float64)
    union = coco_mask.merge(by, intersect=False)
    # Against a crowd, COCO's overlap is the intersection over the first one's own area.
    return np.asarray(coco_mask.iou(regions, [union], [1]), np.float64)[:, 0]
