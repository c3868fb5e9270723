"""A grid of trainings, one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectune.library.arguments import Place, as_path, checked, several
from defectune.library.environment import quiet_environment
from defectune.library.progress import shown

if TYPE_CHECKING:
    from defectune.sweeps.running import Sweep
    from training import Reporter


@checked
def sweep(
    grid: Place | Mapping[str, Any],
    output: Place,
    *,
    on: str = "local",
    workers: int | None = None,
    retries: int = 1,
    only: str | Sequence[str] = (),
    resume: bool = True,
    dry_run: bool = False,
    search: int | None = None,
    track: str | None = None,
    progress: "bool | Reporter" = True,
) -> "Sweep":
    """Train and evaluate every cell of a grid: dataset × model × fold × seed; ends in one table.

    Cells that are done are never done again: the same call goes on with an interrupted sweep. The
    datasets themselves get no runs and no leaderboard; both stand in `output`.

    Args:
        grid: a YAML file, or its content; see the page on sweeps.
        output: a new folder, or one of the same sweep.
        on: local; ray, ray:auto or ray:HOST:PORT (the extra `ray`).
        workers: at most so many cells at a time; None takes as many as fit.
        retries: further tries of a cell that fails.
        only: patterns of cells' names, such as `bottle--*`; none takes all.
        resume: go on where `output` holds a sweep; False refuses that.
        dry_run: say how many cells there are and how long they may take, and do nothing.
        search: search the grid's `search` settings by so many trials in all (the extra `search`),
            scored on validation images alone; None does the grid as it is.
        track: `mlflow` or `mlflow:URI` (the extra `mlflow`) tracks cells there too; without an
            address, in `output`'s mlflow.db.
        progress: bars or lines; False shows nothing; or a reporter of your own.

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
    from defectune.sweeps.running import SweepOptions, run_sweep

    quiet_environment()
    patterns = tuple(str(pattern) for pattern in several(only))
    options = SweepOptions(on, workers, retries, patterns, resume, dry_run, search, track)
    content: Path | Mapping[str, Any] = (
        grid if isinstance(grid, Mapping) else as_path(grid, what="grid")
    )
    with shown(progress) as reporter:
        return run_sweep(content, as_path(output, what="output"), options, reporter=reporter)
