"""Does `train --from RUN` save time, and what does it cost?

    uv run --frozen python -m benchmarks.from_run magnetic_tile SOURCE OUT \\
        --group-by 'tile-\\w+?-\\d+'

SOURCE is a folder in MVTec's layout, OUT a new folder. Half of the source's parts are converted and
a run learns from them; then the other half arrives by an update. Trained on all of it: a run from
pretrained weights, one from the old run's weights, and one from these with half of the epochs. All
are evaluated on the same test images of the fold. Each cell is a file in results/from_run/; cells
that are there are skipped, and results/from_run.md is written from whatever is there.
"""

import argparse
import datetime
import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np

import defectune as dt
from annotations import load_dataset
from annotations.files import read_json, write_json_atomic
from annotations.run_files import TIMING_FILE, fold_folder
from benchmarks.bottle import machine
from benchmarks.calendar_growth import Photo, photos, write_batch
from benchmarks.cells import fold_metrics
from benchmarks.tables import markdown, mean

CELLS: Final = Path(__file__).parent / "results" / "from_run"
TABLE: Final = CELLS.with_suffix(".md")
NOTES: Final = CELLS.with_suffix(".notes.md")
METRICS: Final = ("image_auroc", "image_ap", "pixel_ap", "aupro_30", "escape_rate", "overkill_rate")
SETTINGS: Final = {"heads": 2, "image_size": 192, "views": 2, "cached_views": 2}
EPOCHS: Final = 6
NEW_RUNS: Final = {
    # Name: what it begins with, and its epochs.
    "pretrained": (None, EPOCHS),
    "from": ("old", EPOCHS),
    "from-half": ("old", EPOCHS // 2),
}


def halves(source: Path, group_by: str) -> tuple[list[Photo], list[Photo]]:
    """The photographs of a source in two halves, no part in both."""
    everything = photos(source)
    found = [re.search(group_by, photo.path.stem) for photo in everything]
    part_of = [m.group(0) if m else p.name for m, p in zip(found, everything, strict=True)]
    parts = sorted(set(part_of))
    early = {parts[n] for n in np.random.default_rng(0).permutation(len(parts))[::2]}
    first = [p for p, part in zip(everything, part_of, strict=True) if part in early]
    later = [p for p, part in zip(everything, part_of, strict=True) if part not in early]
    return first, later


def grow(source: Path, out: Path, group_by: str, fold: int, train: dict[str, Any]) -> None:
    """Convert the first half, train the old run on it, and update with the other half."""
    first, later = halves(source, group_by)
    # Beside the dataset, which links to its images.
    place = out.with_name(f"{out.name}-source")
    batches = [
        write_batch(place / name, [(photo, photo.kind) for photo in batch])
        for name, batch in (("first", first), ("later", later))
    ]
    dt.convert(batches[0], out, folds=3, group_by=group_by)
    dt.train(out, "segment", name="old", fold=fold, **train, epochs=EPOCHS)
    dt.update(out, batches[1], group_by=group_by, leave_out=True)
    # Lets the old run predict the test images that came later.
    dt.evaluate(out, ["old"], fold=fold)


def measure(data: str, out: Path, name: str, fold: int) -> None:
    """Evaluate a run on the grown dataset, and keep the cell."""
    dataset = load_dataset(out)
    run = out / "runs" / name
    timing: Any = read_json(fold_folder(run, fold) / TIMING_FILE, what="times of a fold")
    document = {
        "data": data,
        "run": name,
        "fold": fold,
        "epochs": NEW_RUNS[name][1] if name in NEW_RUNS else EPOCHS,
        "settings": " ".join(f"{key}={value}" for key, value in SETTINGS.items()),
        "metrics": fold_metrics(dataset, run, fold, METRICS),
        "n_test": len(dataset.split.folds[fold].test),
        "machine": machine(),
        "date": str(datetime.datetime.now(tz=datetime.UTC).date()),
        **timing,
    }
    CELLS.mkdir(parents=True, exist_ok=True)
    write_json_atomic(CELLS / f"{data}_{name}_fold-{fold}.json", document)


def write_table() -> None:
    """A row for each run."""
    cells = [json.loads(path.read_text()) for path in sorted(CELLS.glob("*.json"))]
    order = ["old", *NEW_RUNS]
    cells.sort(key=lambda cell: (cell["data"], cell["fold"], order.index(cell["run"])))
    rows = [["data", "fold", "run", "epochs", *METRICS, "training s", "date"]]
    for cell in cells:
        row = [cell["data"], str(cell["fold"]), cell["run"], str(cell["epochs"])]
        row += [mean([cell["metrics"][key]]) for key in METRICS]
        rows.append([*row, f"{cell['training_s']:.0f}", cell["date"]])
    notes = NOTES.read_text(encoding="utf-8") if NOTES.is_file() else ""
    TABLE.write_text(
        "# Does it pay to begin with an older run's weights?\n\nWritten by `python -m "
        f"benchmarks.from_run NAME SOURCE OUT`; each cell is a file in from_run/. "
        f"Settings: {' '.join(f'{k}={v}' for k, v in SETTINGS.items())}.\n\n"
        f"{markdown(rows)}\n\n{notes}",
        encoding="utf-8",
    )


def main() -> None:
    """Measure what is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?")
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--group-by", default=r".+")
    parser.add_argument("--fold", type=int, default=0)
    asked = parser.parse_args()
    if asked.data and asked.source and asked.out:
        train: dict[str, Any] = {"method": "hybrid", "device": "cpu", **SETTINGS}
        if not asked.out.exists():
            grow(asked.source, asked.out, asked.group_by, asked.fold, train)
        measure(asked.data, asked.out, "old", asked.fold)
        write_table()
        for name, (older, epochs) in NEW_RUNS.items():
            if (CELLS / f"{asked.data}_{name}_fold-{asked.fold}.json").is_file():
                continue
            dt.train(
                asked.out, "segment", name=name, fold=asked.fold, epochs=epochs,
                from_run=asked.out / "runs" / older if older else None, **train,
            )  # fmt: skip
            measure(asked.data, asked.out, name, asked.fold)
            write_table()
    write_table()


if __name__ == "__main__":
    main()
