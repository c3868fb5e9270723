"""Figures about regions: COCO's average precision, and regions found or false."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from annotations import Dataset, Regions, coco_document, decode_rle
from annotations.regions import BoolMask, box_slices
from annotations.store import coco_results
from evaluation.metric import Metric, rate, undefined

FOUND_COVER: Final = 0.3
FALSE_COVER: Final = 0.1


@dataclass(frozen=True, slots=True)
class RegionMatch:
    """Which regions of an image were found, and which found ones are false alarms.

    Attributes:
        found_truth: bool (n true regions,).
        false_alarm: bool (n found regions,).
    """

    found_truth: npt.NDArray[np.bool_]
    false_alarm: npt.NDArray[np.bool_]


def region_masks(regions: Regions) -> list[BoolMask]:
    """Masks bool (H, W) of regions; filled boxes where there are no masks."""
    if regions.masks is not None:
        return [decode_rle(rle) for rle in regions.masks]
    masks = []
    for box in regions.boxes_xyxy:
        mask = np.zeros(regions.image_hw, np.bool_)
        mask[box_slices(box, regions.image_hw)] = True
        masks.append(mask)
    return masks


def match_regions(truth: Regions, found: Regions) -> RegionMatch:
    """Match found regions to true ones, of any type.

    A true region is found where found regions together cover at least 30 % of its pixels. A
    found region is a false alarm where less than 10 % of its pixels lie on true regions.
    """
    true_masks, found_masks = region_masks(truth), region_masks(found)
    all_true = np.zeros(truth.image_hw, np.bool_)
    all_found = np.zeros(truth.image_hw, np.bool_)
    for mask in true_masks:
        all_true |= mask
    for mask in found_masks:
        all_found |= mask
    return RegionMatch(
        np.array([_cover(mask, all_found) >= FOUND_COVER for mask in true_masks], np.bool_),
        np.array([_cover(mask, all_true) < FALSE_COVER for mask in found_masks], np.bool_),
    )


def _cover(mask: BoolMask, by: BoolMask) -> float:
    area = int(np.count_nonzero(mask))
    return int(np.count_nonzero(mask & by)) / area if area else 0.0


def found_metrics(matches: Sequence[RegionMatch]) -> dict[str, Metric]:
    """Region recall and false alarms per image, at the rule of `match_regions`."""
    found = sum(int(match.found_truth.sum()) for match in matches)
    total = sum(len(match.found_truth) for match in matches)
    alarms = sum(int(match.false_alarm.sum()) for match in matches)
    per_image = (
        Metric(alarms / len(matches), len(matches)) if matches else undefined("there are no images")
    )
    return {
        "region_recall": rate(found, total, what="true regions"),
        "false_alarms_per_image": per_image,
    }


def coco_average_precision(
    dataset: Dataset,
    image_ids: Sequence[str],
    regions: Mapping[str, Regions],
    *,
    kind: Literal["bbox", "segm"],
) -> tuple[Metric, Metric]:
    """COCO's average precision by pycocotools' COCOeval, over all images, good ones too.

    Args:
        dataset: with the truth.
        image_ids: the judged images.
        regions: scored regions by image id.
        kind: boxes or masks.

    Returns:
        The mean over IoU 0.50 to 0.95, and the one at 0.50; undefined where no judged image has
        a true region. A class without a true region does not enter, as in COCOeval.
    """
    truths = {image_id: dataset.truths[image_id] for image_id in image_ids}
    n = sum(len(truth) for truth in truths.values())
    if not n:
        reason = undefined("no judged image has a true region")
        return reason, reason
    document = coco_document(
        dataset.select(list(image_ids)),
        truths,
        dataset.class_names,
        coco_ids=dataset.coco_ids,
        file_names={image_id: image_id for image_id in image_ids},
        split_digest=dataset.split.digest,
    )
    rows: list[dict[str, Any]] = []
    for image_id in image_ids:
        rows += coco_results(regions[image_id], dataset.coco_ids[image_id])
    if not rows:
        return Metric(0.0, n), Metric(0.0, n)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        # loadRes looks at the first row alone to tell boxes from masks.
        if kind == "bbox":
            rows = [{k: v for k, v in row.items() if k != "segmentation"} for row in rows]
        judge = COCOeval(truth, truth.loadRes(rows), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    values = [float(judge.stats[0]), float(judge.stats[1])]
    both = [Metric(v, n) if v >= 0 else undefined("COCOeval gives no figure", n) for v in values]
    return both[0], both[1]
