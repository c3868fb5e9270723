"""What the page says first: the verdict, three numbers, escapes by type; and the metrics table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation import HEADLINE, METRIC_WORDS, Metric, format_metric
from evaluation.table import BOUNDED, BY_SOURCE, RATES


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: text, what stands below it, and how dark it is, 0 to 4."""

    text: str
    detail: str = ""
    heat: int = 0


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric of all runs."""

    name: str
    words: str
    meaning: str
    cells: tuple[Cell, ...]


def escapes_by_type(
    rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> list[tuple[str, tuple[Cell, ...]]]:
    """Escapes of each defect type, a cell a run; types without a test image are left out."""
    lines = []
    for kind in class_names:
        cells = tuple(
            _escapes((row.get("by_type", {}).get(kind) or {}).get("escape_rate")) for row in rows
        )
        if any(cell.text != "—" for cell in cells):
            lines.append((kind, cells))
    return lines


def by_source(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, tuple[Cell, ...]]]:
    """Source, metric in words, and a cell a run; empty for a dataset that is made of one."""
    names = sorted({source for row in rows for source in row.get("by_source", {})})
    return [
        (
            source,
            METRIC_WORDS[name][0],
            tuple(
                metric_cell(name, (row.get("by_source", {}).get(source) or {}).get(name))
                for row in rows
            ),
        )
        for source in names
        for name in BY_SOURCE
    ]


def _escapes(metric: Mapping[str, Any] | None) -> Cell:
    if metric is None or metric["value"] is None:
        return Cell("—")
    share, n = float(metric["value"]), metric["n"]
    # Any escape is seen: only none at all is left without color.
    heat = 0 if share == 0 else 1 + min(3, int(share * 4))
    return Cell(f"{round(share * n)} of {n}", heat=heat)


def metric_lines(rows: Sequence[Mapping[str, Any]]) -> tuple[list[MetricLine], list[str]]:
    """Metrics that any run can enter, those of the headline first; and names of the others."""
    names = list(rows[0]["metrics"]) if rows else []
    ordered = [n for n in HEADLINE if n in names] + [n for n in names if n not in HEADLINE]
    lines, left_out = [], []
    for name in ordered:
        words, meaning = METRIC_WORDS.get(name, (name, ""))
        if all(row["metrics"].get(name) is None for row in rows):
            left_out.append(words)
            continue
        cells = tuple(metric_cell(name, row["metrics"].get(name)) for row in rows)
        lines.append(MetricLine(name, words, meaning, cells))
    return lines, left_out


def metric_cell(name: str, value: Mapping[str, Any] | None) -> Cell:
    """A metric with its interval, or the reason why there is none."""
    if value is None:
        return Cell("—", "the model gives none")
    metric = Metric(value["value"], value["n"], value.get("low"), value.get("high"))
    if metric.value is None:
        return Cell("n/a", str(value.get("reason", "")))
    if name in BOUNDED and metric.value == 0 and metric.high is not None:
        return Cell(f"0 of {metric.n}", f"at most {100 * metric.high:.1f} %")
    detail = f"counted on {metric.n:,}"
    if metric.low is not None and metric.high is not None:
        scale, unit, digits = (100, " %", 1) if name in RATES else (1, "", 3)
        low, high = metric.low * scale, metric.high * scale
        detail = f"95 %: {low:.{digits}f} to {high:.{digits}f}{unit}"
    return Cell(format_metric(name, metric), detail)


def operating_points(leaderboard: Mapping[str, Any], shown: Sequence[str]) -> list[dict[str, Any]]:
    """Operating points of the runs that are shown."""
    point = leaderboard.get("operating_point")
    if not point:
        return []
    return [
        {
            "run": row["run"],
            "validation": row["validation"],
            "escape": metric_cell("escape_rate", row["escape_rate"]),
            "overkill": metric_cell("overkill_rate", row["overkill_rate"]),
            "cost": metric_cell("expected_cost", row["expected_cost"]),
            "escapes": ", ".join(
                f"{kind} {part['escaped']} of {part['of']}"
                for kind, part in row["escapes_by_type"].items()
            ),
        }
        for row in point["runs"]
        if row["run"] in shown
    ]


def claims(leaderboard: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    """What can be claimed of the runs, in sentences."""
    absent = [row["run"] for row in leaderboard.get("rows", []) if row["run"] not in shown]
    said = [str(leaderboard["missing_kind"])] if leaderboard.get("missing_kind") else []
    said += [str(line) for line in leaderboard.get("differences", [])]
    said += [
        f"{row['metric']}: {row['runs']} over {row['n']} seeds {row['mean']:.3f} ± "
        f"{row['standard_deviation']:.3f}."
        for row in leaderboard.get("spread", [])
        if row["metric"] in HEADLINE
    ]
    if absent:
        said.append(
            f"Evaluated before and not shown here: {', '.join(absent)} (deleted since, or not "
            "asked for)."
        )
    return said
