"""One table, one test split: every run evaluated on the same images by the same code.

leaderboard.json:

    split_digest, protocol, fold, n_images, n_defective
    n_groups          physical parts among the test images
    missing_kind      null, or a sentence where no good or no defective image is evaluated
    matching_rule     when a defect counts as found, a sentence
    interval          how intervals are made, a sentence
    sizes             [{name, low, high}], bounds as parts of the image: low <= area < high
    rows              a run each, highest image AUROC first:
        run, family, model
        predictions   SHA-256 over the predictions that were evaluated
        metrics       {NAME: METRIC | null}; null where the family cannot enter
        fold_means    {NAME: number}
        by_type       {TYPE: {NAME: METRIC | null}}, the type's images and all good ones
        by_size       {SIZE: {NAME: METRIC | null}}, small, medium, large
        by_source     {SOURCE: {NAME: METRIC | null}}, empty for a dataset made of one
        late_leaks    [image id], test images whose part the run learned from, as found later
        without_late_leaks   {NAME: METRIC | null}, without these; empty where there are none
        curves        {image: {threshold, precision, recall, false_positive_rate},
                       box, mask: {recall, precision}}, lists of numbers
        notes         [text], what was done to predictions from elsewhere
    spread            [{metric, runs, n, mean, standard_deviation, low, high}], runs by seed
    comparisons       [{metric, run_a, run_b, difference (of a less b), low, high, p_value,
                       p_holm, test, only_a_right, only_b_right, within_noise, text}]
    differences       [text], the table's comparisons, a sentence each
    operating_point   null, or see `evaluation.operating_point`

METRIC is {value, low, high, n} and, where there is one, reason (why value is null) and note.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from evaluation.baseline import AgainstBaseline, against_baseline
from evaluation.compare import Comparable, Comparison, compare_runs
from evaluation.evidence import evaluated_images
from evaluation.intervals import RESAMPLES, resample_weights
from evaluation.metric import Metric
from evaluation.operating_point import Costs, OperatingPoint, line_rate, operating_points
from evaluation.run_metrics import METRIC_NAMES, Row, evaluate_run
from evaluation.spread import Spread, seed_spreads
from evaluation.strata import SizeClass, size_classes
from evaluation.table import (
    COMPARED_IN_WORDS,
    HEADLINE,
    difference_lines,
    given_lines,
    late_leak_lines,
    table_rows,
    to_markdown,
)
from inference.matching import MATCHING_RULE

if TYPE_CHECKING:
    from pandas import DataFrame

INTERVAL_RULE = (
    "95 %. Rates: Clopper and Pearson's exact interval, or the bootstrap's where several images "
    "of one part widen it. The rest: percentiles of {resamples} resamples of whole parts, each "
    "defect type and the good images apart. Oracle metrics have none."
)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All runs' metrics on one set of images.

    Attributes:
        split_digest: of the split.
        protocol: of the split.
        fold: the one fold that was evaluated, or None for all.
        n_images: test images.
        n_defective: defective ones of them.
        rows: one a run, highest image AUROC first.
        n_groups: physical parts among the test images.
        sizes: the size classes.
        comparisons: of every pair of runs.
        operating_points: one a run, where costs or a bound were given.
        operating_rule: the rule that chose them, as a text.
        defect_rate: share of defective parts that costs are reckoned at.
        against: every other run compared with the baseline, where one was given.

    Example:
        >>> import defectune as dt
        >>> board = dt.evaluate("out", "quick", progress=False)
        >>> board.to_markdown().splitlines()[0]
        '|  | quick |'
    """

    split_digest: str
    protocol: str
    fold: int | None
    n_images: int
    n_defective: int
    rows: tuple[Row, ...]
    n_groups: int = 0
    sizes: tuple[SizeClass, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()
    operating_rule: str | None = None
    defect_rate: float | None = None
    against: tuple[AgainstBaseline, ...] = ()

    def __repr__(self) -> str:
        part = "" if self.fold is None else f", fold {self.fold} only"
        n = len(self.rows)
        best = f", best image_auroc: {self.rows[0].run}" if self.rows else ""
        return (
            f"Leaderboard({self.n_images} test images, {self.n_defective} defective, "
            f"{self.protocol}{part}: {n} run{'s' * (n != 1)}{best})"
        )

    def _repr_html_(self) -> str:
        head, *body = table_rows(self.rows, HEADLINE)
        lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
        lines += [
            f"<th style='text-align:left'>{escape(row[0])}</th>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            for row in body
        ]
        table = "".join(f"<tr>{line}</tr>" for line in lines)
        words = "".join(f"<li>{escape(line)}</li>" for line in self.differences)
        return f"<p>{escape(repr(self))}</p><table>{table}</table><ul>{words}</ul>"

    def to_markdown(self) -> str:
        """The table of all metrics in Markdown, and the differences in words."""
        return to_markdown(self.rows, self.comparisons)

    def to_pandas(self) -> "DataFrame":
        """The metrics as a table: a line a run, a column a metric, None where there is none.

        The columns `NAME_low` and `NAME_high` hold the ends of the 95 % intervals.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise UsageError(
                "to_pandas() needs pandas, which is not installed. Install it beside defectune: "
                "`uv pip install pandas` in an environment of uv, `pip install pandas` in one of "
                "pip's; to_json() needs nothing."
            ) from error
        lines = []
        for row in self.rows:
            line: dict[str, Any] = {"run": row.run, "family": row.family, "model": row.model}
            for name, metric in row.metrics.items():
                line[name] = None if metric is None else metric.value
                line[f"{name}_low"] = None if metric is None else metric.low
                line[f"{name}_high"] = None if metric is None else metric.high
            lines.append(line)
        return pd.DataFrame(lines).set_index("run")

    @property
    def differences(self) -> list[str]:
        """Who is best and who is within noise of it, a sentence a metric."""
        return (
            difference_lines(self.rows, self.comparisons)
            + given_lines(self.rows)
            + late_leak_lines(self.rows)
        )

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """Runs that differ in their seed alone, metric by metric."""
        return seed_spreads(self.rows)

    @property
    def spread_lines(self) -> list[str]:
        """The spreads of a few metrics, a sentence each."""
        return [spread.text for spread in self.spreads if spread.metric in COMPARED_IN_WORDS]

    @property
    def missing_kind(self) -> str | None:
        """A sentence where no good or no defective image is evaluated, else None."""
        if 0 < self.n_defective < self.n_images:
            return None
        what, rate = ("defective", "escape") if not self.n_defective else ("good", "overkill")
        return (
            f"No {what} image is evaluated: the {rate} rate, AUROC, accuracy, precision and F1 "
            "cannot be had, and runs are not compared by their verdicts."
        )

    def to_json(self) -> dict[str, Any]:
        """What leaderboard.json holds."""
        return {
            "split_digest": self.split_digest,
            "protocol": self.protocol,
            "fold": self.fold,
            "n_images": self.n_images,
            "n_defective": self.n_defective,
            "n_groups": self.n_groups,
            "missing_kind": self.missing_kind,
            "matching_rule": MATCHING_RULE,
            "interval": INTERVAL_RULE.format(resamples=RESAMPLES),
            "sizes": [size.to_json() for size in self.sizes],
            "rows": [
                {
                    "run": row.run,
                    "family": row.family,
                    "model": row.model,
                    "seed": row.seed,
                    "threshold_from": row.threshold_from,
                    "predictions": row.predictions,
                    "metrics": _figures(row.metrics),
                    "fold_means": row.fold_means,
                    "by_type": {kind: _figures(part) for kind, part in row.by_type.items()},
                    "by_size": {size: _figures(part) for size, part in row.by_size.items()},
                    "by_source": {name: _figures(p) for name, p in row.by_source.items()},
                    "late_leaks": list(row.late_leaks),
                    "without_late_leaks": _figures(row.without_late_leaks),
                    "curves": {name: dict(curve) for name, curve in row.curves.items()},
                    "notes": list(row.notes),
                }
                for row in self.rows
            ],
            "spread": [spread.to_json() for spread in self.spreads],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "differences": self.differences,
            "operating_point": (
                {
                    "rule": self.operating_rule,
                    "defect_rate": self.defect_rate,
                    "runs": [point.to_json() for point in self.operating_points],
                }
                if self.operating_points
                else None
            ),
            "baseline": (
                {
                    "run": self.against[0].baseline,
                    "runs": [one.to_json() for one in self.against],
                }
                if self.against
                else None
            ),
        }


def _figures(metrics: Mapping[str, Metric | None]) -> dict[str, Any]:
    return {name: m.to_json() if m is not None else None for name, m in metrics.items()}


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
