"""What a sweep costs beside its trainings, and what a large one would take.

    python -m benchmarks.sweep WORK             # WORK is new; images are drawn, nothing is fetched
    python -m benchmarks.sweep WORK --small DIR # and take over the sweep of sweep_small.yaml in DIR

Each part's figures stand in benchmarks/results/sweep/PART.json once it is done; a part that has
its file is skipped, so remove the file to measure it again. results/sweep.md is written from what
is there.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import defectune as dt
from annotations.files import write_json_atomic, write_text_atomic
from converters.pool import usable_cores
from converters.synthetic import SyntheticConfig, draw_category
from defectune.sweeps.cells import Cell
from defectune.sweeps.records import write_result
from defectune.sweeps.running import SweepOptions, run_sweep
from defectune.sweeps.work import train_and_evaluate
from training import SilentReporter

RESULTS: Final = Path(__file__).parent / "results"
PARTS: Final = RESULTS / "sweep"
DATA: Final = "out"
PAIRS: Final = 6
WORKER_CELLS: Final = 12
WORKER_ROUNDS: Final = 2
NO_OPS: Final = 10_000
MANY_CELLS: Final = 1350
"""15 datasets, 6 models, 5 folds, 3 seeds."""
HYBRID: Final = RESULTS / "quality" / "magnetic_tile_hybrid_fold-0_seed-0.json"
"""The hybrid segmenter's fold 0 of magnetic tile, measured by benchmarks/quality.py."""
SMALL: Final = {"family": "classify", "method": "knn", "image_size": 128, "device": "cpu"}
_FIGURES: Final = {"image_auroc": {"value": 0.5, "low": None, "high": None, "n": 1}}


def no_op(cell: Cell, output: Path) -> None:
    """A cell that trains nothing and keeps a result."""
    kept = {"metrics": _FIGURES, "validation": {}, "seconds": 0.0, "peak_gb": 0.0}
    write_result(output, cell, kept)


def by_turns(cell: Cell, output: Path) -> None:
    """An even seed is a plain cell; an odd one the same training called directly, timed inside.

    Both run in one worker, one after the other, so that other work on the machine meets both.
    """
    if cell.seed % 2 == 0:
        train_and_evaluate(cell, output)
        return
    data = output.parent / DATA
    config = dt.ClassifyConfig(**cell.settings)
    began = time.perf_counter()
    run = dt.train(data, config, fold=cell.fold, name=f"direct-{cell.seed}", progress=False)
    dt.evaluate(data, run, fold=cell.fold, progress=False)
    seconds = time.perf_counter() - began
    write_result(
        output,
        cell,
        {"metrics": _FIGURES, "validation": {}, "seconds": seconds, "peak_gb": 0.0},
    )


