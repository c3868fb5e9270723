"""A sweep from its grid to its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import OutputExistsError, UsageError
from annotations.errors import shortened
from annotations.locks import hold_lock
from defectune.ray_tasks import require_engine
from defectune.sweeps.cells import Cell, cells_of, select_cells
from defectune.sweeps.files import to_markdown, write_tables
from defectune.sweeps.grid import Grid, dataset_folders, models_of, parse_grid, read_grid
from defectune.sweeps.local import LocalPlan, plan_local, run_local
from defectune.sweeps.queue import Queue
from defectune.sweeps.records import LOCK_FILE, open_sweep, read_results, seconds_left
from defectune.sweeps.search import Search, check_search, n_folds, require_optuna, run_search
from defectune.sweeps.table import MetricTable, tables_of
from defectune.sweeps.tracking import Tracker, require_tracker
from defectune.sweeps.work import Work, train_and_evaluate

if TYPE_CHECKING:
    from training import Reporter


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep runs.

    Attributes:
        on: the engine.
        workers: at most so many cells at a time; None for as many as fit.
        retries: further tries of a cell that fails.
        only: patterns of cells' names; none takes all.
        resume: go on in a sweep that was begun.
        dry_run: say what would be done, and do nothing.
        search: trials of a search for settings, for each fold; None does the grid as it is.
        track: where cells are tracked beside the sweep's folder, mlflow[:URI]; None for nowhere.
    """

    on: str = "local"
    workers: int | None = None
    retries: int = 1
    only: tuple[str, ...] = ()
    resume: bool = True
    dry_run: bool = False
    search: int | None = None
    track: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to.

    Attributes:
        path: its folder.
        n_cells: cells of the grid.
        n_done: those with a result, done now or before.
        failed: errors of cells that failed in this call, by name.
        tables: one a metric.
        page: index.html; None of a dry run and of a search.
        search: trials and what mattered; None where nothing was searched.
    """

    path: Path
    n_cells: int
    n_done: int
    failed: Mapping[str, str]
    tables: tuple[MetricTable, ...]
    page: Path | None
    search: Search | None = None

    def __repr__(self) -> str:
        if self.search is not None:
            return f"Sweep({self.path.as_posix()!r}: {self.search!r})"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return (
            f"Sweep({self.path.as_posix()!r}: {self.n_done} of {self.n_cells} cells done{failed})"
        )

    def to_markdown(self) -> str:
        """The tables in Markdown, with the differences in words."""
        return to_markdown(self.tables)


def plan_sweep(
    grid: Path | Mapping[str, Any],
) -> tuple[Grid, dict[str, Path], list[Cell]]:
    """Read a grid and check all of it: datasets, settings, folds, names.

    Raises:
        InputError: whatever is wrong with it, before anything runs.
    """
    if isinstance(grid, Path):
        source, base = str(grid), grid.parent
        checked = read_grid(grid)
    else:
        source, base = "The grid", Path()
        checked = parse_grid(grid, source=source)
    datasets = dataset_folders(checked, base, source=source)
    models = models_of(checked, source=source)
    return checked, datasets, cells_of(checked, models, datasets)


def run_sweep(
    grid: Path | Mapping[str, Any],
    output: Path,
    options: SweepOptions,
    *,
    reporter: "Reporter",
    work: Work = train_and_evaluate,
) -> Sweep:
    """Do what is not done of a grid, and write the table.

    Args:
        grid: its file, or its content.
        output: the sweep's folder.
        options: how.
        reporter: for progress.
        work: what a cell is.

    Raises:
        DefectuneError: see `plan_sweep` and `records.open_sweep`; an engine or a tracker that
            cannot be had.
    """
    require_engine(options.on)
    if options.track is not None:
        require_tracker(options.track)
    if options.retries < 0 or (options.workers is not None and options.workers < 1):
        raise UsageError("--retries takes 0 or more, --workers 1 or more.")
    checked, datasets, cells = plan_sweep(grid)
    if options.search is not None:
        source = str(grid) if isinstance(grid, Path) else "The grid"
        check_search(checked, options.search, source=source)
        require_optuna()
        if options.dry_run or options.only or options.track is not None:
            raise UsageError("--search goes with none of --dry-run, --only and --track.")
        return _search(checked, datasets, cells, output, options, source, reporter, work)
    if checked.search:
        reporter.say("The grid's `search` is left out: it is for --search N.")
    chosen = select_cells(cells, options.only)
    if options.dry_run:
        results = read_results(output, cells)
        _say_plan(chosen, results, checked, options, reporter)
        tables = tuple(tables_of(cells, results, checked.metrics)) if results else ()
        return Sweep(output, len(cells), len(results), {}, tables, None)
    with hold_lock(output / LOCK_FILE, lambda who: OutputExistsError(_taken(output, who))):
        open_sweep(output, datasets, cells, resume=options.resume)
        results = read_results(output, cells)
        workers = _say_plan(chosen, results, checked, options, reporter)
        waiting = [cell for cell in chosen if cell.name not in results]
        tracker = None
        if options.track is not None:
            tracker = Tracker(options.track, output, say=reporter.say)
            tracker.begin(chosen, results)
        advance = reporter.track("cells", len(waiting)) if waiting else None

        def on_end(cell: Cell, error: str | None) -> None:
            if error is not None:
                reporter.say(f"{cell.name} failed: {shortened(error, 600)}")
            elif tracker is not None:
                tracker.add(cell, read_results(output, [cell])[cell.name])
            if advance is not None:
                advance(cell.name)

        queue = Queue(waiting, output, retries=options.retries, on_end=on_end)
        try:
            if waiting:
                _run(queue, output, work, checked, options, workers)
        finally:
            # Also on Ctrl-C: what is done stands in the table.
            results = read_results(output, cells)
            tables = tuple(tables_of(cells, results, checked.metrics))
            page = write_tables(output, tables, queue.failed, title=output.absolute().name)
            if tracker is not None:
                left = [c for c in chosen if c.name not in results and c.name not in queue.failed]
                tracker.end(len(results), len(cells), len(queue.failed), interrupted=bool(left))
    return Sweep(output, len(cells), len(results), queue.failed, tables, page)


def _search(
    grid: Grid,
    datasets: Mapping[str, Path],
    cells: Sequence[Cell],
    output: Path,
    options: SweepOptions,
    source: str,
    reporter: "Reporter",
    work: Work,
) -> Sweep:
    failed: dict[str, str] = {}

    def do_cells(trial: Sequence[Cell]) -> Mapping[str, Mapping[str, Any]]:
        results = read_results(output, trial)
        waiting = [cell for cell in trial if cell.name not in results]

        def on_end(cell: Cell, error: str | None) -> None:
            if error is not None:
                reporter.say(f"{cell.name} failed: {shortened(error, 600)}")

        queue = Queue(waiting, output, retries=options.retries, on_end=on_end)
        if waiting:
            peak = max((float(r["peak_gb"]) for r in results.values()), default=0.0)
            plan = None
            if options.on == "local":
                plan = plan_local(
                    grid.resources, len(waiting), workers=options.workers, peak_gb=peak
                )
            _run(queue, output, work, grid, options, plan)
        failed.update(queue.failed)
        return read_results(output, trial)

    n_trials = options.search or 0
    with hold_lock(output / LOCK_FILE, lambda who: OutputExistsError(_taken(output, who))):
        open_sweep(output, datasets, cells, resume=options.resume)
        advance = reporter.track("trials", n_trials * n_folds(grid, datasets))

        def say(text: str) -> None:
            reporter.say(text)
            advance("")

        found = run_search(
            grid, datasets, output, n_trials, source=source, do_cells=do_cells, say=say
        )
    n_done = sum(trial.value is not None for trial in found.trials)
    return Sweep(output, len(found.trials), n_done, failed, (), None, found)


def _taken(output: Path, who: str) -> str:
    return f"Another sweep writes to {output}{who}. Wait until it has ended."


def _run(
    queue: Queue,
    output: Path,
    work: Work,
    grid: Grid,
    options: SweepOptions,
    plan: LocalPlan | None,
) -> None:
    if plan is not None:
        run_local(queue, output, work, plan)
        return
    from defectune.sweeps.on_ray import run_ray

    run_ray(queue, output, work, grid.resources, options.on.partition(":")[2])


def _say_plan(
    chosen: Sequence[Cell],
    results: Mapping[str, Mapping[str, Any]],
    grid: Grid,
    options: SweepOptions,
    reporter: "Reporter",
) -> LocalPlan | None:
    n_done = sum(cell.name in results for cell in chosen)
    left = len(chosen) - n_done
    peak = max((float(r["peak_gb"]) for r in results.values()), default=0.0)
    on_ray = options.on != "local"
    plan = (
        None if on_ray else plan_local(grid.resources, left, workers=options.workers, peak_gb=peak)
    )
    seconds = seconds_left(chosen, results, 1 if plan is None else plan.workers)
    how_long = (
        "how long they take is not known before one is done"
        if seconds is None
        else f"about {duration(seconds)}{' on one worker' * on_ray}, from the {len(results)} that "
        "are done"
    )
    if left:
        reporter.say(f"{len(chosen)} cells, {n_done} done; {left} to do: {how_long}.")
        if plan is not None:
            reporter.say(f"{plan.text}.")
    else:
        reporter.say(f"{len(chosen)} cells, all done.")
    return plan


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
