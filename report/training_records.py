"""What training left to look at: curves over epochs, and sheets of images that it made."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from annotations import ImageReadError, StoredPredictions
from annotations.files import write_bytes_atomic
from annotations.images import read_image_rgb
from report.pictures import write_jpeg
from report.plots import PLOTS_FOLDER, SETTINGS, Plot

SHEETS_FOLDER: Final = "sheets"
SHEETS: Final = {
    "injected.png": "Defects put into good images; below each, where they are.",
    "deepsmote.png": "In threes: an image, what was decoded between the two, the other image.",
}
LOGS: Final = ("log/version_0/metrics.csv", "ultralytics/results.csv")
SHOWN: Final = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_dice": "validation Dice",
    "separation": "drawn defects from good, in standard deviations",
    "metrics/mAP50(B)": "validation mAP50",
    "train/box_loss": "training loss of boxes",
    "val/box_loss": "validation loss of boxes",
}
"""Columns of the logs, as people call them."""
MOST_BYTES: Final = 20_000_000
MOST_ROWS: Final = 100_000
_SHEET_PIXELS: Final = 1600
_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture of images that were made for training.

    Attributes:
        picture: address, relative to the report's folder.
        title: run and fold.
        text: what it shows.
    """

    picture: str
    title: str
    text: str


def write_sheets(runs: Sequence[StoredPredictions], folder: Path) -> list[Sheet]:
    """Copy the sheets of the first fold of every run that has any; a damaged one is left out."""
    sheets = []
    for number, run in enumerate(runs, start=1):
        for name, text in SHEETS.items():
            for fold in sorted(run.folds):
                path = run.run / f"fold-{fold}" / name
                if not path.is_file():
                    continue
                try:
                    picture = read_image_rgb(path)
                except ImageReadError:
                    continue
                file = f"{number}-{Path(name).stem}.jpg"
                write_jpeg(folder / SHEETS_FOLDER / file, picture, _SHEET_PIXELS, _QUALITY)
                made = f"{text} {_count(path.with_suffix('.json'))}".strip()
                title = f"{run.name}, fold {fold}"
                sheets.append(Sheet(quote(f"{SHEETS_FOLDER}/{file}"), title, made))
                break
    return sheets


def _count(path: Path) -> str:
    try:
        made = json.loads(path.read_text(encoding="utf-8")).get("made", {})
        return ", ".join(f"{int(n)} of {kind} made" for kind, n in made.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return ""


def read_log(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Epochs and values of the columns worth showing, from a log that training wrote.

    Rows of one epoch may each hold a part of the columns, as Lightning writes them. What is no
    number is left out.

    Args:
        path: a CSV with a column `epoch`.

    Returns:
        By column: epochs and values, of equal length; columns without a value are left out.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            return {}
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row, _ in zip(csv.DictReader(file), range(MOST_ROWS), strict=False)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        cells = {str(key).strip(): value for key, value in row.items()}
        epoch = _number(cells.get("epoch"))
        if epoch is None:
            continue
        for name in SHOWN:
            value = _number(cells.get(name))
            if value is not None:
                epochs, values = found.setdefault(name, ([], []))
                epochs.append(epoch)
                values.append(value)
    return found


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def write_training_curves(runs: Sequence[StoredPredictions], folder: Path) -> list[Plot]:
    """Draw each run's log: a panel a column, a line a fold."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    plots = []
    for number, run in enumerate(runs, start=1):
        logs = {}
        for fold in sorted(run.folds):
            found = [read_log(run.run / f"fold-{fold}" / name) for name in LOGS]
            logs[fold] = next((log for log in found if log), {})
        columns = [name for name in SHOWN if any(name in log for log in logs.values())]
        if not columns:
            continue
        with rc_context(SETTINGS):
            figure = Figure(figsize=(3.4 * len(columns), 3.0), layout="constrained")
            axes = figure.subplots(1, len(columns), squeeze=False)[0]
            for axis, name in zip(axes, columns, strict=True):
                for fold, log in logs.items():
                    if name in log:
                        axis.plot(*log[name], linewidth=1.2, label=f"fold {fold}")
                axis.set_xlabel("epoch")
                axis.set_ylabel(SHOWN[name])
            if len(logs) > 1:
                axes[0].legend(fontsize=7)
            data = io.BytesIO()
            figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
        file = f"{PLOTS_FOLDER}/training-{number}.svg"
        write_bytes_atomic(folder / file, data.getvalue())
        words = ", ".join(SHOWN[name] for name in columns)
        plots.append(Plot(file, f"Training of {run.name}", f"Over epochs: {words}."))
    return plots
