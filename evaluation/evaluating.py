"""Every run evaluated on the same test images, by the same code."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from annotations import Dataset, InputError, StoredPredictions, UsageError, read_predictions
from annotations.images import sha256_of
from annotations.run_files import (
    CONFIG_FILE,
    IMAGES_FILE,
    META_FILE,
    PREDICTIONS_FOLDER,
    REGIONS_FILE,
)
from annotations.yaml_files import read_yaml
from evaluation.baseline import against_baseline
from evaluation.compare import Comparable, compare_runs
from evaluation.evidence import evaluated_images
from evaluation.intervals import resample_weights
from evaluation.leaderboard import Leaderboard
from evaluation.operating_point import Costs, line_rate, operating_points
from evaluation.run_metrics import METRIC_NAMES, Row, evaluate_run
from evaluation.strata import size_classes


def evaluate_runs(
    dataset: Dataset,
    runs: Sequence[Path],
    *,
    fold: int | None = None,
    seed: int = 0,
    costs: Costs | None = None,
    baseline: str | None = None,
    no_regression: float | None = None,
    say: Callable[[str], None] | None = None,
) -> Leaderboard:
    """Evaluate runs on exactly the same test images.

    Args:
        dataset: the converted dataset.
        runs: run folders.
        fold: evaluate the test images of this fold only; None evaluates all of them.
        seed: of the bootstrap.
        costs: choose an operating point by these, on validation images.
        baseline: name of the run that all others are compared with.
        no_regression: highest share of the defective parts that the baseline found that another
            run may lose.
        say: called with a line of progress.

    Raises:
        InputError: no runs, a run that does not cover exactly the test images, or one that
            holds a prediction by another fold's model than the split says; with `costs`, one
            that keeps no scores of validation images.
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
    sizes = size_classes(dataset)
    images = evaluated_images(
        dataset, ids, sizes, lambda types, groups: resample_weights(types, groups, seed=seed)
    )
    rows: list[Row] = []
    comparable: list[Comparable] = []
    stored: list[StoredPredictions] = []
    for run in runs:
        if say is not None:
            say(f"evaluating {run.name} on {len(ids)} images")
        predictions = read_predictions(run, dataset, with_late_leaks=True)
        _require_coverage(dataset, predictions, ids, fold)
        row, values = evaluate_run(dataset, predictions, images)
        rows.append(replace(row, predictions=predictions_digest(run), seed=_seed_of(run)))
        comparable.append(values)
        stored.append(predictions)
    compared = [name for name in METRIC_NAMES if "oracle" not in name]
    comparisons = compare_runs(
        comparable, images.is_defective, compared, types=images.types, groups=images.groups
    )
    against = (
        ()
        if baseline is None
        else against_baseline(comparable, stored, baseline, images, no_regression)
    )
    points = () if costs is None else operating_points(dataset, stored, images, costs)
    rows.sort(key=_auroc_of, reverse=True)
    return Leaderboard(
        split_digest=dataset.split.digest,
        protocol=dataset.split.protocol,
        fold=fold,
        n_images=len(ids),
        n_defective=int(images.is_defective.sum()),
        rows=tuple(rows),
        n_groups=len(np.unique(images.groups)),
        sizes=sizes,
        comparisons=tuple(comparisons),
        operating_points=points,
        operating_rule=None if costs is None else costs.rule,
        defect_rate=None if costs is None else line_rate(images, costs),
        against=against,
    )


def predictions_digest(run: Path) -> str:
    """SHA-256 over a run's tables and thresholds: tells whether a row still speaks of them."""
    whole = hashlib.sha256()
    for name in (IMAGES_FILE, REGIONS_FILE, META_FILE):
        path = run / PREDICTIONS_FOLDER / name
        whole.update(sha256_of(path).encode() if path.is_file() else b"-")
    return whole.hexdigest()


def _seed_of(run: Path) -> int | None:
    """Of the training, from the run's settings; predictions made elsewhere have none."""
    path = run / CONFIG_FILE
    if not path.is_file():
        return None
    document = read_yaml(path, what="a run's settings")
    config = document.get("config") if isinstance(document, dict) else None
    seed = config.get("seed") if isinstance(config, dict) else None
    return seed if isinstance(seed, int) else None


def _auroc_of(row: Row) -> float:
    metric = row.metrics["image_auroc"]
    return -1.0 if metric is None or metric.value is None else metric.value


def _require_coverage(
    dataset: Dataset, predictions: StoredPredictions, ids: Sequence[str], fold: int | None
) -> None:
    tested_in = {i: n for n, part in enumerate(dataset.split.folds) for i in part.test}
    # A model of another fold may have been trained on this image.
    wrong = sorted(
        i
        for i, n in predictions.fold_of.items()
        if tested_in.get(i) != n and i not in predictions.added
    )
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
    first = done[0] if done else 0
    hint = "" if fold is not None else f", or evaluate one fold with `--fold {first}`"
    raise InputError(
        f"The run {predictions.run} predicts {len(ids) - len(missing)} of the {len(ids)} test "
        f"images; it lacks {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}. All runs "
        "are evaluated on the same images: train its remaining folds with "
        f"`defectune train {family} {dataset.root} --name {predictions.name} --fold all`{hint} "
        "(evaluate and report both take it)."
    )
