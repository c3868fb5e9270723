"""Cells in a real MLflow store on disk: each once, whatever is killed or does not answer."""

import importlib.util
import json
import socket

import pytest

from annotations import InputError, UsageError
from defectune.sweeps.running import SweepOptions, run_sweep
from defectune.sweeps.tracking import Tracker, metrics_of, require_tracker, shown_uri
from tests.defectune.sweeps import works
from tests.drawn import drawn_dataset
from training import SilentReporter

HAS_MLFLOW = all(importlib.util.find_spec(n) for n in ("mlflow", "sqlalchemy", "alembic"))
with_mlflow = pytest.mark.skipif(
    not HAS_MLFLOW, reason="MLflow is not installed (uv sync --extra mlflow)"
)


class Heard(SilentReporter):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    data = drawn_dataset(tmp_path_factory.mktemp("world"))
    run = {"family": "classify", "method": "patch-memory", "weights": "none", "image_size": 64}
    grid = {"datasets": [str(data)], "runs": [run], "folds": [0], "seeds": [0, 1, 2]}
    return {**grid, "resources": {"cpus": 1, "memory_gb": 0.5}}


@pytest.fixture
def output(tmp_path):
    return tmp_path / "swept 1"


def run(content, output, track="mlflow", work=works.quick, **options):
    heard = Heard()
    options = SweepOptions(**{"workers": 1, "track": track, "retries": 0, **options})
    return run_sweep(content, output, options, reporter=heard, work=work), heard.lines


