"""The report: one folder with an index.html that opens from disk and fetches nothing."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

from annotations import Dataset, InputError, OutputExistsError, StoredPredictions
from annotations.files import (
    folder_moved_into_place,
    read_json,
    remove_tree,
    write_bytes_atomic,
    write_json_atomic,
)
from annotations.locks import refuse_link
from evaluation import METRIC_WORDS, summarize
from evaluation.summary import deciding_metric
from report.accepted import accepted, left_out
from report.document import digests, not_tested
from report.first_screen import by_source, claims, escapes_by_type, metric_lines, operating_points
from report.gallery import Gallery, write_gallery
from report.head import Decision, Head, check_limit, decide
from report.parts import Part, conversion_facts, write_parts
from report.plots import Plot, confusion_by_type, write_plots
from report.templating import joined_sources, page_environment
from report.training_records import Sheet, write_sheets, write_training_curves

MARKER: Final = "report.json"
SCRIPTS: Final = (
    "state.js",
    "reasons.js",
    "gallery.js",
    "threshold.js",
    "sizes.js",
    "map.js",
    "tags.js",
    "regions.js",
    "similar.js",
    "heat.js",
    "viewer.js",
    "print.js",
    "boot.js",
)
"""In the order in which the page runs them, as one script."""
_OPTION: Final = re.compile(r"(?<!\S)(--[a-z]+(?:-[a-z]+)*)")


def write_report(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    leaderboard: Mapping[str, Any],
    folder: Path,
    *,
    fold: int | None = None,
    max_escape: float | None = None,
    progress: Callable[[], None] | None = None,
) -> Path:
    """Write the report of runs on the dataset's test images.

    Args:
        dataset: the converted dataset.
        runs: predictions to show.
        leaderboard: content of leaderboard.json.
        folder: where to; an earlier report there is replaced.
        fold: show the test images of this fold alone; None for all of them.
        max_escape: highest share of defective parts that may escape; the page says whether that
            is proved. Without it, the page of all folds shows what `accept` decided of a run.
        progress: called after every image.

    Returns:
        The page, `folder`/index.html.

    Raises:
        OutputExistsError: `folder` holds something that is no report.
        InputError: not one of the test images can be read.
        UsageError: a limit that is no share.
    """
    check_limit(max_escape)
    replaceable = folder.is_dir() and (not any(folder.iterdir()) or _is_report(folder))
    if folder.exists() and not replaceable:
        raise OutputExistsError(
            f"{folder} holds something that is not a report; it is left as it is. Move it away."
        )
    refuse_link(folder)
    ids = dataset.split.test_ids if fold is None else dataset.split.folds[fold].test
    if fold is not None:
        kept = set(ids)
        runs = [
            replace(run, image_scores={i: s for i, s in run.image_scores.items() if i in kept})
            for run in runs
        ]
    hint = "Close what uses it and try again."
    # Written whole beside the old one, which goes only when the new one is complete.
    fresh = folder.with_name(f"{folder.name}-new")
    refuse_link(fresh)
    if fresh.is_dir() and _is_report(fresh):
        remove_tree(fresh)
    with folder_moved_into_place(fresh, hint=hint) as partial:
        head = _head(dataset, runs, leaderboard, ids, max_escape, folder, fold)
        gallery = write_gallery(
            dataset, runs, partial, shown_at=folder, ids=ids, progress=progress, head=head
        )
        if gallery.n_images and gallery.n_gone == gallery.n_images:
            raise InputError(
                f"None of the {gallery.n_images} test images of {dataset.root} can be read, so "
                f"that there is nothing to show. {next(iter(gallery.notes.values()))}"
            )
        shown = {run.name: run for run in runs}
        rows = [row for row in leaderboard.get("rows", []) if row["run"] in shown]
        plots = write_plots(dataset, [shown[row["run"]] for row in rows], rows, partial)
        plots += write_training_curves(runs, partial)
        sheets = write_sheets(runs, partial)
        parts = write_parts(dataset, partial)
        page = _render(
            dataset, runs, leaderboard, rows, gallery, plots, parts, sheets, ids, fold, head
        )
        write_bytes_atomic(partial / "index.html", page.encode("utf-8"))
        write_json_atomic(
            partial / MARKER,
            {"split_digest": dataset.split.digest, "runs": [run.name for run in runs]},
        )
    if folder.exists():
        remove_tree(folder)
    fresh.replace(folder)
    return folder / "index.html"


def _head(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    leaderboard: Mapping[str, Any],
    ids: Sequence[str],
    max_escape: float | None,
    shown_at: Path,
    fold: int | None,
) -> Head:
    point = leaderboard.get("operating_point") or {}
    points = {row["run"]: row["thresholds"] for row in point.get("runs", [])}
    version = dataset.version
    return Head(
        decisions={
            run.name: _decision(dataset, run, ids, max_escape, points.get(run.name), shown_at, fold)
            for run in runs
        },
        points=points,
        given=frozenset(
            row["run"]
            for row in leaderboard.get("rows", [])
            if row.get("threshold_from") == "given"
        ),
        key={
            "dataset": dataset.root.absolute().name,
            "split_digest": dataset.split.digest,
            "data_version": None if version is None else version.number,
            "data_digest": None if version is None else version.digest,
            "best": summarize(leaderboard, [run.name for run in runs]).best,
        },
        baseline=str((leaderboard.get("baseline") or {}).get("run", "")),
    )


def _decision(
    dataset: Dataset,
    run: StoredPredictions,
    ids: Sequence[str],
    max_escape: float | None,
    thresholds: Mapping[str, float] | None,
    shown_at: Path,
    fold: int | None,
) -> Decision:
    """By the limit given; else as `accept` decided; else what was counted, without a decision."""
    counted = decide(dataset, run, ids, max_escape, thresholds)
    if max_escape is not None:
        return counted
    # The acceptance of a run that has this fold alone counts the images of the page.
    found = (
        accepted(dataset, run, shown_at)
        if fold is None or set(run.folds) == {fold}
        else left_out(dataset, run, fold)
    )
    if isinstance(found, Decision):
        return found
    return replace(counted, text=f"{counted.text} {found}") if found else counted


def _is_report(folder: Path) -> bool:
    """True where the marker is ours: other programs, too, write a report.json."""
    try:
        value = read_json(folder / MARKER, what="a report's marker")
    except InputError:
        return False
    return (
        isinstance(value, dict)
        and isinstance(value.get("split_digest"), str)
        and isinstance(value.get("runs"), list)
        and (folder / "index.html").is_file()
    )


def _render(
    dataset: Dataset,
    runs: Sequence[StoredPredictions],
    leaderboard: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    gallery: Gallery,
    plots: Sequence[Plot],
    parts: tuple[list[Part], int],
    sheets: Sequence[Sheet],
    ids: Sequence[str],
    fold: int | None,
    head: Head,
) -> str:
    environment = page_environment(options_kept=options_kept)
    style = joined_sources(environment, ["report.css"])
    script = joined_sources(environment, SCRIPTS)
    confusions = [(run.name, confusion_by_type(dataset, run)) for run in runs]
    names = [run.name for run in runs]
    lines, unknown = metric_lines(rows)
    in_order = [row for name in names for row in rows if row["run"] == name]
    test = dataset.select(ids)
    summary = summarize(leaderboard, names)
    return environment.get_template("index.html.j2").render(
        title=dataset.root.absolute().name,
        digest=dataset.split.digest,
        protocol=dataset.split.protocol + ("" if fold is None else f", fold {fold} alone"),
        n_images=gallery.n_images,
        n_defective=sum(sample.is_defective for sample in test),
        n_gone=gallery.n_gone,
        summary=summary,
        best_by=best_by(leaderboard, names),
        decision=head.decisions.get(summary.best or ""),
        not_tested=[
            line
            for run in runs
            if run.name == summary.best
            for line in not_tested(dataset, run, ids, head.points.get(run.name))
        ],
        digests=digests(dataset, rows),
        version=dataset.version,
        date=datetime.now(UTC).strftime("%d %B %Y").lstrip("0"),
        escapes=escapes_by_type(in_order, dataset.class_names),
        by_source=by_source(in_order),
        runs=rows,
        run_names=names,
        metrics=lines,
        left_out=unknown,
        given=[row["run"] for row in rows if row.get("threshold_from") == "given"],
        claims=claims(leaderboard, names),
        matching_rule=leaderboard.get("matching_rule", ""),
        interval_rule=leaderboard.get("interval", ""),
        n_groups=leaderboard.get("n_groups") or len({s.group for s in test}),
        points=operating_points(leaderboard, names),
        point_rule=(leaderboard.get("operating_point") or {}).get("rule", ""),
        plots=plots,
        confusions=[(name, found) for name, found in confusions if found is not None],
        facts=conversion_facts(dataset),
        parts=parts[0],
        n_more_parts=parts[1],
        sheets=sheets,
        # Both files are ours; Markup keeps their quotes as they are.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=csp_hash(script),
        style_hash=csp_hash(style),
    )


def options_kept(text: str) -> Markup:
    """A sentence for the page, its options as code, which no line breaks after the dashes."""
    return Markup(_OPTION.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704


def best_by(leaderboard: Mapping[str, Any], names: Sequence[str]) -> str:
    """By which metric the best run was chosen; empty for one run."""
    rows = [row for row in leaderboard.get("rows", []) if row["run"] in names]
    by = deciding_metric(rows)
    return f"Best by: {METRIC_WORDS[by][0]}." if by and len(rows) > 1 else ""


def csp_hash(text: str) -> str:
    """What a page's Content-Security-Policy allows a style or a script of its own by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
