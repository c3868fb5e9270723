"""What masks are worth: some defective training images with masks, the others with less.

    uv run --frozen python -m benchmarks.supervision bottle=OUT magnetic_tile=OUT [--folds 0]

OUT is a dataset converted from masks; its truth stays what everything is evaluated against. For
each cell the labels of a fold's training side are made weaker in memory: a share of the defective
images (the same ones for every seed, all types alike) keeps its masks, the others keep their image
label, or their boxes. Each cell is a file in results/supervision/; cells that are there are
skipped, and results/supervision.md is written from whatever is there.
"""

import argparse
import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path
from types import MappingProxyType
from typing import Final

from annotations import Dataset, Regions, load_dataset
from annotations.files import write_json_atomic
from benchmarks.cells import fold_metrics
from benchmarks.tables import markdown, mean
from segment import HybridConfig, SegmentConfig, train_segmenter
from training import SilentReporter
from training.configs import build_config
from training.shots import limit_defects

CELLS: Final = Path(__file__).parent / "results" / "supervision"
TABLE: Final = CELLS.with_suffix(".md")
LABELS: Final = {
    "masks": (1.0, "image"),
    "masks-50": (0.5, "image"),
    "masks-20": (0.2, "image"),
    "image": (0.0, "image"),
    "boxes": (0.0, "boxes"),
}
"""Share of the defective training images that keep their masks, and what the others keep."""
METRICS: Final = ("image_auroc", "image_ap", "pixel_ap", "aupro_30", "escape_rate", "overkill_rate")
NOTES: Final = CELLS.with_suffix(".notes.md")


def weaker(dataset: Dataset, fold: int, *, masks: float, others: str) -> Dataset:
    """A dataset whose training side of a fold knows less; its test side is as it was."""
    parts = dataset.split.folds[fold]
    truths = dict(dataset.truths)
    bad = [s for s in dataset.select([*parts.train, *parts.val]) if s.is_defective]
    for kind in sorted({s.defect_type for s in bad}):
        of_kind = [s for s in bad if s.defect_type == kind]
        kept = round(masks * len(of_kind))
        keep = {s.image_id for s in limit_defects(of_kind, kept, seed=0)}
        for sample in of_kind:
            truth = truths[sample.image_id]
            if sample.image_id in keep or not len(truth):
                continue
            truths[sample.image_id] = (
                Regions.empty(truth.image_hw) if others == "image" else replace(truth, masks=None)
            )
    return replace(dataset, truths=MappingProxyType(truths))


def measure(
    data: str, root: Path, method: str, labels: str, fold: int, settings: Sequence[str]
) -> None:
    """Train one cell, evaluate it against the full truth and keep the result."""
    dataset = load_dataset(root)
    share, others = LABELS[labels]
    known = weaker(dataset, fold, masks=share, others=others)
    kind = HybridConfig if method == "hybrid" else SegmentConfig
    config = build_config(kind, {}, settings)
    name = f"supervision-{method}-{labels}"
    run = train_segmenter(known, config, name=name, folds=[fold], reporter=SilentReporter())
    document = {
        "data": data,
        "method": method,
        "labels": labels,
        "fold": fold,
        "settings": " ".join(settings),
        "metrics": fold_metrics(dataset, run, fold, METRICS),
        "split_digest": dataset.split.digest,
        "machine": f"{os.cpu_count()} CPU cores",
        "date": str(datetime.datetime.now(tz=datetime.UTC).date()),
    }
    CELLS.mkdir(parents=True, exist_ok=True)
    write_json_atomic(_cell(data, method, labels, fold), document)


def _cell(data: str, method: str, labels: str, fold: int) -> Path:
    return CELLS / f"{data}_{method}_{labels}_fold-{fold}.json"


def write_table() -> None:
    """Means over folds, a row for each set, method and labels."""
    cells = [json.loads(path.read_text()) for path in CELLS.glob("*.json")]
    order = list(LABELS)
    cells.sort(key=lambda c: (c["data"], c["method"], order.index(c["labels"]), c["fold"]))
    rows = [["data", "method", "labels", "folds", "settings", *METRICS]]
    for (data, method, labels), group in groupby(
        cells, key=lambda c: (c["data"], c["method"], c["labels"])
    ):
        several = list(group)
        means = [mean([cell["metrics"][key] for cell in several]) for key in METRICS]
        folds = ", ".join(str(cell["fold"]) for cell in several)
        rows.append([data, method, labels, folds, several[0]["settings"], *means])
    notes = NOTES.read_text(encoding="utf-8") if NOTES.is_file() else ""
    TABLE.write_text(
        "# What masks are worth\n\nWritten by `python -m benchmarks.supervision NAME=OUT ...`; "
        f"each cell is a file in supervision/.\n\n{markdown(rows)}\n\n{notes}",
        encoding="utf-8",
    )


def main() -> None:
    """Measure what is asked for and is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", metavar="NAME=OUT")
    parser.add_argument("--methods", nargs="+", default=["hybrid"], choices=["hybrid", "unet"])
    parser.add_argument("--labels", nargs="+", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--folds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    for labels, method, fold, text in product(
        options.labels, options.methods, options.folds, options.data
    ):
        data, _, root = text.partition("=")
        if not _cell(data, method, labels, fold).is_file():
            measure(data, Path(root), method, labels, fold, options.settings)
            write_table()
    write_table()


if __name__ == "__main__":
    main()
