"""When a region counts as found: one rule, for tuning, evaluation and report.

A true region is found where found regions together cover at least 30 % of its pixels; a found
region is a false alarm where less than 10 % of its pixels lie on true ones.
"""

from collections.abc import Iterator, Sequence
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


HIT, FALSE_ALARM, PARTIAL, NOT_JUDGED = 0, 1, 2, 3
"""What a found region is; see `region_states`."""


def region_states(truth: Regions, found: Regions, match: RegionMatch) -> npt.NDArray[np.int64]:
    """What each found region is: int64 (n found,) of the four states above.

    HIT lies on a true region that was found. PARTIAL lies on true regions of which none was found,
    since less than 30 % of each is covered: it is no false alarm and has found nothing.
    NOT_JUDGED lies on an ignored place, or on an image whose defects nobody has located.

    Args:
        truth: regions of one image.
        found: regions of the same image.
        match: of the two, by `match_regions`.
    """
    states = np.full(len(found), NOT_JUDGED, np.int64)
    if len(match.found_truth) == len(truth) and len(truth) and len(found):
        true_rles, found_rles = _rles(truth), _rles(found)
        sides = [
            [rle for rle, hit in zip(true_rles, match.found_truth, strict=True) if hit == wanted]
            for wanted in (False, True)
        ]
        states[_covers(found_rles, sides[0]) > 0] = PARTIAL
        states[_covers(found_rles, sides[1]) > 0] = HIT
    states[match.false_alarm] = FALSE_ALARM
    return states


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


@dataclass(frozen=True, slots=True)
class FoundLevels:
    """What each threshold of regions finds on some images, by the rule of `match_regions`.

    Attributes:
        truth: float64 (m,), the highest threshold at which each true region is found; -inf where
            it never is.
        scores: float64 (n,) of all found regions.
        hits: bool (n,), whether each of them is no false alarm.
    """

    truth: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]


def found_levels(truth: Regions, found: Regions) -> FoundLevels:
    """What each threshold finds on one image.

    Args:
        truth: regions of an image.
        found: scored regions of the same image.

    Raises:
        ValueError: sizes that differ, or regions without scores.
    """
    if found.scores is None:
        raise ValueError("Found regions need scores.")
    match = match_regions(truth, found)
    scores = np.asarray(found.scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    levels = np.full(len(truth), -np.inf)
    left = {index: mask for index, mask in enumerate(region_masks(truth)) if mask.any()}
    needed = {index: FOUND_COVER * mask.sum() for index, mask in left.items()}
    covered = dict.fromkeys(left, 0)
    # A region below 30 % in all is never found, however low the threshold.
    left = {index: mask for index, mask in left.items() if match.found_truth[index]}
    rles = found.masks
    for rank in order.tolist():
        if not left:
            break
        window = box_slices(found.boxes_xyxy[rank], found.image_hw)
        inside = None if rles is None else decode_rle(rles[rank])[window]
        for index in list(left):
            part = left[index][window]
            new = part if inside is None else part & inside
            covered[index] += int(new.sum())
            # What is covered is not counted twice.
            part[new] = False
            if covered[index] >= needed[index]:
                levels[index] = scores[rank]
                del left[index]
    return FoundLevels(levels, scores, ~match.false_alarm)


def f1_of_regions(n_found: float, n_truth: float, n_hits: float, n_regions: float) -> float:
    """F1 of recall (true regions found) and precision (found regions that are no false alarms).

    Args:
        n_found: true regions that are found.
        n_truth: true regions.
        n_hits: found regions that are no false alarms.
        n_regions: found regions.

    Returns:
        From 0 to 1; 0 where nothing is found.
    """
    if not n_truth or not n_regions or not n_found or not n_hits:
        return 0.0
    recall, precision = n_found / n_truth, n_hits / n_regions
    return 2 * recall * precision / (recall + precision)


def best_region_threshold(images: Sequence[FoundLevels]) -> float:
    """Score threshold with the highest F1 of regions over some images.

    Args:
        images: of each, what the thresholds find.

    Returns:
        The threshold, halfway to the next lower score; of equal ones the highest. 0.5 where there
        is nothing to choose on.
    """
    truth = np.concatenate([image.truth for image in images] or [np.zeros(0)])
    scores = np.concatenate([image.scores for image in images] or [np.zeros(0)])
    hits = np.concatenate([image.hits for image in images] or [np.zeros(0, np.bool_)])
    if not np.isfinite(truth).any():
        return 0.5
    levels = np.unique(scores)[::-1]
    f1 = [
        f1_of_regions(
            float((truth >= level).sum()),
            len(truth),
            float(hits[scores >= level].sum()),
            float((scores >= level).sum()),
        )
        for level in levels
    ]
    best = int(np.argmax(f1))
    below = float(levels[best + 1]) if best + 1 < len(levels) else 0.0
    return (float(levels[best]) + below) / 2
