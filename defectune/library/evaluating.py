"""Evaluating runs on the same test images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from annotations import Dataset, InputError, UsageError
from annotations.errors import shortened
from annotations.files import read_json, remove_dead_files, write_json_atomic
from annotations.run_files import LEADERBOARD_FILE, RUNS_FOLDER
from defectune.library.arguments import Place, as_dataset, as_path, checked, several
from defectune.library.catching_up import catch_up
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.run import Run
from defectune.runs import find_run, find_runs

if TYPE_CHECKING:
    from evaluation import Costs, ExternalOptions, Leaderboard
    from training import Reporter


LEAST_SHARE: Final = 1e-6
"""Of parts that may be lost: to show less would take millions of them."""
_COSTS: Final = Option("Operating point")
_EXTERNAL: Final = Option("Predictions made elsewhere")


@checked
def evaluate(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    runs: Annotated[Run | Place | Sequence[Run | Place], Option(metavar="RUN")] = (),
    *,
    fold: int | None = None,
    baseline: Annotated[Run | Place | None, Option("Baseline", "RUN")] = None,
    no_regression: Annotated[float | None, Option("Baseline", "SHARE")] = None,
    cost_escape: Annotated[float | None, _COSTS] = None,
    cost_overkill: Annotated[float | None, _COSTS] = None,
    max_escape: Annotated[float | None, _COSTS] = None,
    max_overkill: Annotated[float | None, _COSTS] = None,
    defect_rate: Annotated[float | None, _COSTS] = None,
    external: Annotated[
        Mapping[str, Place] | Sequence[str], Option("Predictions made elsewhere", "NAME=PATH")
    ] = (),
    threshold: Annotated[float | None, _EXTERNAL] = None,
    region_threshold: Annotated[float | None, _EXTERNAL] = None,
    progress: "bool | Reporter" = True,
) -> "Leaderboard":
    """Evaluate runs on the same test images, and write leaderboard.json.

    Args:
        dataset: A converted dataset, or its folder.
        runs: Runs, their folders or names; all finished runs if none are given.
        fold: Evaluate the test images of this fold alone, and leave leaderboard.json as it is.
        baseline: Run that all others are compared with, image by image: what is lost, what is won.
        no_regression: Highest share of the defective parts that the baseline found that another
            run may lose, such as 0.01; must be shown at 95 %, or the exit status is 1.
        cost_escape: Cost of an escape (a defective part called good); give `cost_overkill` too.
        cost_overkill: Cost of an overkill (a good part called defective); give `cost_escape` too.
        max_escape: Highest share of defective parts that may escape.
        max_overkill: Highest share of good parts that may be called defective.
        defect_rate: Share of defective parts on your line, for the expected cost.
        external: Predictions made elsewhere, by the name that their run gets. Can be repeated.
        threshold: Threshold of the external image scores, on their own scale.
        region_threshold: Threshold of the external regions and maps, on their own scale; 0.5 if
            not given.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The leaderboard; a notebook shows it as a table.

    Raises:
        UsageError: an argument of a wrong type, or options that exclude each other.
        DefectuneError: no such run, one of another split, one that lacks predictions, or one that
            learned from parts that are tested now.

    Example:
        >>> import defectune as dt
        >>> board = dt.evaluate("out", progress=False)
        >>> [row.run for row in board.rows]
        ['quick']
    """
    from evaluation import ExternalOptions

    with shown(progress) as reporter:
        # All that can be refused is refused before the first image is read.
        costs = costs_of(cost_escape, cost_overkill, max_escape, max_overkill, defect_rate)
        given = [
            name
            for name, value in (("threshold", threshold), ("region_threshold", region_threshold))
            if value is not None
        ]
        if given and not external:
            raise UsageError(
                f"--{given[0].replace('_', '-')} is of predictions made elsewhere: give it with "
                "--external NAME=PATH. Runs that were trained here keep their own; an operating "
                "point is chosen with --max-escape, --max-overkill or costs."
            )
        options = ExternalOptions(
            threshold=threshold,
            region_threshold=0.5 if region_threshold is None else region_threshold,
        )
        if no_regression is not None and baseline is None:
            raise UsageError("--no-regression compares with a run: name it with --baseline RUN.")
        if no_regression is not None and not LEAST_SHARE <= no_regression < 1:
            raise UsageError(
                f"--no-regression takes a share from {LEAST_SHARE:g} to 1, such as 0.01 for 1 %, "
                f"got {no_regression}."
            )
        data, named, names = as_dataset(dataset), external_texts(external), run_texts(runs)
        base = None if baseline is None else run_texts(baseline)[0]
        check_request(data, names, fold=fold, external=named)
        import_external(data, named, options, reporter=reporter)
        return evaluate_dataset(
            data,
            names,
            fold=fold,
            costs=costs,
            baseline=base,
            no_regression=no_regression,
            reporter=reporter,
        )


def run_texts(runs: Run | Place | Sequence[Run | Place]) -> list[str]:
    """Runs as `defectune.runs.find_runs` takes them.

    Raises:
        UsageError: an empty name.
    """
    return [str(r.path if isinstance(r, Run) else as_path(r, what="run")) for r in several(runs)]


def external_texts(external: Mapping[str, Place] | Sequence[str]) -> list[str]:
    """Predictions made elsewhere as NAME=PATH, however they were given."""
    if isinstance(external, Mapping):
        return [f"{name}={place}" for name, place in external.items()]
    return list(external)


def evaluate_dataset(
    dataset: Dataset,
    names: Sequence[str],
    *,
    fold: int | None,
    reporter: "Reporter",
    costs: "Costs | None" = None,
    baseline: str | None = None,
    no_regression: float | None = None,
) -> "Leaderboard":
    """Evaluate runs and write leaderboard.json (for all folds only).

    Raises:
        DefectuneError: see `evaluation.evaluate_runs`.
    """
    from evaluation import evaluate_runs

    runs = find_runs(dataset.root, names)
    base = None if baseline is None else find_run(baseline, dataset.root)
    if base is not None:
        if all(run.resolve() != base.resolve() for run in runs):
            runs = [*runs, base]
        if len(runs) == 1:
            raise UsageError(
                f"{base.name} is the baseline, and there is no other run to compare with it. Train "
                "one, or name it."
            )
    catch_up(dataset, runs, reporter=reporter)
    board = evaluate_runs(
        dataset,
        runs,
        fold=fold,
        costs=costs,
        baseline=None if base is None else base.name,
        no_regression=no_regression,
        say=reporter.say,
    )
    if fold is None:
        before = read_leaderboard(dataset.root, dataset.split.digest)
        point = (before or {}).get("operating_point")
        if point and costs is None:
            reporter.say(
                f"The operating point in {LEADERBOARD_FILE} (chosen by: {point.get('rule')}) is "
                "dropped, since this call gave no costs or bound."
            )
        remove_dead_files(dataset.root)
        write_json_atomic(dataset.root / LEADERBOARD_FILE, board.to_json())
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
    dataset: Dataset, names: Sequence[str], *, fold: int | None, external: Sequence[str]
) -> None:
    """Refuse a fold, a run or an --external that does not exist, before anything is evaluated.

    Raises:
        UsageError: no such fold, or --external that is not NAME=PATH.
        InputError: no such run, or no such place.
    """
    if fold is not None and not 0 <= fold < len(dataset.split.folds):
        raise UsageError(f"There is no fold {fold}; there are {len(dataset.split.folds)}, from 0.")
    new = dict(named_external(external))
    for name, place in new.items():
        if not place.exists():
            raise InputError(f"--external {name}={place}: there is no such file or folder.")
    find_runs(dataset.root, [name for name in names if name not in new])


def named_external(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Names and places of predictions made elsewhere, each given as NAME=PATH.

    Raises:
        UsageError: not NAME=PATH, or a name that is not a plain one.
    """
    return [_named(text) for text in texts]


