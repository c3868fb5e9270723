"""Parts of a call of `predict`, and of the reading of `convert`, done apart; no Ray is needed."""

import contextlib
import functools
import io
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import defectune as dt
from annotations import InputError, UsageError
from converters import pool
from defectune.library import conversion, deciding, predicting, shards
from defectune.library.kept_results import partial_folder
from defectune.library.recipe import PredictOptions, open_model, run_recipe
from tests.defectune.predicted import digests, drawn_source, trained


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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return drawn_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def images(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    for number, path in enumerate(sorted(source.glob("test/*/*.png"))[:10]):
        shutil.copy(path, folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def whole(run, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    dt.predict(run, images, folder, maps=True, device="cpu", progress=False)
    return digests(folder)


@pytest.mark.parametrize("engines", [("local", "ray"), ("ray", "local"), ("ray", "ray")])
def test_a_killed_call_goes_on_also_elsewhere(
    run, images, whole, tmp_path, monkeypatch, in_this_process, engines
):
    output = tmp_path / "out"
    real, seen = deciding._predict_one, []

    def stops(*arguments):
        if len(seen) == 7:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(arguments[3].name)
        return real(*arguments)

    monkeypatch.setattr(deciding, "_predict_one", stops)
    # The last part is done before the others: it waits in a file of its own.
    part = list(shards.parts_of(partial_folder(output), sorted(images.iterdir()), size=3))[-1]
    options = {"maps": True, "device": "cpu", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        dt.predict(run, images, output, on=engines[0], **options)
    recipe = recipe_of(run)
    with io.StringIO() as text:
        deciding.predict_part(run_model(recipe), recipe, part, text, lambda _row: None)
        part.file.parent.mkdir(exist_ok=True)
        part.file.write_text(text.getvalue())
    n_before = len(seen)
    dt.predict(run, images, output, on=engines[1], **options)
    # Nothing that was done is done again, but for an unfinished part of three on Ray.
    assert len(seen) - n_before <= 3
    assert "9.png" not in seen[n_before:]
    assert digests(output) == whole


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

    monkeypatch.setattr(deciding, "decoded", blind)
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
    with pytest.raises(UsageError, match="say device='cuda', got cuda:1"):
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
