"""The tables as files: CSV, LaTeX, Markdown, JSON, and a page in the report's style."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from annotations.files import write_json_atomic, write_text_atomic
from defectune.sweeps.html import to_html
from defectune.sweeps.table import MetricTable, table_json, table_texts

_TEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "—": "---", "–": "--", "≤": r"$\leq$",
}  # fmt: skip
_SPECIAL: Final = re.compile("|".join(map(re.escape, _TEX)))
PAGE: Final = "index.html"
TABLE_FILES: Final = ("table.csv", "table.tex", "table.md", "table.json", PAGE)


def write_tables(
    output: Path, tables: Sequence[MetricTable], failed: Mapping[str, str], *, title: str
) -> Path:
    """Write table.csv, .tex, .md, .json and index.html, each whole or not at all.

    Args:
        output: the sweep's folder.
        tables: one a metric.
        failed: errors of failed cells, by name.
        title: of the page.

    Returns:
        The page.
    """
    write_text_atomic(output / "table.csv", to_csv(tables))
    write_text_atomic(output / "table.tex", to_latex(tables))
    write_text_atomic(output / "table.md", to_markdown(tables))
    write_json_atomic(output / "table.json", table_json(tables))
    write_text_atomic(output / PAGE, to_html(tables, failed, title=title))
    return output / PAGE


def to_csv(tables: Sequence[MetricTable]) -> str:
    """A line a metric and model, numbers in full; an undefined one is empty.

    Names of models and datasets are plain, so no cell can be taken for a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, table in enumerate(tables):
        if number == 0:
            writer.writerow(["metric", "model", *table.datasets, "mean", "low", "high"])
        for model, row, mean in zip(table.models, table.entries, table.means, strict=True):
            figures = [*(entry.value for entry in row), mean.value, mean.low, mean.high]
            shown = ["" if value is None else repr(value) for value in figures]
            writer.writerow([table.metric, model, *shown])
    return text.getvalue()


def to_markdown(tables: Sequence[MetricTable]) -> str:
    """A table a metric, and the differences in words."""
    parts = []
    for table in tables:
        head, *body = table_texts(table)
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in body]
        words = "".join(f"- {line}\n" for line in table.words)
        parts.append(f"## {table.metric}\n\n" + "\n".join(lines) + f"\n\n{words}")
    return "\n".join(parts)


def to_latex(tables: Sequence[MetricTable]) -> str:
    """A `table` a metric, with plain rules, so that no package is needed."""
    parts = []
    for table in tables:
        head, *body = [[_tex(cell) for cell in line] for line in table_texts(table)]
        columns = "l" + "r" * (len(head) - 1)
        lines = [r"\begin{table}", rf"\caption{{{_tex(table.metric)}}}"]
        lines += [rf"\begin{{tabular}}{{{columns}}}", r"\hline", " & ".join(head) + r" \\ \hline"]
        lines += [" & ".join(row) + r" \\" for row in body]
        lines += [r"\hline", r"\end{tabular}", r"\end{table}"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _tex(text: str) -> str:
    return _SPECIAL.sub(lambda found: _TEX[found[0]], text)
