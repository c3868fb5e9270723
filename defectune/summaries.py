"""Judging, tables and the report, for the commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from annotations import InputError, load_dataset, read_predictions, run_folders
from annotations.dataset import RUNS_FOLDER
from annotations.files import write_json_atomic
from defectune.console import BarReporter, out, show_table

if TYPE_CHECKING:
    from converters import ConversionReport
    from evaluation import Leaderboard

LEADERBOARD_FILE = "leaderboard.json"
REPORT_FOLDER = "report"


def show_conversion(report: "ConversionReport", output: Path) -> None:
    """Print one screen about a conversion."""
    rows = [["", ""]]
    rows.append(["layout", report.layout])
    rows.append(["images", str(sum(report.n_images.values()))])
    rows += [[f"  {name}", str(count)] for name, count in sorted(report.n_images.items())]
    rows.append(["masks", str(report.n_masks)])
    rows.append(["components", str(sum(report.n_components.values()))])
    rows += [[f"  {name}", str(count)] for name, count in sorted(report.n_components.items())]
    rows.append(["masks that came back bit for bit", f"{report.n_exact} of {report.n_masks}"])
    rows.append(["empty masks (image label kept)", str(len(report.empty_masks))])
    grey = report.ambiguous_pixels
    rows.append(["grey mask pixels, cut at half", f"{sum(grey.values())} in {len(grey)} masks"])
    rows.append(["exact duplicates (one group each)", str(len(report.duplicates))])
    rows.append(["files skipped", str(sum(report.skipped.values()))])
    rows += [[f"  {reason}", str(count)] for reason, count in sorted(report.skipped.items())]
    if report.options.group_by is not None:
        rows.append(["images that --group-by did not match", str(report.ungrouped)])
    placed = ", ".join(f"{count} by {how}" for how, count in sorted(report.placed.items()))
    rows.append(["images placed", placed])
    split = report.split
    rows.append(["split", f"{split.protocol}, {len(split.folds)} fold(s), seed {split.seed}"])
    rows.append(["split digest", split.digest[:16] + "…"])
    show_table(rows, title=f"Converted {report.source} to {output}")


def find_runs(root: Path, names: Sequence[str]) -> list[Path]:
    """Turn names or folders into run folders; all finished runs where none is named.

    Raises:
        InputError: a name that is no run.
    """
    if not names:
        return run_folders(root)
    runs = []
    for name in names:
        places = (root / RUNS_FOLDER / name, Path(name))
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            known = ", ".join(run.name for run in run_folders(root)) or "none"
            raise InputError(f"There is no run {name!r} in {root}; finished runs: {known}.")
        runs.append(found)
    return runs


def judge(
    root: Path, names: Sequence[str], *, fold: int | None, reporter: BarReporter
) -> "Leaderboard":
    """Judge runs and write leaderboard.json (for all folds only).

    Raises:
        DefectuneError: see `evaluation.evaluate_runs`.
    """
    from evaluation import evaluate_runs

    dataset = load_dataset(root)
    runs = find_runs(root, names)
    board = evaluate_runs(dataset, runs, fold=fold, say=reporter.say)
    if fold is None:
        write_json_atomic(root / LEADERBOARD_FILE, board.to_json())
    return board


def show_leaderboard(board: "Leaderboard", root: Path) -> None:
    """Print the table."""
    from evaluation import table_rows

    part = "" if board.fold is None else f", fold {board.fold} only"
    title = (
        f"{board.n_images} test images ({board.n_defective} defective), {board.protocol}{part}, "
        f"split {board.split_digest[:12]}…"
    )
    show_table(table_rows(board), title=title)
    for row in board.rows:
        if "random weights" in row.model:
            out.print(
                f"{row.run}: trained from random weights, not from pretrained ones.", markup=False
            )
    if board.fold is None:
        out.print(f"Written: {root / LEADERBOARD_FILE}", markup=False)


def make_report(root: Path, names: Sequence[str], *, reporter: BarReporter) -> Path:
    """Write the report; runs that were not judged yet are judged first.

    Returns:
        Its page.

    Raises:
        DefectuneError: see `evaluation.evaluate_runs` and `report.write_report`.
    """
    from report import write_report

    dataset = load_dataset(root)
    runs = find_runs(root, names)
    board = judge(root, names, fold=None, reporter=reporter).to_json()
    predictions = [read_predictions(run, dataset) for run in runs]
    advance = reporter.track("report", len(dataset.split.test_ids))
    return write_report(
        dataset, predictions, board, root / REPORT_FOLDER, progress=lambda: advance("")
    )
