"""`predict` and `convert` on Ray: the files of one process, also where a node is killed."""

import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import defectune as dt
from annotations import InputError, UsageError
from converters import pool
from converters.synthetic import SyntheticConfig, draw_category
from defectune.library import conversion, predicting, shards
from defectune.library.kept_results import partial_folder
from defectune.library.recipe import PredictOptions, open_model, run_recipe
from tests.drawn import drawn_dataset

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (uv sync --extra ray)"
)

# In a process of its own: Ray's threads and sockets do not end with a test.
CALL = """
import os, sys, threading, time
from pathlib import Path

os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
import ray
from ray.cluster_utils import Cluster
import defectune as dt
from converters import pool
from defectune.library import predicting, shards
from defectune.library.kept_results import partial_folder

if __name__ == "__main__":
    what, first, second, output = sys.argv[1], *map(Path, sys.argv[2:5])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    small = lambda *arguments: shards.parts_of(*arguments, size=4)
    predicting.parts_of = small
    pool.CHUNK = 2

    def begun():
        if what == "convert":
            return bool(done)
        return partial_folder(output).joinpath("shards").is_dir()

    def kill_in_the_middle():
        while not begun():
            time.sleep(0.01)
        cluster.remove_node(node, allow_graceful=False)
        print("killed", flush=True)

    done = []
    facts = pool._facts

    def watched(chunks):
        for one in facts(chunks):
            done.append(one)
            # So that the node goes while there is work left.
            time.sleep(0.01)
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


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = SyntheticConfig(n_train_good=6, n_test_good=4, n_per_type=4, image_hw=(64, 64))
    data = drawn_dataset(tmp_path_factory.mktemp("world"), config=config)
    return dt.train(
        data, "classify", method="patch-memory", model="resnet18", weights="none", image_size=64,
        fold=0, device="cpu", progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    config = SyntheticConfig(n_train_good=20, n_test_good=10, n_per_type=8, image_hw=(64, 64))
    return draw_category(tmp_path_factory.mktemp("source"), config)


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
        ("ray", r"pip install 'defectune\[ray\]'"),
        ("rya", r"--on takes local or ray"),
        ("local:6379", r"--on takes local or ray"),
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


class Here:
    """Does at once what Ray would do elsewhere; the machinery around the tasks stays the same."""

    def __init__(self, function):
        self.function = function

    def in_order(self, calls):
        for call in list(calls):
            yield self.function(*call)


@pytest.fixture
def in_this_process(monkeypatch):
    @contextlib.contextmanager
    def tasks(function, needs, address):
        yield Here(function)

    from defectune.library import predicting_on_ray, reading_on_ray

    for module in (predicting_on_ray, reading_on_ray):
        monkeypatch.setattr(module, "ray_tasks", tasks)
        monkeypatch.setattr(module, "enter", lambda _folder: None)
        monkeypatch.setattr(module, "use_threads", lambda _threads: None)
    for module in (predicting, conversion):
        monkeypatch.setattr(module, "require_engine", lambda _on: None)
    monkeypatch.setattr(predicting, "parts_of", functools.partial(shards.parts_of, size=3))
    predicting_on_ray._opened.clear()
    return predicting_on_ray


@pytest.fixture
def images(source, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for number, path in enumerate(sorted(source.glob("test/*/*.png"))[:10]):
        shutil.copy(path, folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("engines", [("local", "ray"), ("ray", "local"), ("ray", "ray")])
def test_a_killed_call_goes_on_also_elsewhere(
    run, images, tmp_path, monkeypatch, in_this_process, engines
):
    output = tmp_path / "out"
    real, seen = predicting._predict_one, []

    def stops(*arguments):
        if len(seen) == 7:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(arguments[3].name)
        return real(*arguments)

    monkeypatch.setattr(predicting, "_predict_one", stops)
    # The last part is done before the others: it waits in a file of its own.
    part = list(shards.parts_of(partial_folder(output), sorted(images.iterdir()), size=3))[-1]
    options = {"maps": True, "device": "cpu", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        dt.predict(run, images, output, on=engines[0], **options)
    recipe = recipe_of(run)
    with io.StringIO() as text:
        predicting.predict_part(run_model(recipe), recipe, part, text, lambda _row: None)
        part.file.parent.mkdir(exist_ok=True)
        part.file.write_text(text.getvalue())
    n_before = len(seen)
    dt.predict(run, images, output, on=engines[1], **options)
    # Nothing that was done is done again, but for an unfinished part of three on Ray.
    assert len(seen) - n_before <= 3
    assert "9.png" not in seen[n_before:]
    monkeypatch.setattr(predicting, "_predict_one", real)
    dt.predict(run, images, tmp_path / "whole", **options)
    assert digests(output) == digests(tmp_path / "whole")


def recipe_of(run):
    return run_recipe(run.path, PredictOptions(device="cpu", maps=True))


def run_model(recipe):
    return open_model(recipe, PredictOptions(device="cpu"))


def test_a_node_that_does_not_see_the_images_is_named(
    run, images, tmp_path, monkeypatch, in_this_process
):
    def blind(paths, _bit_depth):
        for path in paths:
            yield path, FileNotFoundError(f"{path} is not there.")

    monkeypatch.setattr(predicting, "decoded", blind)
    with pytest.raises(InputError, match=r"The node .* cannot read images that can be read here"):
        dt.predict(run, images, tmp_path / "out", on="ray", device="cpu", progress=False)
    monkeypatch.undo()
    done = dt.predict(run, images, tmp_path / "out", device="cpu", progress=False)
    assert (done.n_images, done.n_failed) == (10, 0)


def test_a_worker_opens_a_model_once_and_another_model_is_refused(
    run, images, tmp_path, monkeypatch, in_this_process
):
    opened = []
    real = in_this_process.open_model
    monkeypatch.setattr(in_this_process, "open_model", lambda *a: opened.append(1) or real(*a))
    dt.predict(run, images, tmp_path / "out", on="ray", device="cpu", progress=False)
    assert opened == [1]
    in_this_process._opened.clear()
    digests_in_turn = iter(["0" * 64])
    whole = in_this_process.sha256_of
    monkeypatch.setattr(
        in_this_process, "sha256_of", lambda path: next(digests_in_turn, None) or whole(path)
    )
    with pytest.raises(InputError, match="sees another"):
        dt.predict(run, images, tmp_path / "more", on="ray", device="cpu", progress=False)


def test_a_gpu_of_a_number_is_refused(run, images, tmp_path, in_this_process):
    with pytest.raises(UsageError, match="say --device cuda, got cuda:1"):
        dt.predict(run, images, tmp_path / "out", on="ray", device="cuda:1", progress=False)


def test_a_damaged_part_is_named(run, images, tmp_path, in_this_process, monkeypatch):
    output = tmp_path / "out"
    part = next(shards.parts_of(partial_folder(output), sorted(images.iterdir()), size=3))
    part.file.parent.mkdir(parents=True)
    part.file.write_text('{"row": {"image": "other", "error": ""}}\n')
    with pytest.raises(InputError, match=r"0-3.jsonl is damaged \(other images than expected\)"):
        dt.predict(run, images, output, on="ray", device="cpu", progress=False)


def test_a_fault_that_only_a_node_finds_is_said_to_be_the_nodes(
    source, tmp_path, in_this_process, monkeypatch
):
    from defectune.library import reading_on_ray

    real, calls = reading_on_ray.read_chunk, []

    def blind(chunk, options):
        calls.append(chunk)
        return real(chunk, options) if len(calls) % 2 == 0 else [InputError("There is no a.png.")]

    monkeypatch.setattr(reading_on_ray, "read_chunk", blind)
    monkeypatch.setattr(pool, "CHUNK", 1000)
    with pytest.raises(InputError, match=r"cannot read what can be read here: There is no a\.png"):
        dt.convert(source, tmp_path / "out", on="ray", progress=False)


@given(n=st.integers(0, 40), start=st.integers(0, 40), size=st.integers(1, 12))
def test_parts_hold_every_image_once(n, start, size):
    images = [Path(f"{i % 3}/{i % 5}.png") for i in range(n)]
    start = min(start, n)
    parts = list(shards.parts_of(Path("out"), images, start, size=size))
    assert [path for part in parts for path in part.paths] == images[start:]
    names = list(shards.overlay_names(images))
    assert [name for part in parts for name in part.names] == names[start:]
    assert all(0 < len(part.paths) <= size for part in parts)
    # Whoever goes on finds the parts of the call before.
    whole = {part.file for part in shards.parts_of(Path("out"), images, size=size)}
    assert all(part.file in whole for part in parts if part.start % size == 0)
