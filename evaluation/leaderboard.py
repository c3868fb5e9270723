"""One table, one test split: every run judged on the same images by the same code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import (
    Dataset,
    InputError,
    StoredPredictions,
    UsageError,
    read_predictions,
)
from annotations.store import THRESHOLD
from evaluation.image_metrics import auroc, image_metrics
from evaluation.metric import Metric
from evaluation.pixel_metrics import PixelCounts, pixel_metrics, pooled
from evaluation.region_metrics import (
    RegionMatch,
    coco_average_precision,
    found_metrics,
    match_regions,
    region_masks,
    union_mask,
)

METRIC_NAMES: Final = (
    "image_auroc",
    "image_ap",
    "accuracy",
    "accuracy_oracle",
    "escape_rate",
    "overkill_rate",
    "box_map50",
    "box_map",
    "mask_map",
    "pixel_ap",
    "pixel_auroc",
    "pixel_f1_oracle",
    "aupro_30",
    "dice",
    "iou",
    "region_recall",
    "false_alarms_per_image",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One run's figures.

    Attributes:
        run: its name.
        family: detect, segment or classify.
        model: in words.
        metrics: by name; None where the family cannot enter.
        fold_means: mean over the folds of image_auroc, box_map, box_map50, pixel_ap and dice,
            folds where the figure is undefined left out.
    """

    run: str
    family: str
    model: str
    metrics: dict[str, Metric | None]
    fold_means: dict[str, float]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All runs' figures on one set of images.

    Attributes:
        split_digest: of the split.
        protocol: of the split.
        fold: the one fold that was judged, or None for all.
        n_images: judged images.
        n_defective: defective ones of them.
        rows: one a run, highest image AUROC first.
    """

    split_digest: str
    protocol: str
    fold: int | None
    n_images: int
    n_defective: int
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """What leaderboard.json holds."""
        return {
            "split_digest": self.split_digest,
            "protocol": self.protocol,
            "fold": self.fold,
            "n_images": self.n_images,
            "n_defective": self.n_defective,
            "rows": [
                {
                    "run": row.run,
                    "family": row.family,
                    "model": row.model,
                    "metrics": {
                        name: metric.to_json() if metric is not None else None
                        for name, metric in row.metrics.items()
                    },
                    "fold_means": row.fold_means,
                }
                for row in self.rows
            ],
        }


def evaluate_runs(
    dataset: Dataset,
    runs: Sequence[Path],
    *,
    fold: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Leaderboard:
    """Judge runs on exactly the same test images.

    Args:
        dataset: the converted dataset.
        runs: run folders.
        fold: judge the test images of this fold only; None judges all of them.
        seed: of the bootstrap.
        say: called with a line of progress.

    Raises:
        InputError: no runs, a run that does not cover exactly the judged images, or one that
            holds a prediction by another fold's model than the split says.
        SplitMismatchError: a run made under another split.
        UsageError: two runs of one name, or a fold that does not exist.
    """
    names = [run.name for run in runs]
    if len(set(names)) != len(names):
        raise UsageError(f"Two runs have one name: {', '.join(sorted(names))}. Rename one.")
    if not runs:
        raise InputError(
            f"{dataset.root} has no runs with predictions. Train one first, for instance "
            f"`defectune train classify {dataset.root}`."
        )
    if fold is not None and not 0 <= fold < len(dataset.split.folds):
        raise UsageError(f"There is no fold {fold}; there are {len(dataset.split.folds)}.")
    ids = dataset.split.test_ids if fold is None else dataset.split.folds[fold].test
    rows = []
    for run in runs:
        if say is not None:
            say(f"judging {run.name} on {len(ids)} images")
        predictions = read_predictions(run, dataset)
        _require_coverage(dataset, predictions, ids, fold)
        rows.append(judge_run(dataset, predictions, ids, seed=seed))
    rows.sort(key=_auroc_of, reverse=True)
    by_id = dataset.by_id
    return Leaderboard(
        split_digest=dataset.split.digest,
        protocol=dataset.split.protocol,
        fold=fold,
        n_images=len(ids),
        n_defective=sum(by_id[image_id].is_defective for image_id in ids),
        rows=tuple(rows),
    )


def _auroc_of(row: Row) -> float:
    metric = row.metrics["image_auroc"]
    return -1.0 if metric is None or metric.value is None else metric.value


def _require_coverage(
    dataset: Dataset, predictions: StoredPredictions, ids: Sequence[str], fold: int | None
) -> None:
    judged_in = {i: n for n, part in enumerate(dataset.split.folds) for i in part.test}
    # A model of another fold may have been taught with this image.
    wrong = sorted(i for i, n in predictions.fold_of.items() if judged_in.get(i) != n)
    if wrong:
        raise InputError(
            f"The run {predictions.run} holds {len(wrong)} predictions that the split does not "
            f"ask for, such as {wrong[0]} by the model of fold {predictions.fold_of[wrong[0]]}: "
            "that model may have been trained on it. Train the run again."
        )
    missing = sorted(set(ids) - set(predictions.image_scores))
    if not missing:
        return
    done = sorted(predictions.folds)
    family = predictions.about.get("family", "FAMILY")
    hint = "" if fold is not None else f", or judge one fold with `--fold {done[0] if done else 0}`"
    raise InputError(
        f"The run {predictions.run} predicts {len(ids) - len(missing)} of the {len(ids)} judged "
        f"images; it lacks {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}. All runs "
        f"are judged on the same images: train its remaining folds with `defectune train {family} "
        f"{dataset.root} --name {predictions.name} --fold all`{hint}."
    )


def judge_run(
    dataset: Dataset, predictions: StoredPredictions, ids: Sequence[str], *, seed: int = 0
) -> Row:
    """All figures of one run on these images; maps are read one at a time."""
    by_id = dataset.by_id
    scores = np.array([predictions.image_scores[i] for i in ids], np.float64)
    is_defective = np.array([by_id[i].is_defective for i in ids], np.bool_)
    groups = np.array([by_id[i].group for i in ids], np.str_)
    metrics: dict[str, Metric | None] = dict.fromkeys(METRIC_NAMES)
    metrics |= image_metrics(scores, is_defective, groups, threshold=THRESHOLD, seed=seed)
    regions = predictions.regions
    fold_means = _ranking_fold_means(dataset, predictions, ids)
    if regions is not None:
        metrics["box_map"], metrics["box_map50"] = coco_average_precision(
            dataset, ids, regions, kind="bbox"
        )
        if _has_masks(predictions, ids):
            metrics["mask_map"], _ = coco_average_precision(dataset, ids, regions, kind="segm")
    if predictions.has_pixels:
        pixels, pixel_means = _pixels_and_regions(dataset, predictions, ids)
        metrics |= pixels
        fold_means |= pixel_means
    return Row(
        run=predictions.name,
        family=str(predictions.about.get("family", "")),
        model=str(predictions.about.get("model", "")),
        metrics=metrics,
        fold_means=fold_means,
    )


def _has_masks(predictions: StoredPredictions, ids: Sequence[str]) -> bool:
    """True for a family of masks; a box detector that found nothing has no masks either."""
    regions = predictions.regions
    if regions is None or any(regions[i].masks is None for i in ids):
        return False
    return bool(predictions.map_ranges) or any(len(regions[i]) for i in ids)


def _score_range(predictions: StoredPredictions, ids: Sequence[str]) -> tuple[float, float]:
    """Lowest and highest score of all maps, and of all regions that are drawn for want of one."""
    low, high = (0.0, 1.0) if not predictions.map_ranges else (np.inf, -np.inf)
    for image_id in ids:
        if image_id in predictions.map_ranges:
            bounds = predictions.map_ranges[image_id]
        elif predictions.regions is not None:
            scores = predictions.regions[image_id].scores
            drawn = [0.0] if scores is None else [0.0, *scores.tolist()]
            bounds = min(drawn), max(drawn)
        else:
            continue
        low, high = min(low, bounds[0]), max(high, bounds[1])
    return float(low), float(high)


def _pixels_and_regions(
    dataset: Dataset, predictions: StoredPredictions, ids: Sequence[str]
) -> tuple[dict[str, Metric], dict[str, float]]:
    """Figures pooled over all images, and means over folds; one map in memory at a time."""
    low, high = _score_range(predictions, ids)
    by_fold: dict[int, PixelCounts] = {}
    matches: list[RegionMatch] = []
    by_id = dataset.by_id
    for image_id in ids:
        truth = dataset.truths[image_id]
        if by_id[image_id].is_defective and not len(truth):
            # A defect whose mask is empty: nobody knows which of its pixels are good.
            continue
        found = predictions.found_regions(image_id)
        pixel_scores = predictions.pixel_scores(image_id)
        if pixel_scores is None:
            raise InputError(f"{predictions.run} has no score map of {image_id}.")
        if found is not None:
            matches.append(match_regions(truth, found))
        inside = union_mask(found) if found is not None else np.zeros(truth.image_hw, np.bool_)
        counts = by_fold.setdefault(predictions.fold_of[image_id], PixelCounts(low, high))
        counts.add(pixel_scores, region_masks(truth), inside)
    parts = [pixel_metrics(by_fold[number]) for number in sorted(by_fold)]
    result = pixel_metrics(pooled([*by_fold.values()] or [PixelCounts(low, high)]))
    means = {name: _mean_value([part[name] for part in parts]) for name in ("pixel_ap", "dice")}
    if predictions.regions is None:
        # A map without a threshold of its own cannot say which pixels it calls defects.
        del result["dice"], result["iou"], means["dice"]
    else:
        result |= found_metrics(matches)
    return result, {name: value for name, value in means.items() if value is not None}


def _mean_value(metrics: Sequence[Metric]) -> float | None:
    values = [metric.value for metric in metrics if metric.value is not None]
    return float(np.mean(values)) if values else None


def _ranking_fold_means(
    dataset: Dataset, predictions: StoredPredictions, ids: Sequence[str]
) -> dict[str, float]:
    """Means over folds, beside the pooled figures: pooling mixes the scales of several models."""
    by_id = dataset.by_id
    judged = set(ids)
    values: dict[str, list[float]] = {}
    for fold in dataset.split.folds:
        part = [i for i in fold.test if i in judged]
        if not part:
            continue
        bad = np.array([by_id[i].is_defective for i in part], np.bool_)
        raw = np.array([predictions.raw_scores[i] for i in part], np.float64)
        score = auroc(raw, bad)
        if score is not None:
            values.setdefault("image_auroc", []).append(score)
        if predictions.regions is not None:
            both = coco_average_precision(dataset, part, predictions.regions, kind="bbox")
            for name, metric in zip(("box_map", "box_map50"), both, strict=True):
                if metric.value is not None:
                    values.setdefault(name, []).append(metric.value)
    return {name: float(np.mean(found)) for name, found in values.items()}


def format_metric(name: str, metric: Metric | None) -> str:
    """A figure as people read it; `—` where the family cannot enter, `n/a` where undefined.

    A rate of zero is shown with what it may be at most: 0 of 63 is "0.0 % (≤ 5.7 %)".
    """
    if metric is None:
        return "—"
    if metric.value is None:
        return "n/a"
    if name in ("accuracy", "accuracy_oracle", "escape_rate", "overkill_rate", "region_recall"):
        text = f"{metric.value:.1%}".replace("%", " %")
        if name in ("escape_rate", "overkill_rate") and metric.value == 0:
            text += f" (≤ {metric.high:.1%})".replace("%", " %")
        return text
    return f"{metric.value:.3f}"


def table_rows(board: Leaderboard, names: Sequence[str] = METRIC_NAMES) -> list[list[str]]:
    """Header and rows of texts: a line a figure, a column a run."""
    body = [
        [name, *(format_metric(name, row.metrics[name]) for row in board.rows)] for name in names
    ]
    return [["", *(row.run for row in board.rows)], *body]


def to_markdown(board: Leaderboard) -> str:
    """The table in Markdown."""
    header, *rows = table_rows(board)
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
