"""COCO's average precision by pycocotools' COCOeval, by class, by size, and resampled."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import sparse

from annotations import Dataset, Regions, coco_document
from annotations.prediction_writer import coco_results
from evaluation.intervals import Floats, Weights, with_interval
from evaluation.metric import Metric, undefined
from evaluation.strata import SizeClass

NO_TRUTH: Final = "no test image has a true region"
_KNOWN: Final = {"bbox": ("boxes", "masks"), "segm": ("masks",)}
"""Strengths of label that say where defects are, or which pixels."""
_MILLION: Final = 1e6
_EVERY_AREA: Final = [0.0, 1e10]
_EPS: Final = float(np.spacing(1))


@dataclass(frozen=True, slots=True)
class RegionPrecision:
    """COCO's average precision of one run, for boxes or for masks.

    Attributes:
        mean: over IoU 0.50 to 0.95 in steps of 0.05, then over classes with a true region.
        half: the same at IoU 0.50 alone.
        by_class: the two metrics of each class of the dataset.
        by_size: the two metrics of each size class, by COCO's rule: true regions of other sizes,
            what was matched to them, and unmatched regions of other sizes do not count.
        values: resampled `mean` and `half`, float (r,) each; empty without weights.
        curve: `recall` (101 values from 0 to 1) and `precision` at IoU 0.50, mean over classes;
            empty where undefined.
    """

    mean: Metric
    half: Metric
    by_class: Mapping[str, tuple[Metric, Metric]]
    by_size: Mapping[str, tuple[Metric, Metric]]
    values: tuple[Floats, Floats] | None = None
    curve: Mapping[str, list[float]] = field(default_factory=dict)


def region_precision(
    dataset: Dataset,
    image_ids: Sequence[str],
    regions: Mapping[str, Regions],
    *,
    kind: Literal["bbox", "segm"],
    sizes: Sequence[SizeClass] = (),
    weights: Weights | None = None,
) -> RegionPrecision:
    """Evaluate regions as COCO does, over all images, good ones too.

    Args:
        dataset: with the truth.
        image_ids: n test images; those whose label does not say where defects are (for masks:
            which pixels they are) are left out.
        regions: scored regions by image id.
        kind: boxes or masks.
        sizes: size classes of true regions.
        weights: int64 (r, n), how often each image was drawn; None for no intervals.

    Returns:
        The metrics; undefined where no test image has a true region. A class without a true
        region does not enter, as in COCOeval; what was found of it is counted in the metrics'
        note. COCO's settings: 101 recalls, at most 100 regions an image and class. Equal scores
        of different images keep the order of the images, also in resamples.
    """
    place = {
        image_id: index
        for index, image_id in enumerate(image_ids)
        if dataset.strengths[image_id] in _KNOWN[kind]
    }
    truths = {image_id: dataset.truths[image_id] for image_id in place}
    n = sum(len(truth) for truth in truths.values())
    if not n:
        reason = _why_no_truth(dataset, image_ids, kind)
        both = undefined(reason), undefined(reason)
        return RegionPrecision(
            *both,
            dict.fromkeys(dataset.class_names, both),
            {size.name: both for size in sizes},
        )
    rows: list[dict[str, Any]] = []
    for image_id in place:
        rows += coco_results(regions[image_id], dataset.coco_ids[image_id])
    coco_eval = _run_cocoeval(dataset, truths, rows, kind=kind, sizes=sizes)
    # (IoU, recall, class, size, most regions an image)
    precision = np.asarray(coco_eval.eval["precision"], np.float64)[..., -1]
    note = _absent_class_note(truths, rows, dataset.class_names)
    mean, half = (replace(m, note=note) for m in _both(precision[:, :, :, 0], n, NO_TRUTH))
    labels = np.concatenate([truth.labels for truth in truths.values()])
    by_class = {
        name: _both(precision[:, :, k, 0], int((labels == k).sum()), "no true region of this type")
        for k, name in enumerate(dataset.class_names)
    }
    fractions = np.concatenate([t.areas / np.prod(t.image_hw) for t in truths.values()])
    by_size = {
        size.name: _both(
            precision[:, :, :, a],
            int(size.holds(fractions).sum()),
            "no true region of this size",
        )
        for a, size in enumerate(sizes, start=1)
    }
    values = None
    if weights is not None:
        places = np.array([place[i] for i in sorted(place, key=dataset.coco_ids.__getitem__)])
        tables = _resampled(coco_eval, weights[:, places], len(dataset.class_names), 1 + len(sizes))
        values = _class_mean(tables), _class_mean(tables[:, :, :1])
        mean, half = (with_interval(m, v) for m, v in zip((mean, half), values, strict=True))
        by_class = {
            name: (
                with_interval(by_class[name][0], tables[k].mean(axis=1)),
                with_interval(by_class[name][1], tables[k, :, 0]),
            )
            for k, name in enumerate(dataset.class_names)
        }
    present = [k for k in range(len(dataset.class_names)) if (precision[0, :, k, 0] > -1).all()]
    curve = {
        "recall": [float(v) for v in coco_eval.params.recThrs],
        "precision": [float(v) for v in precision[0, :, present, 0].mean(axis=0)],
    }
    return RegionPrecision(mean, half, by_class, by_size, values, curve)


def _why_no_truth(dataset: Dataset, image_ids: Sequence[str], kind: Literal["bbox", "segm"]) -> str:
    bad = [i for i in image_ids if dataset.by_id[i].is_defective]
    unknown = sum(dataset.strengths[i] not in _KNOWN[kind] for i in bad)
    if not unknown:
        return NO_TRUTH
    lacks = "neither boxes nor masks" if kind == "bbox" else "no masks"
    return f"{NO_TRUTH}: {unknown} of {len(bad)} defective ones have {lacks}"


def _run_cocoeval(
    dataset: Dataset,
    truths: Mapping[str, Regions],
    rows: list[dict[str, Any]],
    *,
    kind: Literal["bbox", "segm"],
    sizes: Sequence[SizeClass],
) -> Any:
    ids = list(truths)
    document = coco_document(
        dataset.select(ids),
        truths,
        dataset.class_names,
        coco_ids=dataset.coco_ids,
        file_names={image_id: image_id for image_id in ids},
        split_digest=dataset.split.digest,
        ignored={i: dataset.ignored[i] for i in ids if i in dataset.ignored},
    )
    pixels = {dataset.coco_ids[i]: float(np.prod(t.image_hw)) for i, t in truths.items()}
    # Sizes are parts of the image, in millionths, so that images of several sizes can meet.
    for annotation in document["annotations"]:
        annotation["area"] *= _MILLION / pixels[annotation["image_id"]]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        # loadRes looks at the first row alone to tell boxes from masks.
        if kind == "bbox":
            rows = [{k: v for k, v in row.items() if k != "segmentation"} for row in rows]
        if rows:
            found = truth.loadRes(rows)
        else:
            # loadRes refuses an empty list.
            found = COCO()
            found.dataset = {**document, "annotations": []}
            found.createIndex()
        for annotation in found.dataset["annotations"]:
            annotation["area"] *= _MILLION / pixels[annotation["image_id"]]
        coco_eval = COCOeval(truth, found, kind)
        coco_eval.params.areaRng = [
            _EVERY_AREA,
            # COCO's ranges hold both ends, ours the lower one alone.
            *([s.low * _MILLION, np.nextafter(s.high * _MILLION, 0)] for s in sizes),
        ]
        coco_eval.params.areaRngLbl = ["all", *(size.name for size in sizes)]
        coco_eval.evaluate()
        coco_eval.accumulate()
    return coco_eval


def _both(precision: npt.NDArray[np.float64], n: int, reason: str) -> tuple[Metric, Metric]:
    """Means over what COCOeval has a metric for; float (10, 101, ...), -1 where it has none."""
    figures = []
    for part in (precision, precision[:1]):
        kept = part[part > -1]
        figures.append(Metric(float(kept.mean()), n) if kept.size else undefined(reason))
    return figures[0], figures[1]


def _class_mean(tables: Floats) -> Floats:
    """Mean over IoUs and over the classes that a resample has: (classes, r, IoUs) to (r,)."""
    of_class = tables.mean(axis=2)
    known = np.isfinite(of_class)
    total = np.where(known, of_class, 0).sum(axis=0)
    count = known.sum(axis=0)
    mean = np.full(len(total), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _resampled(coco_eval: Any, weights: Weights, n_classes: int, n_areas: int) -> Floats:
    """Average precision in every resample: float64 (classes, r, IoUs); NaN without a region."""
    n_images = weights.shape[1]
    levels = coco_eval.params.recThrs
    result = np.full((n_classes, len(weights), len(coco_eval.params.iouThrs)), np.nan)
    for k in range(n_classes):
        start = k * n_areas * n_images
        cells = coco_eval.evalImgs[start : start + n_images]
        n_truth = np.array([0 if c is None else int((c["gtIgnore"] == 0).sum()) for c in cells])
        total = weights @ n_truth
        if not total.any():
            continue
        scores = [np.zeros(0) if c is None else np.asarray(c["dtScores"]) for c in cells]
        image = np.repeat(np.arange(n_images), [len(s) for s in scores])
        order = np.argsort(-np.concatenate(scores), kind="mergesort")
        found = [c for c in cells if c is not None and len(c["dtIds"])]
        for t in range(result.shape[2]):
            hit, away = (
                np.concatenate([np.asarray(c[key])[t] > 0 for c in found])[order]
                if found
                else np.zeros(0, np.bool_)
                for key in ("dtMatches", "dtIgnore")
            )
            # What was matched to a region to be ignored is neither right nor wrong.
            kept = order[~away]
            result[k, :, t] = weighted_ap(weights, image[kept], hit[~away], total, levels)
    return result


def weighted_ap(
    weights: Weights,
    image: npt.NDArray[np.intp],
    hit: npt.NDArray[np.bool_],
    n_truth: npt.NDArray[np.int64],
    levels: Floats,
) -> Floats:
    """Interpolated average precision of each resample, from one matching for all.

    A region's match does not depend on other images, so that a resample only changes how often
    it counts. Precision is highest at a hit, so that only hits are looked at.

    Args:
        weights: int64 (r, images), how often each image was drawn.
        image: int (d,), the image of each found region, highest score first.
        hit: bool (d,), whether it was matched to a true region.
        n_truth: int64 (r,), true regions in each resample.
        levels: float (101,), recalls at which precision is read.

    Returns:
        float64 (r,); NaN without a true region.
    """
    at = np.flatnonzero(hit)
    area = np.zeros(len(weights))
    if len(at):
        # Found regions by image between one hit and the next, the hit itself included.
        step = np.searchsorted(at, np.arange(at[-1] + 1))
        ones = np.ones(at[-1] + 1, np.int64)
        shape = (len(at), weights.shape[1])
        counts = sparse.csr_array((ones, (step, image[: at[-1] + 1])), shape=shape)
        called = np.cumsum(counts @ weights.T, axis=0)
        true = np.cumsum(weights.T[image[at]], axis=0)
        precision = true / (called + _EPS)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        recall = true / np.maximum(n_truth, 1)
        read = np.searchsorted(levels, recall, side="right")
        area = (np.diff(read, axis=0, prepend=0) * envelope).sum(axis=0) / len(levels)
    return np.where(n_truth > 0, area, np.nan)


def _absent_class_note(
    truths: Mapping[str, Regions], rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> str | None:
    present = {label for truth in truths.values() for label in truth.labels.tolist()}
    counts: dict[str, int] = {}
    for row in rows:
        label = int(row["category_id"]) - 1
        if label not in present:
            counts[class_names[label]] = counts.get(class_names[label], 0) + 1
    if not counts:
        return None
    listed = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
    return f"regions of classes that no test image has do not enter: {listed}"
