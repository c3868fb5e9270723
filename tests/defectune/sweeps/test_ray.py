"""A real Ray of two nodes, one of which is killed in the middle: the same table."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from annotations import InputError, UsageError
from defectune.ray_tasks import require_answer
from defectune.sweeps.running import SweepOptions, run_sweep
from tests.defectune.sweeps import works
from tests.drawn import drawn_dataset
from training import SilentReporter

HAS_RAY = importlib.util.find_spec("ray") is not None
with_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (uv sync --extra ray)")

# In a process of its own: Ray's threads and sockets do not end with a test.
CALL = """
import json, os, sys, threading, time
from pathlib import Path

os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
import ray
from ray.cluster_utils import Cluster
from training import SilentReporter
from defectune.sweeps.running import SweepOptions, run_sweep
from tests.defectune.sweeps import works

if __name__ == "__main__":
    content, output, kill = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "kill"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 2 * 10**9})
    second = cluster.add_node(num_cpus=1, memory=2 * 10**9)
    cluster.wait_for_nodes()

    def kill_in_the_middle():
        while not (output / "log.txt").is_file():
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)

    if kill:
        threading.Thread(target=kill_in_the_middle, daemon=True).start()
    try:
        done = run_sweep(content, output, SweepOptions(on=f"ray:{cluster.address}"),
                         reporter=SilentReporter(), work=works.slow)
        print(done.n_done, dict(done.failed))
    finally:
        ray.shutdown()
        cluster.shutdown()
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    data = drawn_dataset(tmp_path_factory.mktemp("world"))
    run = {"family": "classify", "method": "patch-memory", "weights": "none", "image_size": 64}
    return {
        "datasets": [str(data)],
        "runs": [run],
        "folds": [0],
        "seeds": list(range(8)),
        "resources": {"cpus": 1, "memory_gb": 0.5},
    }


@with_ray
def test_a_node_killed_in_the_middle_costs_nothing(content, tmp_path, repo_root):
    (tmp_path / "call.py").write_text(CALL)
    output = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(tmp_path / "call.py"), json.dumps(content), str(output), "kill"],
        env={**os.environ, "PYTHONPATH": str(repo_root), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Ray itself reports the lost node on the same stream.
    assert {"killed", "8 {}"} <= set(done.stdout.splitlines())
    here = run_sweep(
        content, tmp_path / "here", SweepOptions(), reporter=SilentReporter(), work=works.quick
    )
    assert here.n_done == 8
    for name in ("table.csv", "table.tex", "table.md", "table.json"):
        assert (output / name).read_text() == (tmp_path / "here" / name).read_text()


@with_ray
def test_ctrl_c_leaves_no_worker_and_the_next_call_goes_on(content, tmp_path, repo_root):
    script = tmp_path / "call.py"
    script.write_text(
        "import json, sys\nfrom pathlib import Path\n"
        "from training import SilentReporter\n"
        "from defectune.sweeps.running import SweepOptions, run_sweep\n"
        "from tests.defectune.sweeps import works\n"
        "if __name__ == '__main__':\n"
        "    run_sweep(json.loads(sys.argv[1]), Path(sys.argv[2]), SweepOptions(on='ray'),\n"
        "              reporter=SilentReporter(), work=works.slow)\n"
    )
    output = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(content), str(output)],
        env={**os.environ, "PYTHONPATH": str(repo_root), "RAY_USAGE_STATS_ENABLED": "0"},
        stderr=subprocess.DEVNULL,
    )
    wait = threading.Event()
    while not (output / "log.txt").is_file() and process.poll() is None:
        wait.wait(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    pids = {json.loads(line)[1] for line in (output / "log.txt").read_text().splitlines()}
    for _ in range(200):
        if not any(alive(pid) for pid in pids):
            break
        wait.wait(0.05)
    assert pids
    assert not any(alive(pid) for pid in pids)
    done = run_sweep(content, output, SweepOptions(), reporter=SilentReporter(), work=works.quick)
    assert done.n_done == 8


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_ray_it_says_what_to_install(content, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"uv sync --extra ray"):
        run_sweep(content, tmp_path, SweepOptions(on="ray"), reporter=SilentReporter())


@pytest.mark.parametrize("address", ["nowhere", ":6379", "host:port", "h:99999", "h:" + "9" * 5000])
def test_an_address_of_no_shape_is_refused(address):
    with pytest.raises(UsageError, match="takes HOST:PORT"):
        require_answer(address)


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_does_not_answer_is_refused(listens, scheme):
    if listens and (scheme or not HAS_RAY):
        pytest.skip("Ray's client alone can tell, or Ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        with pytest.raises(InputError, match="No Ray answers at"):
            require_answer(f"{scheme}127.0.0.1:{port}")
