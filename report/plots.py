"""Curves of the report, drawn by matplotlib into SVG files beside the page.

Runs are told apart by dash and marker as well as by color.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import Dataset, StoredPredictions
from annotations.errors import shortened
from annotations.files import write_bytes_atomic
from annotations.prediction_files import THRESHOLD
from report.named import named_type
from report.palette import TYPE_COLORS_RGB

PLOTS_FOLDER: Final = "plots"
_DASHES: Final = ("-", "--", "-.", ":")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
SETTINGS: Final[Any] = {
    # Names of runs and classes are anybody's: a dollar in them is a dollar.
    "text.parse_math": False,
    "svg.hashsalt": "defectune",
    "svg.fonttype": "path",
    "font.size": 9.0,
    # The page gives the ground: white, or dark with the colors turned round.
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture of the page.

    Attributes:
        file: relative to the report's folder.
        title: above it.
        text: what it shows, for those who do not see it.
    """

    file: str
    title: str
    text: str


def write_plots(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
) -> list[Plot]:
    """Draw what the leaderboard's rows hold curves and scores for.

    Args:
        dataset: with the truth.
        runs: predictions, as many as rows.
        rows: the leaderboard's, of the same runs in the same order.
        folder: of the report.

    Returns:
        The plots that could be drawn; an undefined curve leaves none.
    """
    from matplotlib import rc_context

    made: list[Plot] = []

    def put(name: str, title: str, text: str, draw: Callable[[Any], bool], width: float) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, 3.4), layout="constrained")
        if draw(figure):
            data = io.BytesIO()
            figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
            write_bytes_atomic(folder / PLOTS_FOLDER / f"{name}.svg", data.getvalue())
            made.append(Plot(f"{PLOTS_FOLDER}/{name}.svg", title, text))

    with rc_context(SETTINGS):
        put(
            "image-pr",
            "Images: precision and recall",
            "Precision over recall of defective images; a cross marks the threshold 0.5.",
            lambda f: _image_curve(f, rows, "recall", "precision"),
            4.6,
        )
        put(
            "image-roc",
            "Images: escape and overkill",
            "Share of defective images that escape over share of good images called defective.",
            lambda f: _image_curve(f, rows, "false_positive_rate", "escape"),
            4.6,
        )
        put(
            "region-pr",
            "Regions: precision and recall at IoU 0.50",
            "Precision over recall of boxes (and masks), mean over classes, after COCO.",
            lambda f: _region_curve(f, rows),
            4.6,
        )
        put(
            "size-recall",
            "Regions found, by defect size",
            "Share of true regions found, small, medium and large, with 95 % intervals.",
            lambda f: _size_recall(f, rows),
            4.6,
        )
        put(
            "scores",
            "Scores by type",
            "Calibrated image scores of every run by defect type; the line is the threshold 0.5.",
            lambda f: _scores(f, dataset, runs),
            max(4.6, 3.1 * len(runs)),
        )
        put(
            "reliability",
            "Does the score say how likely a defect is?",
            "Share of defective images in tenths of the calibrated score; on the diagonal the "
            "score is a probability. It is calibrated at 0.5 only.",
            lambda f: _reliability(f, dataset, runs),
            4.6,
        )
    return made


def _short(name: str) -> str:
    """A name that leaves room for the curves."""
    return shortened(name, 24)


def _style(number: int) -> dict[str, Any]:
    red, green, blue = TYPE_COLORS_RGB[number % len(TYPE_COLORS_RGB)]
    return {
        "color": (red / 255, green / 255, blue / 255),
        "linestyle": _DASHES[number % len(_DASHES)],
        "linewidth": 1.8,
    }


def _image_curve(figure: Any, rows: Sequence[Mapping[str, Any]], x: str, y: str) -> bool:
    axes = figure.subplots()
    drawn = False
    for number, row in enumerate(rows):
        curve = row.get("curves", {}).get("image") or {}
        if not curve.get("recall") or not curve.get(x):
            continue
        columns = {name: np.asarray(values, np.float64) for name, values in curve.items()}
        columns["escape"] = 1 - columns["recall"]
        axes.plot(columns[x], columns[y], label=_short(row["run"]), **_style(number))
        at = np.flatnonzero(columns["threshold"] >= THRESHOLD)
        if len(at):
            place = at[-1]
            axes.plot(columns[x][place], columns[y][place], "x", color="black", markersize=7)
        drawn = True
    names = {"recall": "recall", "precision": "precision"}
    axes.set_xlabel(names.get(x, "overkill rate"))
    axes.set_ylabel(names.get(y, "escape rate"))
    return _finished(axes, drawn)


def _region_curve(figure: Any, rows: Sequence[Mapping[str, Any]]) -> bool:
    axes = figure.subplots()
    drawn = False
    for number, row in enumerate(rows):
        for kind in ("box", "mask"):
            curve = row.get("curves", {}).get(kind) or {}
            if curve.get("recall"):
                style = _style(number) | ({"linewidth": 0.9} if kind == "mask" else {})
                label = f"{_short(row['run'])} ({kind})"
                axes.plot(curve["recall"], curve["precision"], label=label, **style)
                drawn = True
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    return _finished(axes, drawn)


