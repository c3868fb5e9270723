"""The report about runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotations import Dataset, read_predictions
from annotations.run_files import REPORT_FOLDER
from defectune.library.arguments import Place, as_dataset, checked
from defectune.library.evaluating import check_request, read_leaderboard, run_texts
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.run import Run
from defectune.runs import find_runs

if TYPE_CHECKING:
    from training import Reporter


@checked
def report(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    runs: Annotated[Run | Place | Sequence[Run | Place], Option(metavar="RUN")] = (),
    *,
    fold: int | None = None,
    max_escape: float | None = None,
    pdf: bool = False,
    progress: "bool | Reporter" = True,
) -> Path:
    """Write report/index.html: the table, and truth beside every model's prediction.

    Args:
        dataset: A converted dataset, or its folder.
        runs: Runs, their folders or names; all finished runs if none are given.
        fold: Show the test images of one fold only; if not given and all runs have finished one
            and the same fold alone, that one.
        max_escape: Highest share of defective parts that may escape: the page says whether the test
            images prove it, and how many more parts would. Without it the page shows what accept
            decided of a run, if that was of the same split, labels and predictions.
        pdf: Also write report/report.pdf, with Chromium or Chrome if it is installed.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The page.

    Raises:
        UsageError: an argument of a wrong type.
        DefectuneError: no such run, one of another split, or one that lacks predictions.

    Example:
        >>> import defectune as dt
        >>> page = dt.report("out", "quick", progress=False)
        >>> page.as_posix()
        'out/report/index.html'
    """
    from report.head import check_limit
    from report.printing import print_report

    with shown(progress) as reporter:
        data, names = as_dataset(dataset), run_texts(runs)
        check_request(data, names, fold=fold, external=())
        check_limit(max_escape)
        page = make_report(data, names, fold=fold, max_escape=max_escape, reporter=reporter)
        if pdf:
            reporter.say(f"Printed: {print_report(page)}")
        return page


def make_report(
    dataset: Dataset,
    names: Sequence[str],
    *,
    reporter: "Reporter",
    fold: int | None = None,
    max_escape: float | None = None,
) -> Path:
    """Write the report from leaderboard.json, which is read and never written here.

    Runs that leaderboard.json does not have, or has for other predictions than the run holds now,
    are evaluated for the report alone.

    Returns:
        Its page.

    Raises:
        DefectuneError: see `evaluation.evaluate_runs` and `report.write_report`.
    """
    from evaluation import evaluate_runs, predictions_digest

    runs = find_runs(dataset.root, names)
    if fold is None and (fold := _only_fold(dataset, runs)) is not None:
        reporter.say(
            f"Only fold {fold} of {len(dataset.split.folds)} is trained: the report shows its "
            f"{len(dataset.split.folds[fold].test)} test images alone."
        )
    if fold is not None:
        # leaderboard.json is of all folds.
        of_fold = evaluate_runs(dataset, runs, fold=fold, say=reporter.say).to_json()
        return _write(dataset, runs, of_fold, fold, reporter, max_escape)
    board = read_leaderboard(dataset.root, dataset.split.digest)
    rows = {} if board is None else {row["run"]: row for row in board["rows"]}
    missing = [
        run
        for run in runs
        if run.name not in rows
        or rows[run.name].get("predictions", "") not in ("", predictions_digest(run))
    ]
    if missing or not runs:
        fresh_board = evaluate_runs(dataset, missing, say=reporter.say).to_json()
        board = fresh_board if board is None else _joined(board, fresh_board, dataset.root)
    return _write(dataset, runs, board or {}, None, reporter, max_escape)


def _only_fold(dataset: Dataset, runs: Sequence[Path]) -> int | None:
    """The fold that all runs have finished, where it is the same and not all there is."""
    if len(dataset.split.folds) == 1 or not runs:
        return None
    folds = {
        tuple(sorted(read_predictions(run, dataset, with_late_leaks=True).folds)) for run in runs
    }
    (first, *others) = folds
    return first[0] if not others and len(first) == 1 else None


def _write(
    dataset: Dataset,
    runs: Sequence[Path],
    board: Mapping[str, Any],
    fold: int | None,
    reporter: "Reporter",
    max_escape: float | None,
) -> Path:
    from report import write_report

    predictions = [read_predictions(run, dataset, with_late_leaks=True) for run in runs]
    ids = dataset.split.test_ids if fold is None else dataset.split.folds[fold].test
    advance = reporter.track("report", len(ids))
    return write_report(
        dataset,
        predictions,
        board,
        dataset.root / REPORT_FOLDER,
        fold=fold,
        max_escape=max_escape,
        progress=lambda: advance(""),
    )


def _joined(board: dict[str, Any], fresh_board: dict[str, Any], root: Path) -> dict[str, Any]:
    """The leaderboard, with rows that were evaluated for the report alone."""
    fresh = {row["run"] for row in fresh_board["rows"]}
    rows = [row for row in board["rows"] if row["run"] not in fresh] + fresh_board["rows"]
    rows.sort(
        key=lambda row: (row["metrics"].get("image_auroc") or {}).get("value") or -1.0,
        reverse=True,
    )
    names = ", ".join(sorted(fresh))
    said = (
        f"{names}: evaluated for this report alone, and not compared with the others; `defectune "
        f"evaluate {root}` writes and compares all runs."
    )
    return board | {"rows": rows, "differences": [*board.get("differences", []), said]}