class Clock(SilentReporter):
    """When each cell ended, as the leading process sees it."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def track(self, _what: str, _total: int) -> Callable[[str], None]:
        """A tick a cell."""
        return lambda _name: self.ended.append(time.perf_counter())


def grid_of(data: Path, seeds: int, **run: Any) -> dict[str, Any]:
    """One model on fold 0, with so many seeds."""
    return {
        "datasets": [str(data)], "runs": [{**SMALL, **run}], "folds": [0],
        "seeds": list(range(seeds)), "metrics": ["image_auroc"],
        "resources": {"cpus": 1, "memory_gb": 1},
    }  # fmt: skip


def timed(grid: dict[str, Any], output: Path, workers: int, **more: Any) -> float:
    """Seconds of a whole sweep, in a folder that is new."""
    began = time.perf_counter()
    # No second tries: they would come last, and cells are told apart by their order.
    options = SweepOptions(workers=workers, retries=0, resume=False)
    done = run_sweep(grid, output, options, **{"reporter": SilentReporter(), **more})
    if done.n_done != done.n_cells:
        raise SystemExit(f"Cells of {output} failed: {dict(done.failed)}")
    return time.perf_counter() - began


def overhead(work: Path) -> dict[str, Any]:
    """A cell beside the same training called directly, by turns, after a pair to warm up."""
    clock, output = Clock(), work / "by-turns"
    timed(grid_of(work / DATA, 2 * PAIRS + 2), output, 1, reporter=clock, work=by_turns)
    spans = [b - a for a, b in zip(clock.ended, clock.ended[1:], strict=False)]
    records = [json.loads(p.read_text()) for p in (output / "cells").iterdir()]
    seconds = {record["seed"]: record["seconds"] for record in records}
    # Seeds 0 and 1 import and warm up. spans[n] is what the cell of seed n + 1 took.
    cells = [spans[seed - 1] for seed in range(2, 2 * PAIRS + 2, 2)]
    direct = [seconds[seed] for seed in range(3, 2 * PAIRS + 2, 2)]
    return {"cells": cells, "direct": direct}


def workers(work: Path) -> dict[str, Any]:
    """One worker and two, by turns, start and imports included."""
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for number in range(WORKER_ROUNDS):
        for count in (1, 2):
            output = work / f"workers-{count}-{number}"
            seconds[str(count)].append(timed(grid_of(work / DATA, WORKER_CELLS), output, count))
    return {"seconds": seconds}


def schedule(work: Path) -> dict[str, Any]:
    """Ten thousand cells that do nothing, and the call after that finds them done."""
    grid = grid_of(work / DATA, 1000, batch_size=list(range(1, NO_OPS // 1000 + 1)))
    seconds = timed(grid, work / "no-ops", 1, work=no_op)
    began = time.perf_counter()
    run_sweep(grid, work / "no-ops", SweepOptions(workers=1), reporter=SilentReporter(), work=no_op)
    return {"seconds": seconds, "again": time.perf_counter() - began}


MEASURED: Final = {"overhead": overhead, "schedule": schedule, "workers": workers}


def keep(name: str, figures: dict[str, Any]) -> None:
    """Keep a part's figures with the day and the machine they were measured on."""
    here = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "cores": usable_cores()}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    write_json_atomic(PARTS / f"{name}.json", {**here, "load": load, **figures})


def take_small(swept: Path) -> dict[str, Any]:
    """The table of a sweep that is done, and what its cells took."""
    records = [json.loads(p.read_text()) for p in sorted((swept / "cells").glob("*.json"))]
    return {
        "cells": len(records),
        "seconds": sum(record["seconds"] for record in records),
        "peak_gb": max(record["peak_gb"] for record in records),
        "table": (swept / "table.md").read_text(encoding="utf-8"),
    }


def read(name: str) -> dict[str, Any] | None:
    """A part's figures, or None."""
    path = PARTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def span(values: list[float]) -> str:
    """Lowest and highest, in brackets."""
    return f"[{min(values):.2f}–{max(values):.2f}]"


def busy(part: dict[str, Any]) -> str:
    """A warning where other work held the cores."""
    if part["load"] is None or part["load"] <= part["cores"] + 1:
        return ""
    return (
        f"(load {part['load']:.1f} on {part['cores']} cores: no core was free for a second "
        "worker, so this does not say what one gains)"
    )


def page() -> str:
    """results/sweep.md, from the parts that are there."""
    parts = {name: found for name in MEASURED if (found := read(name)) is not None}
    days = sorted({part["day"] for part in parts.values()})
    cores = sorted({part["cores"] for part in parts.values()})
    lines = [
        "# What a sweep costs beside its trainings",
        "",
        "    python -m benchmarks.sweep WORK",
        "",
        f"{', '.join(days) or 'Not measured yet'}; {', '.join(map(str, cores)) or 'no'} cores, no "
        "GPU. **The machine was shared "
        "with other work all the time**, so what is compared was measured by turns and medians are "
        "given, with the lowest and highest; a difference within their spread says only that it is "
        "small. Single figures are upper bounds. The cell is a short one, of which an overhead is "
        "a large part: k nearest neighbors on EfficientNet-Lite0, 128 pixels, drawn images, one "
        "thread.",
        "",
        "| what | measured |",
        "| --- | --- |",
    ]
    extra = None
    if "overhead" in parts:
        cell = statistics.median(parts["overhead"]["cells"])
        direct = statistics.median(parts["overhead"]["direct"])
        extra = max(0.0, cell - direct)
        n = len(parts["overhead"]["cells"])
        lines += [
            f"| train and evaluate, called directly, median of {n} | "
            f"{direct:.3f} s {span(parts['overhead']['direct'])} |",
            f"| the same as a cell, by turns with it, median of {n} | "
            f"{cell:.3f} s {span(parts['overhead']['cells'])} |",
            f"| overhead of a cell | {cell - direct:+.3f} s ({100 * (cell / direct - 1):+.1f} %) |",
        ]
    if "workers" in parts:
        one, two = (statistics.median(parts["workers"]["seconds"][n]) for n in ("1", "2"))
        lines += [
            f"| {WORKER_CELLS} cells, 1 worker, start included, median of {WORKER_ROUNDS} | "
            f"{one:.1f} s {span(parts['workers']['seconds']['1'])} |",
            f"| {WORKER_CELLS} cells, 2 workers, by turns with it | {two:.1f} s "
            f"{span(parts['workers']['seconds']['2'])}, {one / two:.2f} times as fast "
            f"{busy(parts['workers'])} |",
        ]
    if "schedule" in parts:
        seconds, again = parts["schedule"]["seconds"], parts["schedule"]["again"]
        lines += [
            f"| {NO_OPS:,} cells that do nothing, 1 worker | {seconds:.0f} s "
            f"({1000 * seconds / NO_OPS:.1f} ms a cell) |",
            f"| the same call again, all done | {again:.0f} s |",
        ]
    return "\n".join([*lines, "", *many(extra), *small()]) + "\n"


