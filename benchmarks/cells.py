"""What the cells of benchmarks hold."""

from collections.abc import Sequence
from pathlib import Path

from annotations import Dataset
from evaluation import evaluate_runs


def fold_metrics(
    dataset: Dataset, run: Path, fold: int, names: Sequence[str]
) -> dict[str, float | None]:
    """Metrics of a run on the test images of one fold, by name; None where there is none."""
    row = evaluate_runs(dataset, [run], fold=fold).rows[0]
    found = {name: row.metrics.get(name) for name in names}
    return {name: None if metric is None else metric.value for name, metric in found.items()}
