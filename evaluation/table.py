"""The leaderboard as people read it: a table, and differences in words."""

from collections.abc import Sequence
from typing import Final

from evaluation.compare import LOWER_IS_BETTER, Comparison, p_text
from evaluation.metric import Metric
from evaluation.run_metrics import METRIC_NAMES, Row

RATES: Final = frozenset(
    {
        "accuracy",
        "accuracy_oracle",
        "balanced_accuracy",
        "type_accuracy",
        "pointing_game",
        "precision",
        "recall",
        "escape_rate",
        "overkill_rate",
        "region_recall",
        "good_images_clean",
        "good_pixels_called",
    }
)
_NAMED: Final = 5
BOUNDED: Final = frozenset({"escape_rate", "overkill_rate"})
HEADLINE: Final = (
    "image_auroc",
    "image_ap",
    "accuracy",
    "f1",
    "escape_rate",
    "overkill_rate",
    "balanced_accuracy",
    "type_accuracy",
    "box_map50",
    "box_map",
    "mask_map",
    "pixel_ap",
    "aupro_30",
    "aupimo",
    "dice",
    "iou",
    "pointing_game",
    "region_recall",
    "false_alarms_per_good_image",
)
"""What a screen shows; leaderboard.json, the report and --all have every metric."""
BY_SOURCE: Final = ("escape_rate", "overkill_rate", "image_auroc")
"""What a screen shows of each source."""
COMPARED_IN_WORDS: Final = (
    "image_auroc",
    "accuracy",
    "escape_rate",
    "balanced_accuracy",
    "box_map",
    "pixel_ap",
    "dice",
    "region_recall",
)


def format_metric(name: str, metric: Metric | None, *, interval: bool = False) -> str:
    """A metric as people read it; `—` where the family cannot enter, `n/a` where undefined.

    An escape or overkill rate of zero is shown as what it may be at most: 0 of 63 is
    "≤ 5.7 % (0 of 63)".

    Args:
        name: of the metric.
        metric: the metric.
        interval: also show the 95 % interval, as in "0.997 [0.990–1.000]".
    """
    if metric is None:
        return "—"
    if metric.value is None:
        return "n/a"
    ends = interval and metric.low is not None and metric.high is not None
    low, high = metric.low or 0.0, metric.high or 0.0
    if name in RATES:
        if name in BOUNDED and metric.value == 0 and metric.high is not None:
            return f"≤ {100 * high:.1f} % (0 of {metric.n})"
        text = f"{100 * metric.value:.1f} %"
        return f"{text} [{100 * low:.1f}–{100 * high:.1f}]" if ends else text
    text = f"{metric.value:.3f}"
    return f"{text} [{low:.3f}–{high:.3f}]" if ends else text


def table_rows(
    rows: Sequence[Row], names: Sequence[str] = METRIC_NAMES, *, intervals: bool = True
) -> list[list[str]]:
    """Header and rows of texts: a line a metric, a column a run."""
    body = [
        [name, *(format_metric(name, row.metrics[name], interval=intervals) for row in rows)]
        for name in names
    ]
    return [["", *(row.run for row in rows)], *body]


def source_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Header and rows of texts, a line a source and metric; empty where there is one source."""
    names = sorted({source for row in rows for source in row.by_source})
    body = [
        [
            f"{source}, {name}",
            *(format_metric(name, row.by_source[source][name], interval=True) for row in rows),
        ]
        for source in names
        for name in BY_SOURCE
    ]
    return [["", *(row.run for row in rows)], *body] if body else []


def to_markdown(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> str:
    """The table in Markdown, and the differences in words."""
    header, *body = ([cell.replace("|", "\\|") for cell in row] for row in table_rows(rows))
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    words = difference_lines(rows, comparisons) + given_lines(rows)
    return "\n".join([*lines, *([""] if words else []), *(f"- {line}" for line in words)]) + "\n"


def difference_lines(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    names: Sequence[str] = COMPARED_IN_WORDS,
) -> list[str]:
    """For each metric, who is best, who is within noise of it, and who is worse."""
    lines = []
    for name in names:
        values = {
            row.run: metric.value
            for row in rows
            if (metric := row.metrics.get(name)) is not None and metric.value is not None
        }
        pairs = [c for c in comparisons if c.metric == name]
        if not pairs:
            continue
        sign = -1 if name in LOWER_IS_BETTER else 1
        best = max(values, key=lambda run, v=values, s=sign: s * v[run])  # type: ignore[misc]
        of_best = [c for c in pairs if best in (c.run_a, c.run_b)]
        equal = [_other(c, best) for c in of_best if c.difference == 0 and c.within_noise]
        noise = [_said(c, best) for c in of_best if c.difference != 0 and c.within_noise]
        worse = [_said(c, best) for c in of_best if not c.within_noise]
        parts = [f"{best} is best" if not equal else f"{' and '.join([best, *equal])} are equal"]
        if noise:
            parts.append(f"{', '.join(noise)} within noise of it")
        if worse:
            parts.append(f"{', '.join(worse)} worse")
        lines.append(f"{name}: {'; '.join(parts)}.")
    return lines


def given_lines(rows: Sequence[Row]) -> list[str]:
    """What is not known of thresholds that came with predictions made elsewhere."""
    given = [row.run for row in rows if row.threshold_from]
    if not given:
        return []
    return [
        f"The threshold of {', '.join(given)} was given with the predictions: what it was chosen "
        "on, and whether the test images had a say in it, is not known. Compare verdicts with care."
    ]


def late_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Header and rows of texts, a line a metric, two columns a run that learned from tested parts,
    as was found later: with and without their images. Empty where there is no such run."""
    leaky = [row for row in rows if row.without_late_leaks]
    if not leaky:
        return []
    head = [f"{row.run}, {how}" for row in leaky for how in ("with", "without")]
    body = [
        [name, *(format_metric(name, figures.get(name), interval=True)
                 for row in leaky for figures in (row.metrics, row.without_late_leaks))]
        for name in HEADLINE
        if any(row.metrics.get(name) is not None for row in leaky)
    ]  # fmt: skip
    return [["", *head], *body]


def late_leak_lines(rows: Sequence[Row]) -> list[str]:
    """What parts that are tested and learned from are worth, a sentence for each such run."""
    lines = []
    for row in rows:
        if not row.late_leaks:
            continue
        n, more = len(row.late_leaks), " …" if len(row.late_leaks) > _NAMED else ""
        text = (
            f"{row.run} learned from parts that {n} test images show, as an update found later "
            f"({', '.join(row.late_leaks[:_NAMED])}{more}): figures with them flatter it."
        )
        told = [
            f"{name} {format_metric(name, metric)}"
            for name in BY_SOURCE
            if (metric := row.without_late_leaks.get(name)) is not None
        ]
        lines.append(f"{text} Without them: {', '.join(told)}." if told else text)
    return lines


def _other(row: Comparison, best: str) -> str:
    return row.run_b if row.run_a == best else row.run_a


def _said(row: Comparison, best: str) -> str:
    return f"{_other(row, best)} (p {p_text(row.p_holm)})"