def many(extra: float | None) -> list[str]:
    """What a large sweep would take, computed; `extra` seconds a cell, None if not measured."""
    told = (
        "without overhead, which was not measured"
        if extra is None
        else (f"with the overhead above ({extra:.3f} s)")
    )
    measured = json.loads(HYBRID.read_text(encoding="utf-8"))
    seconds = measured["training_s"]
    lines = [
        f"## {MANY_CELLS:,} cells",
        "",
        "Computed, not measured: 15 datasets, 6 models, 5 folds and 3 seeds, each cell as long as "
        f"the hybrid segmenter's on magnetic tile, fold 0 ({seconds:.1f} s of training on "
        f"{measured['machine']}), {told}, one cell a worker and "
        "nothing lost to shared disks. A worker is one GPU, or two cores. No GPU was measured: "
        "cells that take another time there change these figures in proportion.",
        "",
        "| GPUs (workers) | rounds | hours |",
        "| --- | --- | --- |",
    ]
    for count in (1, 8, 64):
        rounds = -(-MANY_CELLS // count)
        lines.append(f"| {count} | {rounds} | {rounds * (seconds + (extra or 0.0)) / 3600:.1f} |")
    return [*lines, ""]


def small() -> list[str]:
    """The table of the small sweep, where it was taken over."""
    found = read("small")
    if found is None:
        return []
    return [
        "## A small sweep on real images",
        "",
        "    defectune sweep benchmarks/sweep_small.yaml --output DIR",
        "",
        f"{found['day']}: {found['cells']} cells, one after the other on one thread of a shared "
        f"machine, {found['seconds']:.0f} s in all, {found['peak_gb']:.1f} GB. Bottle (MVTec AD, "
        "292 images, folds 0 and 1 of 5) and magnetic tile (694 images, tiles kept together, folds "
        "0 and 1 of 3) at 128 pixels: the sizes are small, so that it takes minutes, and the "
        "figures are not the best that the methods reach.",
        "",
        found["table"].replace("## ", "### ").rstrip(),
    ]


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="a new folder")
    parser.add_argument("--small", type=Path, help="a finished sweep of sweep_small.yaml")
    arguments = parser.parse_args()
    work: Path = arguments.work
    left = [name for name in MEASURED if read(name) is None]
    if left and work.exists():
        raise SystemExit(f"{work} is there: runs of before would be gone on with. Name a new one.")
    if left:
        config = SyntheticConfig(
            n_train_good=80, n_test_good=30, n_per_type=15, image_hw=(128, 128)
        )
        dt.convert(draw_category(work / "drawn", config), work / DATA, folds=2, progress=False)
    if arguments.small is not None:
        keep("small", take_small(arguments.small))
    write_text_atomic(RESULTS / "sweep.md", page())
    for name in left:
        keep(name, MEASURED[name](work))
        write_text_atomic(RESULTS / "sweep.md", page())
        print(f"{name}: done", flush=True)
    print(RESULTS / "sweep.md")


if __name__ == "__main__":
    main()
