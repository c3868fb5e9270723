"""One table a metric: a row a model, a column a dataset, their mean with its interval.

The dataset (a category) is the unit: a dataset's figure is the mean over its folds and seeds, and
intervals and tests are over datasets: a bootstrap of the mean, and the sign-flip test of the paired
differences (Fisher, The Design of Experiments, 1935), exact up to 16 datasets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from annotations import InputError
from defectune.sweeps.cells import Cell

if TYPE_CHECKING:
    from evaluation import Comparison, Metric

FEWEST_FOR_A_TEST: Final = 6
"""Datasets below which the sign-flip test can never reach 5 %: 2 of its 2^n sums are extreme."""
_SUMS: Final = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A model's figure on one dataset.

    Attributes:
        value: mean over the cells that are done; None where none is, or the figure is undefined.
        done: cells with a figure.
        of: cells in all.
    """

    value: float | None
    done: int
    of: int


@dataclass(frozen=True)
class MetricTable:
    """One metric's table.

    Attributes:
        metric: its name.
        models: lines.
        datasets: columns.
        entries: by line and column.
        means: over datasets, by line; undefined where a dataset lacks cells.
        words: who is best and who is within noise of it.
    """

    metric: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    entries: tuple[tuple[Entry, ...], ...]
    means: "tuple[Metric, ...]"
    words: tuple[str, ...]


def tables_of(
    cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]
) -> list[MetricTable]:
    """The tables of what is done, whatever the order it was done in.

    Args:
        cells: of the grid.
        results: of done cells, by name.
        metrics: by the names of leaderboard.json.

    Raises:
        InputError: a result that holds no such metric.
    """
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    datasets = tuple(dict.fromkeys(cell.dataset for cell in cells))
    return [_table(name, cells, results, models, datasets) for name in metrics]


def _table(
    metric: str,
    cells: Sequence[Cell],
    results: Mapping[str, Mapping[str, Any]],
    models: tuple[str, ...],
    datasets: tuple[str, ...],
) -> MetricTable:
    values: dict[tuple[str, str], list[float | None]] = {}
    for cell in cells:
        found = _value(results.get(cell.name), metric, cell)
        values.setdefault((cell.model, cell.dataset), []).append(found)
    entries = tuple(
        tuple(_entry(values[model, dataset]) for dataset in datasets) for model in models
    )
    means, comparisons = _compared(metric, models, datasets, entries)
    return MetricTable(
        metric, models, datasets, entries, means,
        tuple(_words(metric, models, means, comparisons, len(datasets))),
    )  # fmt: skip


def _value(result: Mapping[str, Any] | None, metric: str, cell: Cell) -> float | None:
    if result is None:
        return None
    try:
        found = result["metrics"][metric]
        value = None if found is None or found["value"] is None else float(found["value"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The result of {cell.name} holds no {metric}. Remove its file, and the cell is done "
            "again."
        ) from error
    return value


def _entry(values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None]
    # The order of summation is that of the grid, so that the last bit is the same every time.
    return Entry(sum(known) / len(known) if known else None, len(known), len(values))


def _compared(
    metric: str,
    models: Sequence[str],
    datasets: Sequence[str],
    entries: Sequence[Sequence[Entry]],
) -> "tuple[tuple[Metric, ...], list[Comparison]]":
    from evaluation import Comparison, Metric
    from evaluation.compare import holm
    from evaluation.intervals import ratio_of_sums, resample_weights, with_interval
    from evaluation.metric import undefined

    n = len(datasets)
    weights = resample_weights(np.zeros(n, np.int64), np.array(datasets, np.str_), seed=0)
    ones = np.ones(n)
    means: list[Metric] = []
    whole: dict[str, npt.NDArray[np.float64]] = {}
    for model, row in zip(models, entries, strict=True):
        ready = [e.value for e in row if e.value is not None and e.done == e.of]
        if len(ready) < n:
            means.append(undefined(f"{len(ready)} of {n} datasets are complete", len(ready)))
            continue
        values = whole[model] = np.array(ready)
        mean = Metric(float(values.mean()), n)
        drawn = ratio_of_sums(weights, values, ones)
        means.append(with_interval(mean, drawn) if n > 1 else mean)
    rows = []
    for a, b in combinations(whole, 2):
        drawn = ratio_of_sums(weights, whole[a] - whole[b], ones)
        low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
        difference = float((whole[a] - whole[b]).mean())
        p = sign_flip_p_value(whole[a] - whole[b])
        rows.append(Comparison(metric, a, b, difference, low, high, p, p, "sign_flip"))
    corrected = holm([row.p_value for row in rows])
    return tuple(means), [replace(r, p_holm=p) for r, p in zip(rows, corrected, strict=True)]


def sign_flip_p_value(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value that paired differences have no direction.

    Args:
        differences: float64 (n,), one a dataset.

    Returns:
        The share of sign patterns whose mean is at least as far from zero, from 2 / 2^n to 1;
        1 with fewer than two. Beyond 16 datasets 65,536 drawn patterns stand for all.
    """
    from scipy import stats

    if len(differences) < 2 or not differences.any():
        return 1.0
    found = stats.permutation_test(
        (differences,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_SUMS,
        random_state=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _words(
    metric: str,
    models: Sequence[str],
    means: "Sequence[Metric]",
    comparisons: "Sequence[Comparison]",
    n_datasets: int,
) -> list[str]:
    from evaluation import Row, difference_lines

    rows: list[Row] = [
        Row(run=model, family="", model=model, metrics={metric: mean}, fold_means={})
        for model, mean in zip(models, means, strict=True)
    ]
    said = difference_lines(rows, comparisons, [metric])
    if comparisons and n_datasets < FEWEST_FOR_A_TEST:
        said.append(
            f"{metric}: with {n_datasets} dataset(s) no difference can be told from noise; that "
            f"takes {FEWEST_FOR_A_TEST}, and the interval is too narrow with fewer."
        )
    return said


def table_texts(table: MetricTable) -> list[list[str]]:
    """Header and lines as texts, as screen, Markdown, LaTeX and the page show them."""
    from evaluation import format_metric

    lines = [["", *table.datasets, "mean"]]
    for model, row, mean in zip(table.models, table.entries, table.means, strict=True):
        cells = [_entry_text(table.metric, entry) for entry in row]
        lines.append([model, *cells, format_metric(table.metric, mean, interval=True)])
    return lines


def _entry_text(metric: str, entry: Entry) -> str:
    from evaluation import Metric, format_metric

    if entry.value is None:
        return "—"
    # An escape rate of zero of several folds has no single count, so it is a plain number.
    text = format_metric(metric, Metric(entry.value, entry.done))
    return text if entry.done == entry.of else f"{text} ({entry.done} of {entry.of})"


def table_json(tables: Sequence[MetricTable]) -> list[dict[str, Any]]:
    """The tables as plain values."""
    return [
        {
            "metric": table.metric,
            "datasets": list(table.datasets),
            "rows": [
                {
                    "model": model,
                    "datasets": [
                        {"value": e.value, "done": e.done, "of": e.of} for e in row
                    ],
                    "mean": mean.to_json(),
                }
                for model, row, mean in zip(table.models, table.entries, table.means, strict=True)
            ],
            "words": list(table.words),
        }
        for table in tables
    ]  # fmt: skip