def stored(output):
    """The sweep's runs and its cells' ones, as MLflow's own client reads them."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("defectune").experiment_id
    runs = list(client.search_runs([experiment]))
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    return client, parents, sorted(children, key=lambda r: r.info.run_name)


@with_mlflow
def test_every_cell_is_a_run_under_the_sweeps(content, output):
    done, lines = run(content, output)
    client, (parent,), cells = stored(output)
    assert any("holds 3 cells of this sweep; 3 are new" in line for line in lines)
    assert [r.info.run_name for r in cells] == [
        p.stem for p in sorted((output / "cells").iterdir())
    ]
    for found in cells:
        record = json.loads((output / "cells" / f"{found.info.run_name}.json").read_text())
        assert found.info.status == "FINISHED"
        assert found.info.end_time - found.info.start_time == 100
        assert found.data.metrics == metrics_of(record)
        assert {k: found.data.params[k] for k in ("method", "fold", "seed", "image_size")} == {
            "method": "patch-memory", "fold": "0", "seed": str(record["seed"]), "image_size": "64",
        }  # fmt: skip
        assert found.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert found.data.tags["defectune.split_digest"] == record["split_digest"]
        (kept,) = client.list_artifacts(found.info.run_id)
        assert kept.path == f"{found.info.run_name}.json"
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "swept 1")
    assert parent.data.metrics == {"cells": 3, "cells_done": 3, "cells_failed": 0}
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert names == {"table.csv", "table.tex", "table.md", "table.json", "index.html"}
    page = client.download_artifacts(parent.info.run_id, "index.html")
    with open(page) as file:  # noqa: PTH123
        assert file.read() == done.page.read_text()


@with_mlflow
def test_cells_done_before_are_tracked_and_none_twice(content, output):
    run(content, output, track=None, only=("*--seed-1",))
    assert not (output / "tracking.json").exists()
    _, lines = run(content, output, work=works.one_fails, only=("*--seed-[12]",))
    assert any("2 are new" in line for line in lines)
    _, lines = run(content, output)
    assert any("holds 3 cells of this sweep; 1 are new" in line for line in lines)
    _, lines = run(content, output)
    assert any("0 are new" in line for line in lines)
    _, parents, cells = stored(output)
    assert (len(parents), len(cells)) == (1, 3)


@with_mlflow
def test_failed_cells_are_told_by_the_sweeps_run(content, output):
    done, _ = run(content, output, work=works.one_fails)
    _, (parent,), cells = stored(output)
    assert (len(done.failed), len(cells)) == (1, 2)
    assert (parent.info.status, parent.data.metrics["cells_failed"]) == ("FAILED", 1)


@with_mlflow
def test_a_run_left_half_is_completed_and_not_made_again(content, output, monkeypatch):
    def breaks(self, cell, result):
        self._client.set_terminated = lambda *_args, **_more: 1 / 0
        whole(self, cell, result)

    whole = Tracker._add
    monkeypatch.setattr(Tracker, "_add", breaks)
    done, lines = run(content, output)
    assert (done.n_done, done.failed) == (3, {})
    (warning,) = [line for line in lines if line.startswith("Warning")]
    assert "division by zero" in warning
    assert "call again with the same --track" in warning
    monkeypatch.undo()
    _, (parent,), cells = stored(output)
    assert [r.info.status for r in cells] == [parent.info.status] == ["RUNNING"]
    run(content, output)
    _, (parent,), cells = stored(output)
    assert [r.info.status for r in cells] == ["FINISHED"] * 3
    assert parent.info.status == "FINISHED"


@with_mlflow
def test_a_server_that_does_not_answer_costs_no_result(content, output):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done, lines = run(content, output, track=f"mlflow:http://me:secret@127.0.0.1:{port}")
    assert (done.n_done, done.failed) == (3, {})
    assert done.page.is_file()
    (warning,) = [line for line in lines if line.startswith("Warning")]
    assert f"MLflow at http://127.0.0.1:{port} failed" in warning
    assert "secret" not in "".join(lines)
    run(content, output)
    assert len(stored(output)[2]) == 3


@with_mlflow
def test_a_store_of_ones_own_takes_several_sweeps(content, tmp_path):
    store = f"mlflow:sqlite:///{tmp_path / 'mlflow.db'}"
    for name in ("one", "two"):
        run(content, tmp_path / name, track=store)
        assert not (tmp_path / name / "mlflow.db").exists()
    _, parents, cells = stored(tmp_path)
    assert sorted(r.info.run_name for r in parents) == ["one", "two"]
    assert len(cells) == 6


@with_mlflow
def test_a_damaged_id_is_refused(content, output):
    run(content, output)
    (output / "tracking.json").write_text('{"sweep": "x\' OR 1"}')
    with pytest.raises(InputError, match="is damaged"):
        run(content, output)


@pytest.mark.parametrize(
    "track",
    ["wandb", "", "mlflow:", "mlflow:mlruns", "mlflow:file:///runs", "mlflow:http://",
     "mlflow:sqlite:///", "mlflow:http://[", "mlflow:postgresql://me:secret@host/db"],
)  # fmt: skip
def test_what_is_no_tracker_is_refused_before_anything_runs(content, output, track):
    with pytest.raises(UsageError, match="--track") as error:
        run(content, output, track=track)
    assert "secret" not in str(error.value)
    assert not output.exists()


def test_without_mlflow_it_says_what_to_install(content, output, monkeypatch):
    monkeypatch.setattr("defectune.sweeps.tracking.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"uv sync --extra mlflow"):
        run(content, output)
    assert not output.exists()


def test_a_store_in_a_folder_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("defectune.sweeps.tracking.find_spec", lambda _name: True)
    with pytest.raises(UsageError, match="does not exist"):
        require_tracker(f"mlflow:sqlite:///{tmp_path / 'none' / 'mlflow.db'}")


def test_a_search_is_not_tracked(content, output, monkeypatch):
    monkeypatch.setattr("defectune.sweeps.tracking.find_spec", lambda _name: True)
    monkeypatch.setattr("defectune.sweeps.running.require_optuna", lambda: None)
    searched = {**content, "search": {"image_size": [32, 64]}}
    with pytest.raises(UsageError, match="--track"):
        run(searched, output, search=2)


def test_passwords_are_not_shown():
    assert shown_uri("http://me:p@ss@host/x at http://a:b@c") == "http://host/x at http://c"