def _size_recall(figure: Any, rows: Sequence[Mapping[str, Any]]) -> bool:
    axes = figure.subplots()
    drawn = 0
    for number, row in enumerate(rows):
        found = [
            (index, size, metric)
            for index, (size, part) in enumerate(row.get("by_size", {}).items())
            if (metric := part.get("region_recall")) and metric["value"] is not None
        ]
        if not found:
            continue
        places = [index + 0.08 * (drawn - 1) for index, _, _ in found]
        values = [metric["value"] for _, _, metric in found]
        low = [m["value"] - (m["value"] if m["low"] is None else m["low"]) for _, _, m in found]
        high = [(m["value"] if m["high"] is None else m["high"]) - m["value"] for _, _, m in found]
        marker = _MARKERS[number % len(_MARKERS)]
        style = _style(number) | {"linestyle": "none"}
        axes.errorbar(
            places, values, [low, high], marker=marker, capsize=3, label=_short(row["run"]), **style
        )
        axes.set_xticks(range(len(found)), [f"{s}\n(n {m['n']})" for _, s, m in found])
        drawn += 1
    axes.set_ylabel("region recall")
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(fontsize=7)
    return bool(drawn)


def _scores(figure: Any, dataset: Dataset, runs: Sequence[StoredPredictions]) -> bool:
    if not runs:
        return False
    types = ["good", *dataset.class_names]
    grid = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, run in zip(grid, runs, strict=True):
        for place, kind in enumerate(types):
            scores = [
                run.image_scores[i]
                for i in dataset.split.test_ids
                if i in run.image_scores and dataset.by_id[i].defect_type == kind
            ]
            # Spread by rank, so that equal scores are seen as many.
            offsets = (np.arange(len(scores)) % 9 - 4) * 0.07
            red, green, blue = TYPE_COLORS_RGB[place % len(TYPE_COLORS_RGB)]
            axes.plot(
                sorted(scores),
                place + offsets,
                _MARKERS[place % len(_MARKERS)],
                color=(red / 255, green / 255, blue / 255),
                markersize=3.5,
            )
        axes.axvline(THRESHOLD, color="black", linewidth=1)
        axes.set_yticks(range(len(types)), [_short(kind) for kind in types])
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel("calibrated score")
        axes.set_title(_short(run.name), fontsize=9)
        axes.grid(alpha=0.3, axis="x")
    return True


def _reliability(figure: Any, dataset: Dataset, runs: Sequence[StoredPredictions]) -> bool:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    drawn = False
    for number, run in enumerate(runs):
        ids = [i for i in dataset.split.test_ids if i in run.image_scores]
        if not ids:
            continue
        scores = np.array([run.image_scores[i] for i in ids], np.float64)
        bad = np.array([dataset.by_id[i].is_defective for i in ids])
        tenth = np.minimum((scores * 10).astype(int), 9)
        places = [t for t in range(10) if (tenth == t).any()]
        axes.plot(
            [scores[tenth == t].mean() for t in places],
            [bad[tenth == t].mean() for t in places],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            label=_short(run.name),
            **_style(number),
        )
        drawn = True
    axes.set_xlabel("calibrated score")
    axes.set_ylabel("share defective")
    return _finished(axes, drawn)


def _finished(axes: Any, drawn: bool) -> bool:
    """Axes from 0 to 1, with a legend where anything was drawn."""
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(fontsize=7)
    return drawn


def confusion_by_type(
    dataset: Dataset, run: StoredPredictions
) -> tuple[list[str], list[tuple[str, list[int]]]] | None:
    """True type of each image against the type that was named.

    The verdict comes first: an image below the threshold counts as good, whatever lies on it, so
    that the table and overkill count the same images. Of the others, a family that names a type for
    the whole image is taken at its word; otherwise it is that of the highest-scoring found region.

    Returns:
        Column names (`good` first, then `no type` where that is so of any image) and rows of a
        true type and counts; None for a run that names no types.
    """
    if run.regions is None and not run.predicted_types:
        return None
    columns = ["good", "no type", *dataset.class_names]
    counts = {kind: [0] * len(columns) for kind in ("good", *dataset.class_names)}
    for image_id in dataset.split.test_ids:
        if image_id not in run.image_scores:
            continue
        kind = dataset.by_id[image_id].defect_type
        if kind not in counts:
            continue
        place = 0
        if run.image_scores[image_id] >= THRESHOLD:
            named = named_type(dataset, run, image_id)
            place = 1 if named is None else 2 + named
        counts[kind][place] += 1
    if not any(row[1] for row in counts.values()):
        del columns[1]
        counts = {kind: [row[0], *row[2:]] for kind, row in counts.items()}
    return columns, list(counts.items())
