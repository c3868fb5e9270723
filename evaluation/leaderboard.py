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

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from annotations import UsageError
from evaluation.baseline import AgainstBaseline
from evaluation.compare import Comparison
from evaluation.intervals import RESAMPLES
from evaluation.metric import Metric
from evaluation.operating_point import OperatingPoint
from evaluation.run_metrics import Row
from evaluation.spread import Spread, seed_spreads
from evaluation.strata import SizeClass
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
