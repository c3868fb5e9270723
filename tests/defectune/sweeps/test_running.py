"""Sweeps that run: the same table whatever the order, the workers, and what is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from annotations import InputError, OutputExistsError, SplitMismatchError, UsageError
from converters import ConvertOptions
from defectune.sweeps.grid import Resources
from defectune.sweeps.local import plan_local
from defectune.sweeps.running import SweepOptions, plan_sweep, run_sweep
from tests.defectune.sweeps import works
from tests.drawn import drawn_dataset
from training import SilentReporter

RUN = {"family": "classify", "method": "patch-memory", "weights": "none", "device": "cpu"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return drawn_dataset(tmp_path_factory.mktemp("world"))


def grid(data, **more):
    runs = [{**RUN, "model": "resnet18", "image_size": [32, 64]}]
    return {"datasets": [str(data)], "runs": runs, "folds": [0], "seeds": [0, 1], **more}


def run(content, output, work, **options):
    options = SweepOptions(**{"workers": 1, **options})
    return run_sweep(content, output, options, reporter=SilentReporter(), work=work)


def log(output):
    return [json.loads(line) for line in (output / "log.txt").read_text().splitlines()]


def texts(output):
    names = ("table.csv", "table.tex", "table.md", "table.json")
    return [(output / name).read_text() for name in names]


def two_workers(monkeypatch):
    monkeypatch.setattr("converters.pool.usable_cores", lambda: 2)


def test_the_table_is_the_same_whatever_order_and_workers(data, tmp_path, monkeypatch):
    two_workers(monkeypatch)
    one = run(grid(data), tmp_path / "one", works.quick)
    two = run(grid(data), tmp_path / "two", works.slow, workers=2)
    assert one.n_done == two.n_done == one.n_cells == 4
    assert len({pid for _, pid, _ in log(tmp_path / "two")}) == 2
    run(grid(data), tmp_path / "other", works.quick, only=("*--seed-1",))
    run(grid(data), tmp_path / "other", works.quick)
    assert [name[-1] for name, *_ in log(tmp_path / "other")] == ["1", "1", "0", "0"]
    assert texts(tmp_path / "one") == texts(tmp_path / "two") == texts(tmp_path / "other")


def test_threads_are_set_for_every_library_of_a_worker(data, tmp_path):
    done = run(grid(data), tmp_path / "out", works.threads)
    assert not done.failed
    assert (tmp_path / "out" / "0.threads").read_text() == "1 1"
    assert {threads for *_, threads in log(tmp_path / "out")} == {"1"}


def test_a_failing_cell_is_tried_again_recorded_and_the_others_go_on(data, tmp_path):
    output = tmp_path / "out"
    assert run(grid(data), output, works.one_fails, retries=2).failed.keys() == {
        cell.name for cell in plan_sweep(grid(data))[2] if cell.seed == 1
    }
    records = [json.loads(p.read_text()) for p in sorted((output / "failures").iterdir())]
    assert [(r["error"], r["tries"]) for r in records] == [("ZeroDivisionError: seed 1", 3)] * 2
    assert "one_fails" in records[0]["trace"]
    assert "ZeroDivisionError" in (output / "index.html").read_text()
    done = run(grid(data), output, works.quick)
    assert done.n_done == 4
    assert not any((output / "failures").iterdir())
    assert [name[-1] for name, *_ in log(output)] == ["0", "0", "1", "1"]
    assert run(grid(data), tmp_path / "again", works.fails_once).n_done == 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_worker_costs_one_try_of_its_own_cell(data, tmp_path):
    done = run(grid(data), tmp_path / "out", works.one_dies)
    assert done.n_done == 4
    assert run(grid(data), tmp_path / "plain", works.quick).n_done == 4
    assert texts(tmp_path / "out") == texts(tmp_path / "plain")
    again = run(grid(data, seeds=[1]), tmp_path / "none", works.one_dies, retries=0)
    (error,) = again.failed.values()
    assert "memory_gb" in error


CALL = """
import json, signal, sys
from pathlib import Path
from training import SilentReporter
from defectune.sweeps.running import SweepOptions, run_sweep
from tests.defectune.sweeps import works
if __name__ == "__main__":
    # Tests that were started in the background ignore it, and what they start does too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_sweep(json.loads(sys.argv[1]), Path(sys.argv[2]), SweepOptions(workers=1),
              reporter=SilentReporter(), work=works.slow)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_called_again_it_goes_on(data, tmp_path, repo_root, number):
    script, output = tmp_path / "call.py", tmp_path / "out"
    script.write_text(CALL)
    content = grid(data, seeds=[0, 1, 2, 3])
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(content), str(output)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stderr=subprocess.DEVNULL,
    )
    while not (output / "log.txt").is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait() != 0
    (_, worker, _), *_ = before = log(output)
    for _ in range(200):
        if not alive(worker):
            break
        time.sleep(0.05)
    assert not alive(worker)
    assert 1 <= len(before) < 8
    before = log(output)
    assert run(content, output, works.quick).n_done == 8
    names = [name for name, *_ in log(output)]
    assert len(names) - len(set(names)) <= 1
    run(content, tmp_path / "plain", works.quick)
    assert texts(output) == texts(tmp_path / "plain")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_real_cell_leaves_the_dataset_alone_and_is_done_once(data, tmp_path):
    from defectune import sweep

    before = sorted(p.name for p in data.iterdir())
    output = tmp_path / "out"
    content = grid(data, seeds=[0])
    done = sweep(content, output, workers=1, progress=False)
    assert (done.n_done, done.failed) == (2, {})
    assert sorted(p.name for p in data.iterdir()) == before
    results = [json.loads(p.read_text()) for p in sorted((output / "cells").iterdir())]
    assert all(r["metrics"]["image_auroc"]["n"] > 0 for r in results)
    assert all(0 <= r["validation"]["image_auroc"] <= 1 for r in results)
    assert all(r["seconds"] >= r["training_seconds"] > 0 for r in results)
    stamps = {p: p.stat().st_mtime_ns for p in (output / "cells").iterdir()}
    assert sweep(content, output, workers=1, progress=False).n_done == 2
    assert stamps == {p: p.stat().st_mtime_ns for p in (output / "cells").iterdir()}


