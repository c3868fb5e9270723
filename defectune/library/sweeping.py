"""A grid of trainings, one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from defectune.library.arguments import Place, as_path, checked, several
from defectune.library.environment import quiet_environment
from defectune.library.options import Option
from defectune.library.progress import shown

if TYPE_CHECKING:
    from defectune.sweeps.running import Sweep
    from training import Reporter


@checked
def sweep(
    grid: Annotated[Place | Mapping[str, Any], Option(metavar="GRID")],
    output: Annotated[Place, Option(metavar="FOLDER", named=True)],
    *,
    on: str = "local",
    workers: Annotated[int | None, Option(least=1)] = None,
    retries: Annotated[int, Option(least=0)] = 1,
    only: Annotated[str | Sequence[str], Option(metavar="PATTERN")] = (),
    resume: bool = True,
    dry_run: bool = False,
    search: Annotated[int | None, Option(metavar="N", least=1)] = None,
    track: Annotated[str | None, Option(metavar="mlflow[:URI]")] = None,
    progress: "bool | Reporter" = True,
) -> "Sweep":
    """Train and evaluate every cell of a grid (dataset × model × fold × seed), for one table.

    Cells that are done are never done again: the same call goes on with an interrupted sweep. The
    datasets themselves get no runs and no leaderboard; both stand in `output`.

    Args:
        grid: YAML file, or its content: datasets, runs, folds, seeds and metrics.
        output: Folder of the sweep; a new one, or one of the same sweep.
        on: Where cells run: local, or on Ray as ray, ray:auto or ray:HOST:PORT.
        workers: Highest number of cells at a time; if not given, as many as memory and cores allow.
        retries: Number of further tries of a cell that fails.
        only: Pattern of the names of the cells to do, such as 'bottle--*'. Can be repeated.
        resume: Go on where `output` holds a begun sweep; otherwise refuse to.
        dry_run: Say how many cells there are and how long they may take, and do nothing.
        search: Search the grid's search settings by this many trials for each fold, each on
            its own, scored on its validation images alone.
        track: Track cells in MLflow too, at this address; without one, in mlflow.db in `output`.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The sweep: `tables`, `failed`, `to_markdown()` and its `page`.

    Raises:
        InputError: a key, setting, value or dataset of the grid that is not possible.
        SplitMismatchError: a dataset has another split than when the sweep was begun.
        OutputExistsError: `output` holds something else, or cells of other settings.
        UsageError: an argument of a wrong type, more workers than cores, an unknown tracker, or Ray
            or MLflow is missing.

    Example:
        >>> import defectune as dt
        >>> grid = {
        ...     "datasets": ["out"],
        ...     "runs": [{"family": "classify", "method": "patch-memory", "model": "resnet18",
        ...               "weights": "none", "image_size": [32, 64], "device": "cpu"}],
        ...     "folds": [0],
        ... }
        >>> dt.sweep(grid, "swept", dry_run=True, progress=False)
        Sweep('swept': 0 of 2 cells done)
        >>> done = dt.sweep(grid, "swept", workers=1, progress=False)
        >>> done, done.page.as_posix()
        (Sweep('swept': 2 of 2 cells done), 'swept/index.html')
    """
    quiet_environment()
    patterns = tuple(str(pattern) for pattern in several(only))
    content: Path | Mapping[str, Any] = (
        grid if isinstance(grid, Mapping) else as_path(grid, what="grid")
    )
    place = as_path(output, what="output")
    with shown(progress) as reporter:
        # Said before the families are imported, which takes seconds.
        reporter.say("Reading the grid, its datasets and the settings of its models")
        from defectune.sweeps.running import SweepOptions, run_sweep

        options = SweepOptions(on, workers, retries, patterns, resume, dry_run, search, track)
        return run_sweep(content, place, options, reporter=reporter)
