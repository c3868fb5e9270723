"""Judging, tables and the report, for the commands."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import InputError, UsageError, load_dataset, read_predictions
from annotations.dataset import RUNS_FOLDER
from annotations.files import read_json, remove_dead_files, write_json_atomic
from defectune.console import BarReporter, out, show_table
from defectune.runs import LEADERBOARD_FILE, find_runs

if TYPE_CHECKING:
    from evaluation import Costs, ExternalOptions, Leaderboard, OperatingPoint

REPORT_FOLDER = "report"


def judge(
    root: Path,
    names: Sequence[str],
    *,
    fold: int | None,
    reporter: BarReporter,
    costs: "Costs | None" = None,
) -> "Leaderboard":
    """Judge runs and write leaderboard.json (for all folds only).

    Raises:
        DefectuneError: see `evaluation.evaluate_runs`.
    """
    from evaluation import evaluate_runs

    dataset = load_dataset(root)
    runs = find_runs(root, names)
    board = evaluate_runs(dataset, runs, fold=fold, costs=costs, say=reporter.say)
    if fold is None:
        before = read_leaderboard(root, dataset.split.digest)
        point = (before or {}).get("operating_point")
        if point and costs is None:
            reporter.say(
                f"The operating point in {LEADERBOARD_FILE} (chosen by: {point.get('rule')}) is "
                "dropped, since this call gave no costs or bound."
            )
        remove_dead_files(root)
        write_json_atomic(root / LEADERBOARD_FILE, board.to_json())
    return board


def costs_of(
    escape: float | None,
    overkill: float | None,
    max_escape: float | None,
    max_overkill: float | None,
    defect_rate: float | None,
) -> "Costs | None":
    """What the operating point is chosen by; None where nothing was asked for.

    Raises:
        UsageError: see `evaluation.Costs`.
    """
    from evaluation import Costs

    if (escape, overkill, max_escape, max_overkill, defect_rate) == (None,) * 5:
        return None
    return Costs(escape, overkill, max_escape, max_overkill, defect_rate)


def check_request(
    root: Path, names: Sequence[str], *, fold: int | None, external: Sequence[str]
) -> None:
    """Refuse a fold, a run or an --external that does not exist, before anything is judged.

    Raises:
        UsageError: no such fold, or --external that is not NAME=PATH.
        InputError: no such run, or no such place.
    """
    dataset = load_dataset(root)
    if fold is not None and not 0 <= fold < len(dataset.split.folds):
        raise UsageError(f"There is no fold {fold}; there are {len(dataset.split.folds)}, from 0.")
    new = dict(map(_named, external))
    for name, place in new.items():
        if not place.exists():
            raise InputError(f"--external {name}={place}: there is no such file or folder.")
    find_runs(root, [name for name in names if name not in new])


def _named(text: str) -> tuple[str, Path]:
    name, sign, place = text.partition("=")
    if not sign or not place or name != Path(name).name or name.startswith(".") or not name:
        raise UsageError(f"--external takes NAME=PATH with a plain name, got {text!r}.")
    return name, Path(place)


def import_external(
    root: Path,
    named: Sequence[str],
    options: "ExternalOptions",
    *,
    reporter: BarReporter,
) -> None:
    """Make runs of predictions made elsewhere, each given as NAME=PATH.

    Raises:
        UsageError: not NAME=PATH, or a name that is not a plain one.
        DefectuneError: see `evaluation.import_predictions`.
    """
    from evaluation import import_predictions

    if not named:
        return
    dataset = load_dataset(root)
    for name, place in map(_named, named):
        run = root / RUNS_FOLDER / name
        for note in import_predictions(dataset, place, run, options):
            reporter.say(f"{name}: {note}")


def show_leaderboard(board: "Leaderboard", root: Path, *, everything: bool = False) -> None:
    """Print the table, the differences in words, and the operating points."""
    from evaluation import HEADLINE, METRIC_NAMES, difference_lines, table_rows

    part = "" if board.fold is None else f", fold {board.fold} only"
    title = (
        f"{board.n_images} test images ({board.n_defective} defective) of {board.n_groups} parts, "
        f"{board.protocol}{part}, split {board.split_digest[:12]}…"
    )
    names = METRIC_NAMES if everything else HEADLINE
    show_table(table_rows(board, names), title=title)
    if board.missing_kind is not None:
        out.print(board.missing_kind, markup=False)
    for line in difference_lines(board):
        out.print(line, markup=False)
    for line in board.spread_lines:
        out.print(line, markup=False)
    for row in board.rows:
        if "random weights" in row.model:
            out.print(
                f"{row.run}: trained from random weights, not from pretrained ones.", markup=False
            )
        for note in row.notes:
            out.print(f"{row.run}: {note}", markup=False)
    for point in board.operating_points:
        show_operating_point(point, board)
    if board.fold is None:
        out.print(f"Written: {root / LEADERBOARD_FILE}", markup=False)


def show_operating_point(point: "OperatingPoint", board: "Leaderboard") -> None:
    """Print one run's operating point: thresholds, rates, cost, what escapes, and the curve."""
    from evaluation import format_metric

    rows = [["", ""], ["chosen by", str(board.operating_rule)], ["chosen on", point.validation]]
    limits = ", ".join(f"fold {fold}: {value:.4f}" for fold, value in point.thresholds.items())
    rows.append(["thresholds (calibrated)", limits])
    for name in ("escape_rate", "overkill_rate"):
        text = format_metric(name, getattr(point, name), interval=True)
        rows.append([f"{name}, judged images", text])
    if point.expected_cost is not None:
        cost = format_metric("expected_cost", point.expected_cost, interval=True)
        rows.append([f"expected cost a part, {board.defect_rate:.2%} defective", cost])
    for kind, (escaped, n, ids) in point.by_type.items():
        some = f": {', '.join(ids[:4])}{' …' if len(ids) > 4 else ''}" if ids else ""
        rows.append([f"  {kind} escapes", f"{escaped} of {n}{some}"])
    show_table(rows, title=f"Operating point of {point.run}")
    curve = point.curve
    if curve:
        names = list(curve)
        n = len(curve["threshold"])
        step = max(1, n // 8)
        picked = sorted({*range(0, n, step), n - 1})
        body = [[f"{curve[name][index]:.4f}" for name in names] for index in picked]
        show_table([names, *body], title="Curve on the judged images (it chose nothing)")


def run_check(root: Path, *, reshots: bool, reporter: BarReporter) -> bool:
    """Check a converted dataset and print what was found.

    Returns:
        True where something is wrong.

    Raises:
        DefectuneError: not a converted dataset, or one whose split does not hold.
    """
    from converters.check import check_dataset

    dataset = load_dataset(root)
    stages: dict[str, Callable[[str], None]] = {}

    def progress(stage: str, total: int) -> None:
        if stage not in stages:
            stages[stage] = reporter.track(stage, total)
        stages[stage]("")

    result = check_dataset(dataset, reshots=reshots, progress=progress)
    rows = [["", ""], *([name, text] for name, text in result.facts)]
    show_table(rows, title=f"Checked {root}")
    for problem in result.problems:
        out.print(f"Wrong: {problem}", markup=False)
    out.print(
        f"{len(result.problems)} problem(s)." if result.problems else "Nothing wrong was found.",
        markup=False,
    )
    return bool(result.problems)


def run_export(root: Path, output: Path, format_: str, *, reporter: BarReporter) -> None:
    """Export a converted dataset and print what the format could not hold.

    Raises:
        DefectuneError: see `converters.exporting.export_dataset`.
    """
    from converters.exporting import export_dataset

    dataset = load_dataset(root)
    advance = reporter.track("writing", len(dataset.samples))
    report = export_dataset(dataset, output, format_, progress=lambda _done, _total: advance(""))
    value = report.to_json()
    rows = [["", ""], ["images", str(report.n_images)], ["regions", str(report.n_regions)]]
    if report.iou:
        rows.append(["masks exact", f"{value['masks_exact']} of {value['masks']}"])
        rows.append(["lowest IoU of an image", f"{value['lowest_iou']:.4f}"])
    if report.box_error is not None:
        rows.append(["largest error of a box's edge", f"{report.box_error:.2g} pixels"])
    rows += [["note", note] for note in report.notes]
    show_table(rows, title=f"Exported {root} to {output} as {format_}")


def make_report(root: Path, names: Sequence[str], *, reporter: BarReporter) -> Path:
    """Write the report from leaderboard.json, which is read and never written here.

    Runs that leaderboard.json does not have, or has for other predictions than the run holds now,
    are judged for the report alone.

    Returns:
        Its page.

    Raises:
        DefectuneError: see `evaluation.evaluate_runs` and `report.write_report`.
    """
    from evaluation import evaluate_runs, predictions_digest
    from report import write_report

    dataset = load_dataset(root)
    runs = find_runs(root, names)
    board = read_leaderboard(root, dataset.split.digest)
    rows = {} if board is None else {row["run"]: row for row in board["rows"]}
    missing = [
        run
        for run in runs
        if run.name not in rows
        or rows[run.name].get("predictions", "") not in ("", predictions_digest(run))
    ]
    if missing or not runs:
        judged = evaluate_runs(dataset, missing, say=reporter.say).to_json()
        board = judged if board is None else _joined(board, judged, root)
    predictions = [read_predictions(run, dataset) for run in runs]
    advance = reporter.track("report", len(dataset.split.test_ids))
    return write_report(
        dataset, predictions, board or {}, root / REPORT_FOLDER, progress=lambda: advance("")
    )


def read_leaderboard(root: Path, split_digest: str) -> dict[str, Any] | None:
    """leaderboard.json of a converted dataset; None where there is none of this split.

    Raises:
        InputError: a damaged file.
    """
    path = root / LEADERBOARD_FILE
    if not path.is_file():
        return None
    board = read_json(path, what="the leaderboard")
    try:
        if board["split_digest"] != split_digest:
            return None
        if not all(isinstance(row["run"], str) and row["metrics"] for row in board["rows"]):
            raise TypeError("a row has no run or no metrics")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}). Judge again with `defectune "
            f"evaluate {root}`."
        ) from error
    return dict(board)


def _joined(board: dict[str, Any], judged: dict[str, Any], root: Path) -> dict[str, Any]:
    """The leaderboard, with rows that were judged for the report alone."""
    fresh = {row["run"] for row in judged["rows"]}
    rows = [row for row in board["rows"] if row["run"] not in fresh] + judged["rows"]
    rows.sort(
        key=lambda row: (row["metrics"].get("image_auroc") or {}).get("value") or -1.0,
        reverse=True,
    )
    names = ", ".join(sorted(fresh))
    said = (
        f"{names}: judged for this report alone, and not compared with the others; `defectune "
        f"evaluate {root}` writes and compares all runs."
    )
    return board | {"rows": rows, "differences": [*board.get("differences", []), said]}