def _named(text: str) -> tuple[str, Path]:
    name, sign, place = text.partition("=")
    if not sign or not place or name != Path(name).name or name.startswith(".") or not name:
        raise UsageError(f"--external takes NAME=PATH with a plain name, got {text!r}.")
    return name, Path(place)


def import_external(
    dataset: Dataset,
    named: Sequence[str],
    options: "ExternalOptions",
    *,
    reporter: "Reporter",
) -> None:
    """Make runs of predictions made elsewhere, each given as NAME=PATH.

    Raises:
        UsageError: not NAME=PATH, or a name that is not a plain one.
        DefectuneError: see `evaluation.import_predictions`.
    """
    from evaluation import import_predictions

    if not named:
        return
    for name, place in named_external(named):
        run = dataset.root / RUNS_FOLDER / name
        for note in import_predictions(dataset, place, run, options):
            reporter.say(f"{name}: {note}")


def read_leaderboard(root: Path, split_digest: str) -> dict[str, Any] | None:
    """leaderboard.json of a converted dataset; None where there is none of this split.

    Raises:
        InputError: a damaged file.
    """
    from evaluation import board_damage

    path = root / LEADERBOARD_FILE
    if not path.is_file():
        return None
    board = read_json(path, what="the leaderboard")
    # Of another split it is not read further, and may be of an older form.
    digest = board.get("split_digest") if isinstance(board, dict) else None
    if isinstance(digest, str) and digest != split_digest:
        return None
    damage = board_damage(board)
    if damage is not None:
        raise InputError(
            f"{path} is damaged ({shortened(damage)}). Move it away and evaluate again with "
            f"`defectune evaluate {root}`."
        )
    return dict(board)
