"""Cells on Ray: a task a cell with its resources; Ray moves those of a lost node elsewhere."""

from pathlib import Path

from defectune.library.environment import quiet_environment, use_threads
from defectune.ray_tasks import AT_A_TIME, Needs, lost, ray_tasks, unseen
from defectune.sweeps.cells import Cell
from defectune.sweeps.grid import Resources
from defectune.sweeps.queue import Queue
from defectune.sweeps.records import SWEEP_FILE
from defectune.sweeps.work import Failure, Work, attempt


def run_ray(queue: Queue, output: Path, work: Work, resources: Resources, address: str) -> None:
    """Do all cells of a queue; on any way out, no task and no worker of ours stays behind.

    Args:
        queue: the cells.
        output: the sweep's folder, which every node must see under the same path.
        work: what a cell is.
        resources: of a cell.
        address: see `ray_tasks.require_answer`.

    Raises:
        UsageError: no node has what a cell takes.
        InputError: no Ray could be reached.
    """
    needs = Needs(
        resources.cpus,
        resources.gpus,
        resources.memory_gb,
        what="a cell",
        remedy="Lower the grid's resources.",
    )
    place = output.resolve()
    with ray_tasks(_attempt_there, needs, address) as tasks:

        def fill() -> None:
            while len(tasks.under_way) < AT_A_TIME and (cell := queue.take()) is not None:
                tasks.begin(cell, work, cell, place, resources.cpus)

        fill()
        while tasks.under_way:
            for cell, outcome in tasks.ended():
                if isinstance(outcome, Exception):
                    outcome = f"Ray lost it ({lost(outcome)}).", ""
                queue.ended(cell, outcome)
            fill()


def _attempt_there(work: Work, cell: Cell, output: Path, threads: int) -> Failure | None:
    quiet_environment()
    use_threads(threads)
    if (why := unseen(output / SWEEP_FILE, "the datasets")) is not None:
        return why, ""
    return attempt(work, cell, output)
