"""Where the run is that a call names; the same rule for every command."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from annotations import InputError, run_folders
from annotations.errors import shortened
from annotations.files import read_json
from annotations.run_files import CONFIG_FILE, LEADERBOARD_FILE, RUNS_FOLDER, meta_path

_RUNS = Path(RUNS_FOLDER).name


def find_run(text: str | Path, root: Path | None = None) -> Path:
    """The folder of one run.

    Args:
        text: its folder, its name within `root`, or OUT/NAME.
        root: a converted dataset; None where the call names none, then the folder that the call
            is made in may be one.

    Returns:
        A folder that holds a run, begun or finished.

    Raises:
        InputError: there is no such run; the ones that there are are named.
    """
    given = Path(text)
    home = Path() if root is None else root
    places = [home / _RUNS / given, given, given.parent / _RUNS / given.name]
    for place in places:
        if is_run(place):
            return place
    around = root
    if around is None:
        places = [given, given.parent, given.parent.parent, home]
        around = next((p for p in places if (p / _RUNS).is_dir()), None)
    names = [] if around is None else [run.name for run in run_folders(around)]
    near = difflib.get_close_matches(given.name[:200], names, n=3)
    where = "" if around is None else f"; finished runs in {around}: {', '.join(names) or 'none'}"
    where += f" (did you mean {' or '.join(near)}?)" if near else ""
    found = " (that folder is not a run)" if given.is_dir() else ""
    raise InputError(
        f"There is no run {str(text)!r}{found}{where}. Give a run's name within OUT, or its "
        f"folder, OUT/{_RUNS}/NAME."
    )


def find_runs(root: Path, names: Sequence[str]) -> list[Path]:
    """Turn names or folders into run folders; all finished runs where none is named.

    Raises:
        InputError: a name that is no run.
    """
    return [find_run(name, root) for name in names] if names else run_folders(root)


def is_run(folder: Path) -> bool:
    """True for a folder that training or an import made."""
    marks = (folder / CONFIG_FILE, meta_path(folder))
    return any(mark.is_file() for mark in marks)


def dataset_of(run: Path) -> Path:
    """The converted dataset that a run stands in.

    Raises:
        InputError: the run stands elsewhere.
    """
    folder = run.resolve().parent
    if folder.name != _RUNS:
        raise InputError(f"{run} does not stand in a converted dataset, under OUT/{_RUNS}/.")
    return folder.parent


def operating_threshold(run: Path, fold: int, *, split_digest: str | None = None) -> float:
    """The threshold that `evaluate` chose for one fold of a run, on the calibrated scale.

    A leaderboard may be of a later version of the dataset than the run: what ties the two together
    is the digest of the predictions that the threshold was chosen for.

    Args:
        run: its folder.
        fold: of the run.
        split_digest: of the split that the leaderboard must have, where its test images are to be
            counted; None takes any.

    Raises:
        InputError: no leaderboard.json, none that chose for this run or for its predictions as
            they are, or one of another split than `split_digest`.
    """
    from evaluation import predictions_digest

    path = dataset_of(run) / LEADERBOARD_FILE
    hint = (
        f"Choose one first: `defectune evaluate {dataset_of(run)} --max-escape 0.01`, or with "
        "--cost-escape and --cost-overkill."
    )
    if not path.is_file():
        raise InputError(f"There is no {path}, so no operating point was chosen. {hint}")
    board = read_json(path, what="the leaderboard")
    try:
        if split_digest is not None and board["split_digest"] != split_digest:
            raise InputError(
                f"{path} was written for another split or version of the dataset than there is "
                f"now. {hint}"
            )
        points = {row["run"]: row for row in (board["operating_point"] or {}).get("runs", [])}
        if run.resolve().name not in points:
            raise InputError(f"{path} holds no operating point of {run.resolve().name}. {hint}")
        made_on = {row["run"]: row.get("predictions", "") for row in board["rows"]}
        if made_on.get(run.resolve().name) != predictions_digest(run):
            raise InputError(
                f"The operating point of {run.resolve().name} in {path} was chosen for other "
                "predictions than the run holds now: it was trained again since. "
                f"{hint}"
            )
        thresholds = points[run.resolve().name]["thresholds"]
        if str(fold) not in thresholds:
            raise InputError(f"{path} holds no operating point of fold {fold} of {run}. {hint}")
        return float(thresholds[str(fold)])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {shortened(error)}). {hint}"
        ) from error
