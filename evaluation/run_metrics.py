"""One run's metrics: over all test images, by defect type, size and source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from annotations import Dataset, StoredPredictions
from annotations.prediction_files import THRESHOLD
from evaluation.coco_ap import RegionPrecision, region_precision
from evaluation.compare import Comparable
from evaluation.evidence import (
    GOOD,
    EvaluatedImages,
    RunEvidence,
    gather,
    overlap_figures,
    pixel_figures,
    recall_metric,
)
from evaluation.image_metrics import auroc, precision_recall_curve, score_metrics
from evaluation.intervals import Floats, ratio_of_sums
from evaluation.metric import Metric, undefined
from evaluation.pixel_metrics import pixel_metrics, pooled
from evaluation.pointing import pointing_metric
from evaluation.strata import source_names
from evaluation.type_metrics import type_metrics

METRIC_NAMES: Final = (
    "image_auroc",
    "image_ap",
    "accuracy",
    "accuracy_oracle",
    "precision",
    "recall",
    "f1",
    "f1_oracle",
    "escape_rate",
    "overkill_rate",
    "balanced_accuracy",
    "type_accuracy",
    "box_map50",
    "box_map",
    "mask_map50",
    "mask_map",
    "pixel_ap",
    "pixel_auroc",
    "pixel_f1_oracle",
    "aupro_30",
    "aupro_5",
    "aupimo",
    "dice",
    "iou",
    "dice_defective",
    "iou_defective",
    "dice_per_image",
    "iou_per_image",
    "good_images_clean",
    "good_pixels_called",
    "pointing_game",
    "region_recall",
    "false_alarms_per_image",
    "false_alarms_per_good_image",
)
VERDICTS: Final = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "escape_rate", "overkill_rate",
)  # fmt: skip
"""Metrics at the run's own threshold."""
Figures = dict[str, Metric | None]
MAP_NAMES: Final[tuple[tuple[Literal["bbox", "segm"], str], ...]] = (
    ("bbox", "box_map"),
    ("segm", "mask_map"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One run's metrics.

    Attributes:
        run: its name.
        family: detect, segment or classify.
        model: its name for people.
        metrics: by name; None where the family cannot enter.
        fold_means: mean over the folds of image_auroc, box_map, box_map50, pixel_ap and dice,
            folds where the metric is undefined left out.
        by_type: metrics by defect type, on the images of that type and all good ones; region
            precision is that of the class.
        by_size: metrics by size class, on the images whose largest true region is of that size
            and all good ones; region_recall and region precision are of the regions of that size.
        by_source: metrics by source, on its good and defective images; empty where the dataset is
            made of one.
        late_leaks: ids of test images whose part the run learned from, as found after training.
        without_late_leaks: metrics of all other images; empty where there are no such.
        curves: `image` (threshold, precision, recall, false_positive_rate) and, where they can
            be had, `box` and `mask` (recall, precision at IoU 0.50).
        notes: what was done to predictions from elsewhere, a sentence each.
        predictions: SHA-256 over the files that were evaluated; empty where they are not at hand.
        seed: of the training, as the run's settings have it; None where they name none.
        threshold_from: `given` where the threshold came with predictions made elsewhere, so that
            what it was chosen on is not known; else empty.
    """

    run: str
    family: str
    model: str
    metrics: Figures
    fold_means: dict[str, float]
    by_type: Mapping[str, Figures] = field(default_factory=dict)
    by_size: Mapping[str, Figures] = field(default_factory=dict)
    by_source: Mapping[str, Figures] = field(default_factory=dict)
    late_leaks: tuple[str, ...] = ()
    without_late_leaks: Figures = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    predictions: str = ""
    seed: int | None = None
    threshold_from: str = ""


def evaluate_run(
    dataset: Dataset, predictions: StoredPredictions, images: EvaluatedImages
) -> tuple[Row, Comparable]:
    """All metrics of one run on these images, and what a comparison with others needs.

    Maps are read one at a time. See `image_metrics.score_metrics`, `coco_ap.region_precision`,
    `evidence.pixel_figures` and `evidence.overlap_figures` for what the metrics are.
    """
    scores = images.scores(predictions)
    everything = np.ones(len(images.ids), np.bool_)
    precision = _region_precisions(dataset, predictions, images, everything)
    evidence = None
    if predictions.has_pixels:
        has_regions = predictions.regions is not None
        evidence = gather(dataset, predictions, images, regions=has_regions)
    has_regions = predictions.regions is not None

    def figures(
        keep: npt.NDArray[np.bool_],
    ) -> tuple[Figures, dict[str, Floats]]:
        places = np.flatnonzero(keep)
        found: Figures = dict.fromkeys(METRIC_NAMES)
        image, values = score_metrics(
            scores.subset(places), images.weights[:, places], threshold=THRESHOLD
        )
        if predictions.no_threshold:
            image |= {name: undefined(predictions.no_threshold, len(places)) for name in VERDICTS}
            values = {name: drawn for name, drawn in values.items() if name not in VERDICTS}
        elif predictions.given_threshold:
            image |= {name: _given(image[name]) for name in VERDICTS if name in image}
        found |= image
        if predictions.predicted_types:
            said = [predictions.predicted_types.get(images.ids[place], "") for place in places]
            names = (GOOD, *dataset.class_names)
            types, drawn_types = type_metrics(
                images.types[places], np.array(said), names, images.weights[:, places]
            )
            found |= types
            values |= drawn_types
        if evidence is not None:
            metrics, drawn = pixel_figures(evidence, images, keep)
            found |= metrics
            values |= drawn
            pointed = pointing_metric(evidence.pointing, images.weights, keep)
            found["pointing_game"] = pointed[0]
            if pointed[1] is not None:
                values["pointing_game"] = pointed[1]
            if has_regions:
                metrics, drawn = overlap_figures(evidence, images, keep)
                found |= metrics
                values |= drawn
        return found, values

    metrics, values = figures(everything)
    for name, scored in precision.items():
        metrics[name], metrics[f"{name}50"] = scored.mean, scored.half
        if scored.values is not None:
            values[name], values[f"{name}50"] = scored.values
    good = images.types == GOOD
    by_type: dict[str, Figures] = {}
    for kind in sorted(set(images.types.tolist()) - {GOOD}):
        by_type[kind], _ = figures(good | (images.types == kind))
        for name, scored in precision.items():
            if kind in scored.by_class:
                by_type[kind][name], by_type[kind][f"{name}50"] = scored.by_class[kind]
    by_size: dict[str, Figures] = {}
    for size in images.sizes:
        by_size[size.name], _ = figures(good | (images.size_of == size.name))
        for name, scored in precision.items():
            by_size[size.name][name], by_size[size.name][f"{name}50"] = scored.by_size[size.name]
        if evidence is not None and has_regions:
            total, found = evidence.region_size[size.name]
            by_size[size.name]["region_recall"] = recall_metric(
                int(found.sum()), int(total.sum()), ratio_of_sums(images.weights, found, total)
            )

    def figures_of(keep: npt.NDArray[np.bool_]) -> Figures:
        found, _ = figures(keep)
        for name, scored in _region_precisions(dataset, predictions, images, keep).items():
            found[name], found[f"{name}50"] = scored.mean, scored.half
        return found

    by_source: dict[str, Figures] = {}
    for source in source_names(dataset):
        of_source = images.source_of == source
        if of_source.any():
            by_source[source] = figures_of(of_source)
    leaked = np.isin(np.array(images.ids), predictions.late_leaks)
    curves: dict[str, Mapping[str, list[float]]] = {
        "image": precision_recall_curve(scores.scores, scores.is_defective)
    }
    curves |= {name.removesuffix("_map"): j.curve for name, j in precision.items() if j.curve}
    row = Row(
        run=predictions.name,
        family=str(predictions.about.get("family", "")),
        model=str(predictions.about.get("model", "")),
        metrics=metrics,
        fold_means=_fold_means(dataset, predictions, images, evidence),
        by_type=by_type,
        by_size=by_size,
        by_source=by_source,
        late_leaks=tuple(images.ids[index] for index in np.flatnonzero(leaked).tolist()),
        without_late_leaks=figures_of(~leaked) if leaked.any() and not leaked.all() else {},
        curves=curves,
        notes=tuple(str(note) for note in predictions.about.get("notes", ())),
        threshold_from="given" if predictions.given_threshold else "",
    )
    right = (scores.scores >= THRESHOLD) == scores.is_defective
    return row, Comparable(row.run, metrics, values, right)


def _given(metric: Metric) -> Metric:
    text = "at a threshold given with the predictions; what it was chosen on is not known"
    return replace(metric, note=f"{metric.note}; {text}" if metric.note else text)


def _region_precisions(
    dataset: Dataset,
    predictions: StoredPredictions,
    images: EvaluatedImages,
    keep: npt.NDArray[np.bool_],
) -> dict[str, RegionPrecision]:
    """Region precision of the kinds that the run gives, on some images: bool (n,)."""
    if predictions.regions is None:
        return {}
    ids = tuple(images.ids[index] for index in np.flatnonzero(keep).tolist())
    return {
        name: region_precision(
            dataset,
            ids,
            predictions.regions,
            kind=kind,
            sizes=images.sizes,
            weights=images.weights[:, keep],
        )
        for kind, name in MAP_NAMES
        if kind == "bbox" or _has_masks(predictions, images.ids)
    }


def _has_masks(predictions: StoredPredictions, ids: Sequence[str]) -> bool:
    """True for a family of masks; a box detector that found nothing has no masks either."""
    regions = predictions.regions
    if regions is None or any(regions[i].masks is None for i in ids):
        return False
    return bool(predictions.map_ranges) or any(len(regions[i]) for i in ids)


def _fold_means(
    dataset: Dataset,
    predictions: StoredPredictions,
    images: EvaluatedImages,
    evidence: RunEvidence | None,
) -> dict[str, float]:
    """Means over folds, beside the pooled metrics: pooling mixes the scales of several models."""
    by_id = dataset.by_id
    scored = set(images.ids)
    values: dict[str, list[float | None]] = {}
    for number, fold in enumerate(dataset.split.folds):
        part = [i for i in fold.test if i in scored]
        if not part:
            continue
        bad = np.array([by_id[i].is_defective for i in part], np.bool_)
        raw = np.array([predictions.raw_scores[i] for i in part], np.float64)
        values.setdefault("image_auroc", []).append(auroc(raw, bad))
        if predictions.regions is not None:
            both = region_precision(dataset, part, predictions.regions, kind="bbox")
            values.setdefault("box_map", []).append(both.mean.value)
            values.setdefault("box_map50", []).append(both.half.value)
        counts = [c for key, c in evidence.pixels.items() if key[0] == number] if evidence else []
        if counts:
            pixels = pixel_metrics(pooled(counts))
            values.setdefault("pixel_ap", []).append(pixels["pixel_ap"].value)
            if predictions.regions is not None:
                values.setdefault("dice", []).append(pixels["dice"].value)
    known = {name: [v for v in found if v is not None] for name, found in values.items()}
    return {name: float(np.mean(found)) for name, found in known.items() if found}
