"""The report: one folder with an index.html that opens from disk and fetches nothing."""

import base64
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from annotations import (
    Dataset,
    ImageReadError,
    InputError,
    OutputExistsError,
    Sample,
    StoredPredictions,
)
from annotations.files import (
    folder_moved_into_place,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from annotations.images import read_image_rgb
from annotations.prediction_files import THRESHOLD
from evaluation import HEADLINE, Metric, format_metric, match_regions
from evaluation.table import RATES
from report.layers import truth_svg, write_layers
from report.overlay import draw_overlay
from report.parts import Part, conversion_facts, write_parts
from report.pictures import write_jpeg
from report.plots import Plot, confusion_by_type, write_plots
from report.training_records import Sheet, write_sheets, write_training_curves

MARKER: Final = "report.json"
THUMBNAIL_PIXELS: Final = 300
FULL_PIXELS: Final = 1600


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of an image: the truth, or a model's prediction."""

    title: str
    verdict: str
    score: str
    wrong: bool
    thumbnail: str
    full: str
    alt: str
    exact: float | None
    layers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One test image with its pictures."""

    image_id: str
    defect_type: str
    anchor: str
    badness: float
    wrong: bool
    note: str
    panels: tuple[Panel, ...]
    plain: str
    truth: str


def write_report(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    leaderboard: Mapping[str, Any],
    folder: Path,
    *,
    progress: Callable[[], None] | None = None,
) -> Path:
    """Write the report of runs on the dataset's test images.

    Pictures are JPEGs of at most 1,600 pixels a side, so that a thousand images of three models
    stay small. Images come worst first: by how far a model's score lies on the wrong side of the
    threshold, the worst model counting; then by the lowest margin.

    Args:
        dataset: the converted dataset.
        runs: predictions to show, one column each.
        leaderboard: content of leaderboard.json.
        folder: where to; an earlier report there is replaced.
        progress: called after every image.

    Returns:
        The page, `folder`/index.html.

    Raises:
        OutputExistsError: `folder` holds something that is no report.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise OutputExistsError(
            f"{folder} holds something that is not a report; it is left as it is. Move it away."
        )
    hint = "Close what uses it and try again."
    # Written whole beside the old one, which goes only when the new one is complete.
    fresh = folder.with_name(f"{folder.name}-new")
    if (fresh / MARKER).is_file():
        shutil.rmtree(fresh)
    with folder_moved_into_place(fresh, hint=hint) as partial:
        entries = []
        for sample in dataset.select(dataset.split.test_ids):
            entries.append(_entry(dataset, sample, runs, partial))
            if progress is not None:
                progress()
        if entries and all(entry.note for entry in entries):
            raise InputError(
                f"None of the {len(entries)} test images of {dataset.root} can be read, so that "
                f"there is nothing to show. {entries[0].note}"
            )
        entries.sort(key=lambda entry: (-entry.badness, entry.image_id))
        shown = {run.name: run for run in runs}
        rows = [row for row in leaderboard["rows"] if row["run"] in shown]
        plots = write_plots(dataset, [shown[row["run"]] for row in rows], rows, partial)
        plots += write_training_curves(runs, partial)
        sheets = write_sheets(runs, partial)
        parts = write_parts(dataset, partial)
        page = _render(dataset, runs, leaderboard, rows, entries, plots, parts, sheets)
        write_bytes_atomic(partial / "index.html", page.encode("utf-8"))
        write_json_atomic(
            partial / MARKER,
            {"split_digest": dataset.split.digest, "runs": [run.name for run in runs]},
        )
    if folder.exists():
        shutil.rmtree(folder)
    fresh.replace(folder)
    return folder / "index.html"


def _entry(
    dataset: Dataset, sample: Sample, runs: Sequence[StoredPredictions], folder: Path
) -> Entry:
    note = ""
    try:
        image_rgb = read_image_rgb(sample.image_path)
        if image_rgb.shape[:2] != sample.image_hw:
            raise ImageReadError(f"{sample.image_path} has another size than when converted.")
    except ImageReadError as error:
        image_rgb = np.full((*sample.image_hw, 3), 128, np.uint8)
        note = str(error)
    truth = dataset.truths[sample.image_id]
    ignored = dataset.ignored.get(sample.image_id)
    names = dataset.class_names
    picture = draw_overlay(image_rgb, truth=truth, class_names=names)
    plain, outlines = f"full/{sample.stem}--plain.jpg", f"layers/{sample.stem}-truth.svg"
    write_jpeg(folder / plain, image_rgb, FULL_PIXELS, 88)
    write_text_atomic(folder / outlines, truth_svg(truth))
    panels = [_panel(folder, sample, 0, picture, title="truth", verdict=sample.defect_type)]
    badness, wrong = -1.0, False
    for number, run in enumerate(runs, start=1):
        if sample.image_id not in run.image_scores:
            continue
        score = run.image_scores[sample.image_id]
        margin = score - THRESHOLD if sample.is_defective else THRESHOLD - score
        is_wrong = (score >= THRESHOLD) != sample.is_defective
        badness, wrong = max(badness, -margin), wrong or is_wrong
        has_map = sample.image_id in run.map_ranges
        found = run.found_regions(sample.image_id)
        scores = run.pixel_scores(sample.image_id) if has_map else None
        layers = write_layers(
            folder,
            f"{sample.stem}--{number}",
            found=found,
            class_names=names,
            pixel_scores=scores,
            score_range=run.score_range,
        )
        picture = draw_overlay(
            image_rgb,
            truth=truth,
            prediction=found,
            match=None if found is None else match_regions(truth, found, ignored),
            pixel_scores=scores,
            score_range=run.score_range,
            image_score=score,
            class_names=names,
        )
        panels.append(
            _panel(
                folder,
                sample,
                number,
                picture,
                title=run.name,
                verdict=run.verdict(sample.image_id),
                score=f"{score:.3f}",
                wrong=is_wrong,
                exact=float(score),
                layers=layers,
            )
        )
    return Entry(
        image_id=sample.image_id,
        defect_type=sample.defect_type,
        anchor=sample.stem,
        badness=badness,
        wrong=wrong,
        note=note,
        panels=tuple(panels),
        plain=quote(plain),
        truth=quote(outlines),
    )


def _panel(
    folder: Path,
    sample: Sample,
    number: int,
    picture: npt.NDArray[np.uint8],
    *,
    title: str,
    verdict: str,
    score: str = "",
    wrong: bool = False,
    exact: float | None = None,
    layers: Mapping[str, str] = MappingProxyType({}),
) -> Panel:
    name = f"{sample.stem}--{number}.jpg"
    for place, limit, quality in (("full", FULL_PIXELS, 88), ("thumbs", THUMBNAIL_PIXELS, 82)):
        write_jpeg(folder / place / name, picture, limit, quality)
    return Panel(
        title=title,
        verdict=verdict,
        score=score,
        wrong=wrong,
        thumbnail=f"thumbs/{quote(name)}",
        full=f"full/{quote(name)}",
        alt=f"{sample.image_id}, {title}: {verdict} {score}".strip(),
        # In full: the slider must give the judge's verdict, also for 0.4999.
        exact=exact,
        layers={kind: quote(file) for kind, file in layers.items()},
    )


def _cell(name: str, value: Mapping[str, Any] | None) -> dict[str, str]:
    if value is None:
        return {"text": "—", "detail": "this family cannot enter"}
    metric = Metric(value["value"], value["n"], value["low"], value["high"])
    if metric.value is None:
        return {"text": "n/a", "detail": str(value.get("reason", ""))}
    detail = f"counted on {metric.n:,}"
    if metric.low is not None and metric.high is not None:
        scale, unit, digits = (100, " %", 1) if name in RATES else (1, "", 3)
        low, high = metric.low * scale, metric.high * scale
        detail = f"95 %: {low:.{digits}f} to {high:.{digits}f}{unit}"
    return {"text": format_metric(name, metric), "detail": detail}


def _render(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    leaderboard: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    entries: Sequence[Entry],
    plots: Sequence[Plot],
    parts: tuple[list[Part], int],
    sheets: Sequence[Sheet],
) -> str:
    environment = Environment(
        loader=PackageLoader("report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    if loader is None:
        raise ValueError("The report's templates are missing; install the program again.")
    style, _, _ = loader.get_source(environment, "report.css")
    script, _, _ = loader.get_source(environment, "report.js")
    names = list(rows[0]["metrics"]) if rows else []
    confusions = [(run.name, confusion_by_type(dataset, run)) for run in runs]

    def table(kept: Sequence[str]) -> list[tuple[str, list[dict[str, str]]]]:
        return [(name, [_cell(name, row["metrics"].get(name)) for row in rows]) for name in kept]

    return environment.get_template("index.html.j2").render(
        title=dataset.root.name,
        digest=dataset.split.digest,
        protocol=dataset.split.protocol,
        n_images=len(entries),
        n_defective=sum(entry.defect_type != "good" for entry in entries),
        n_wrong=sum(entry.wrong for entry in entries),
        types=sorted({entry.defect_type for entry in entries}),
        runs=rows,
        table=table([name for name in HEADLINE if name in names]),
        more_table=table([name for name in names if name not in HEADLINE]),
        claims=[
            *([leaderboard["missing_kind"]] if leaderboard.get("missing_kind") else []),
            *leaderboard.get("differences", []),
            *_spread_texts(leaderboard),
        ],
        matching_rule=leaderboard.get("matching_rule", ""),
        interval_rule=leaderboard.get("interval", ""),
        n_groups=leaderboard.get("n_groups") or len({s.group for s in dataset.samples}),
        points=_operating_points(leaderboard),
        point_rule=(leaderboard.get("operating_point") or {}).get("rule", ""),
        plots=plots,
        confusions=[(name, found) for name, found in confusions if found is not None],
        facts=conversion_facts(dataset),
        parts=parts[0],
        n_more_parts=parts[1],
        sheets=sheets,
        entries=entries,
        # Both files are ours; Markup keeps their quotes as they are.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=_csp_hash(script),
        style_hash=_csp_hash(style),
    )


def _spread_texts(leaderboard: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['metric']}: {row['runs']} over {row['n']} seeds {row['mean']:.3f} ± "
        f"{row['standard_deviation']:.3f}."
        for row in leaderboard.get("spread", [])
        if row["metric"] in HEADLINE
    ]


def _operating_points(leaderboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    point = leaderboard.get("operating_point")
    if not point:
        return []
    return [
        {
            "run": row["run"],
            "validation": row["validation"],
            "escape": _cell("escape_rate", row["escape_rate"]),
            "overkill": _cell("overkill_rate", row["overkill_rate"]),
            "cost": _cell("expected_cost", row["expected_cost"]),
            "escapes": ", ".join(
                f"{kind} {part['escaped']} of {part['of']}"
                for kind, part in row["escapes_by_type"].items()
            ),
        }
        for row in point["runs"]
    ]


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
