"""Cells side by side on this machine: a process a worker, a fixed number of threads a cell."""

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from annotations import UsageError
from annotations.workers import Worker, WorkerEnded, can_start
from defectune.library.environment import THREAD_VARIABLES, quiet_environment, use_threads
from defectune.sweeps.cells import Cell
from defectune.sweeps.grid import Resources
from defectune.sweeps.queue import Queue
from defectune.sweeps.work import Failure, Work, attempt

ENDED: Final = (
    "Its process was ended from outside, most likely for want of memory. Give a cell more "
    "(resources: memory_gb) or use fewer workers."
)


@dataclass(frozen=True)
class LocalPlan:
    """How many cells run side by side here.

    Attributes:
        workers: processes.
        threads: of each.
        gpus: numbers of the GPU that each worker uses, by worker; empty lets all see all.
        text: the reason, a sentence.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...]
    text: str


def plan_local(
    resources: Resources, n_cells: int, *, workers: int | None, peak_gb: float = 0.0
) -> LocalPlan:
    """As many workers as cores, memory and GPUs allow.

    Args:
        resources: of a cell.
        n_cells: to be done.
        workers: at most so many; None for as many as fit.
        peak_gb: most memory that a done cell took, where it is more than the grid says.

    Raises:
        UsageError: a frozen program, more workers than cores allow, a cell that needs more threads
            than there are cores, or GPUs that are not there.
    """
    import psutil

    from converters.pool import usable_cores

    if not can_start():
        raise UsageError(
            "A sweep trains in processes of Python, and this program is frozen: it has no Python "
            "to start. Run the sweep with the command `defectune sweep` or from a script."
        )
    cores = usable_cores()
    if resources.cpus > cores:
        raise UsageError(
            f"A cell takes {resources.cpus} cores (resources: cpus), and there are {cores} here."
        )
    fit = cores // resources.cpus
    if workers is not None and workers > fit:
        raise UsageError(
            f"--workers {workers} of {resources.cpus} core(s) each would oversubscribe {cores} "
            f"cores; at most {fit} fit."
        )
    free_gb = psutil.virtual_memory().available / 1e9
    need_gb = max(resources.memory_gb, peak_gb)
    by_memory = max(1, int(free_gb // need_gb))
    gpus = _gpus(resources.gpus)
    chosen = min(workers or fit, fit, by_memory, max(1, n_cells))
    if gpus:
        chosen = min(chosen, len(gpus))
    text = (
        f"{chosen} at a time, {resources.cpus} thread(s) each: {cores} core(s), {free_gb:.1f} GB "
        f"free, {need_gb:.1f} GB a cell"
        + (f", {resources.gpus:g} GPU(s) a cell" if resources.gpus else "")
    )
    return LocalPlan(chosen, resources.cpus, gpus[:chosen], text)


def _gpus(share: float) -> tuple[str, ...]:
    """The GPUs of each worker that fits, as CUDA_VISIBLE_DEVICES takes them."""
    if not share:
        return ()
    import torch

    there = torch.cuda.device_count()
    if there < share:
        raise UsageError(f"A cell takes {share:g} GPU(s) (resources: gpus), and {there} are here.")
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = named.split(",") if named else [str(n) for n in range(there)]
    if share < 1:
        return tuple(name for name in names[:there] for _ in range(int(1 / share)))
    whole = int(-(-share // 1))
    starts = range(0, there - whole + 1, whole)
    return tuple(",".join(names[n : n + whole]) for n in starts)


def run_local(queue: Queue, output: Path, work: Work, plan: LocalPlan) -> None:
    """Do all cells of a queue; on any way out, no worker stays behind."""
    busy: dict[Future[Failure | None], tuple[_Worker, Cell]] = {}
    workers = [
        _Worker(plan.threads, plan.gpus[n] if plan.gpus else None) for n in range(plan.workers)
    ]

    def begin(worker: _Worker) -> None:
        cell = queue.take()
        if cell is not None:
            busy[worker.submit(work, cell, output)] = (worker, cell)

    try:
        for worker in workers:
            begin(worker)
        while busy:
            finished, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in finished:
                worker, cell = busy.pop(future)
                queue.ended(cell, future.result())
                begin(worker)
            idle = [w for w in workers if all(w is not b for b, _ in busy.values())]
            for worker in idle:
                begin(worker)
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process and the thread that waits for it: when it dies, it is known which cell it had."""

    def __init__(self, threads: int, gpu: str | None) -> None:
        self._threads = threads
        # Set for the process as a whole: libraries read these before any of ours can tell them.
        self._environment = dict.fromkeys(THREAD_VARIABLES, str(threads))
        if gpu is not None:
            self._environment["CUDA_VISIBLE_DEVICES"] = gpu
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cell")
        self._process: Worker | None = None

    def submit(self, work: Work, cell: Cell, output: Path) -> "Future[Failure | None]":
        if self._process is None:
            self._process = Worker(self._environment)
        return self._thread.submit(self._do, self._process, work, cell, output)

    def _do(self, process: Worker, work: Work, cell: Cell, output: Path) -> Failure | None:
        try:
            return process.call(_attempt, self._threads, work, cell, output)
        except WorkerEnded:
            self._process = None
            return ENDED, ""

    def end(self) -> None:
        process = self._process
        if process is not None:
            process.end()
        self._thread.shutdown(wait=True, cancel_futures=True)


def _attempt(threads: int, work: Work, cell: Cell, output: Path) -> Failure | None:
    quiet_environment()
    use_threads(threads)
    return attempt(work, cell, output)