def test_records_of_before_are_taken(data, tmp_path):
    output = tmp_path / "out"
    run(grid(data), output, works.quick)
    for path in (output / "cells").iterdir():
        # What a record was called in before `tested`.
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "judged": record.pop("tested")}))
    assert run(grid(data), output, works.one_fails).n_done == 4
    assert len(log(output)) == 4


def test_what_does_not_belong_together_is_refused(data, tmp_path):
    output = tmp_path / "out"
    run(grid(data), output, works.quick)
    with pytest.raises(OutputExistsError, match="Choose another --output"):
        run(grid(data), output, works.quick, resume=False)
    run({**grid(data), "runs": [{**RUN, "name": "a", "image_size": 32}]}, output, works.quick)
    other = {**grid(data), "runs": [{**RUN, "name": "a", "image_size": 64}]}
    with pytest.raises(OutputExistsError, match="with other settings"):
        run(other, output, works.quick)
    strange = drawn_dataset(tmp_path / "strange", ConvertOptions(folds=3))
    with pytest.raises(SplitMismatchError, match="Choose another --output"):
        run(grid(strange), output, works.quick)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="not a sweep"):
        run(grid(data), tmp_path / "full", works.quick)
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"
    (cell, *_) = (output / "cells").iterdir()
    cell.write_text('{"key": 3}')
    with pytest.raises(InputError, match="is damaged"):
        run(grid(data), output, works.quick)


def test_a_dry_run_does_nothing_and_says_how_long_it_may_take(data, tmp_path):
    class Heard(SilentReporter):
        lines: list[str] = []  # noqa: RUF012

        def say(self, text):
            self.lines.append(text)

    output, options = tmp_path / "out", SweepOptions(dry_run=True)
    run_sweep(grid(data), output, options, reporter=Heard(), work=works.quick)
    assert not output.exists()
    assert "4 cells, 0 done; 4 to do: how long they take is not known" in Heard.lines[0]
    run(grid(data), output, works.quick, only=("*--seed-1",))
    run_sweep(grid(data), output, options, reporter=Heard(), work=works.quick)
    assert any("2 to do: about 0 s, from the 2 that are done" in line for line in Heard.lines)


def test_workers_fit_cores_and_memory(monkeypatch):
    monkeypatch.setattr("converters.pool.usable_cores", lambda: 8)
    free = type("Memory", (), {"available": 10e9})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    small = Resources(cpus=2, memory_gb=1)
    assert plan_local(small, 100, workers=None).workers == 4
    assert plan_local(small, 3, workers=None).workers == 3
    assert plan_local(small, 100, workers=2).workers == 2
    assert plan_local(small, 100, workers=None, peak_gb=4).workers == 2
    assert plan_local(Resources(cpus=1, memory_gb=400), 9, workers=None).workers == 1
    for resources, workers in ((small, 5), (Resources(cpus=9), None)):
        with pytest.raises(UsageError, match="8"):
            plan_local(resources, 9, workers=workers)


def test_an_unknown_engine_is_refused(data, tmp_path):
    with pytest.raises(UsageError, match="--on takes local"):
        run(grid(data), tmp_path / "out", works.quick, on="slurm")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
