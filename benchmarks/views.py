"""What do several views of an image cost, and what do they bring?

    python -m benchmarks.views BUNDLE OUT

BUNDLE is one of a detector or segmenter that looks at an image several times, turned and mirrored;
OUT the dataset that it was trained on. Fold 0's test images are predicted with one view, two, four
and all, by the same models. Prints a table in Markdown.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score, roc_auc_score

from annotations import Dataset, load_dataset, read_image_rgb
from annotations.dataset import COCO_ALL
from annotations.prediction_writer import coco_results
from deployment import open_bundle
from deployment.bundle import Bundle

EVERY_PIXEL = 7


def with_views(bundle: Bundle, views: int) -> Bundle:
    """The bundle, looking so many times."""
    members = []
    for member in bundle.members:
        scorer = member.scorer
        recipe = scorer.recipe() | {"views": views}
        again = type(scorer).build(recipe, scorer.arrays(), scorer.network)
        members.append(replace(member, scorer=again))
    return replace(bundle, members=tuple(members))


def measure(bundle: Bundle, data: Dataset) -> dict[str, Any]:
    """AUROC, AP50 of boxes or AP of pixels, and milliseconds."""
    ids = data.split.folds[bundle.folds[0]].test
    scores, truth, seconds, boxes = [], [], [], []
    pixels: list[np.ndarray] = []
    inside: list[np.ndarray] = []
    for image_id in ids:
        image_rgb = read_image_rgb(data.by_id[image_id].image_path)
        began = time.perf_counter()
        said = bundle.raw_prediction(image_id, image_rgb)
        seconds.append(time.perf_counter() - began)
        scores.append(float(said.image_score))
        truth.append(data.by_id[image_id].is_defective)
        if said.regions is not None and bundle.family == "detect":
            boxes += coco_results(said.regions, data.coco_ids[image_id])
        if said.pixel_scores is not None:
            mask = data.truths[image_id].union_mask()
            pixels.append(said.pixel_scores.ravel()[::EVERY_PIXEL])
            inside.append(mask.ravel()[::EVERY_PIXEL])
    found = {"auroc": float(roc_auc_score(truth, scores)), "ms": 1000 * float(np.median(seconds))}
    if pixels:
        found["pixel_ap"] = float(
            average_precision_score(np.concatenate(inside), np.concatenate(pixels))
        )
    if boxes:
        gt = COCO(str(data.root / COCO_ALL))
        evaluation = COCOeval(gt, gt.loadRes(boxes), "bbox")
        evaluation.params.imgIds = [data.coco_ids[i] for i in ids]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found["ap"], found["ap50"] = float(evaluation.stats[0]), float(evaluation.stats[1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    bundle, data = open_bundle(options.bundle), load_dataset(options.data)
    most = int(bundle.members[0].scorer.recipe()["views"])
    rows = [(v, measure(with_views(bundle, v), data)) for v in (1, 2, 4, 8) if v <= most]
    names = [name for name in rows[0][1] if name != "ms"]
    print(f"| views | {' | '.join(names)} | ms |\n|---|{'---|' * (len(names) + 1)}")
    for views, row in rows:
        cells = " | ".join(f"{row[name]:.3f}" for name in names)
        print(f"| {views} | {cells} | {row['ms']:.0f} |")


if __name__ == "__main__":
    main()
