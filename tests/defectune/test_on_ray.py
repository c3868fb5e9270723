"""`predict` and `convert` on Ray: the files of one process, also where a node is killed."""

import importlib.util
import os
import subprocess
import sys
import zipfile

import pytest

import defectune as dt
from annotations import UsageError
from tests.defectune.predicted import digests, drawn_source, trained

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (uv sync --extra ray)"
)

# In a process of its own: Ray's threads and sockets do not end with a test.
CALL = """
import functools, os, sys, threading, time
from pathlib import Path

os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
import ray
from ray.cluster_utils import Cluster
import defectune as dt
from converters import pool
from defectune.library import predicting, shards
from defectune.library.kept_results import partial_folder
from defectune.ray_tasks import Tasks

if __name__ == "__main__":
    what, first, second, output = sys.argv[1], *map(Path, sys.argv[2:5])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    small = lambda *arguments: shards.parts_of(*arguments, size=4)
    predicting.parts_of = small
    pool.CHUNK = 2
    # So that tasks are still to be given when the node goes.
    Tasks.in_order = functools.partialmethod(Tasks.in_order, at_a_time=8)

    def begun():
        if what == "convert":
            return bool(done)
        return partial_folder(output).joinpath("shards").is_dir()

    def kill_in_the_middle():
        while not begun():
            time.sleep(0.01)
        # A node at work, and not one that waits for some.
        while what == "predict" and ray.available_resources().get("CPU", 0) and not output.exists():
            time.sleep(0.01)
        cluster.remove_node(node, allow_graceful=False)
        print("too late" if output.exists() else "killed", flush=True)

    done = []
    facts = pool._facts

    def watched(chunks):
        for one in facts(chunks):
            done.append(one)
            time.sleep(0.05)
            yield one

    pool._facts = watched
    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    on = f"ray:{cluster.address}"
    try:
        if what == "convert":
            dt.convert(first, output, on=on, progress=False)
        else:
            dt.predict(first, second, output, maps=True, on=on, progress=False)
    finally:
        killer.join(30)
        ray.shutdown()
        cluster.shutdown()
"""


def call(repo_root, folder, *arguments):
    script = folder / "call.py"
    script.write_text(CALL)
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(repo_root),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "killed" in done.stdout.splitlines()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return drawn_source(tmp_path_factory.mktemp("source"))


@with_ray
def test_a_node_killed_while_images_are_predicted_costs_nothing(run, source, tmp_path, repo_root):
    (source / "broken.png").write_bytes(b"no image")
    call(repo_root, tmp_path, "predict", run.path, source, tmp_path / "ray")
    one = ["import sys, defectune as dt",
           "dt.predict(*sys.argv[1:], maps=True, device='cpu', progress=False)"]  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", "\n".join(one), run.path, source, tmp_path / "here"],
        env={**os.environ, "PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1"},
        check=True,
        cwd=tmp_path,
    )
    (source / "broken.png").unlink()
    assert digests(tmp_path / "ray") == digests(tmp_path / "here")
    assert len(digests(tmp_path / "ray")) > 100
    assert not list(tmp_path.glob(".*"))


@with_ray
def test_a_node_killed_while_images_are_read_costs_nothing(source, tmp_path, repo_root):
    call(repo_root, tmp_path, "convert", source, tmp_path, tmp_path / "ray")
    dt.convert(source, tmp_path / "here", workers=1, progress=False)
    assert digests(tmp_path / "ray") == digests(tmp_path / "here")


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("ray", r"uv sync --extra ray"),
        ("rya", r"on takes local or ray"),
        ("local:6379", r"on takes local or ray"),
    ],
)
def test_an_engine_that_is_not_there_is_refused_before_anything_is_written(
    run, source, tmp_path, monkeypatch, on, message
):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else real(name)
    )
    with pytest.raises(UsageError, match=message):
        dt.predict(run, source, tmp_path / "out", on=on, progress=False)
    with pytest.raises(UsageError, match=message):
        dt.convert(source, tmp_path / "out", on=on, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_zip_is_not_read_on_ray(tmp_path):
    from defectune.library.reading_on_ray import ray_pool

    place = tmp_path / "set.zip"
    with zipfile.ZipFile(place, "w") as file:
        file.writestr("a.txt", "x")
    with pytest.raises(UsageError, match="is unpacked on this machine alone"):
        ray_pool(place, "")
