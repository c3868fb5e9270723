"""A run's models and predictions belong together, and to their images, or it is said."""

import json
import shutil

import numpy as np
import pytest

import defectune as dt
from annotations import InputError, load_dataset, write_png
from annotations.run_digests import model_files, run_problems
from classify import ClassifyConfig, train_classifier
from tests.drawn import drawn_dataset
from training import SilentReporter

pytestmark = pytest.mark.filterwarnings("ignore")
CONFIG = ClassifyConfig(method="patch-memory", weights="none", device="cpu", image_size=64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = drawn_dataset(tmp_path_factory.mktemp("digests"))
    dataset = load_dataset(root)
    train_classifier(
        dataset, CONFIG, name="memory", folds=range(len(dataset.split.folds)),
        reporter=SilentReporter(),
    )  # fmt: skip
    return root


@pytest.fixture
def root(trained, tmp_path):
    # Links lead to the source, so that the copy is whole.
    return shutil.copytree(trained, tmp_path / "dataset", symlinks=True)


def problems(root):
    return run_problems(root / "runs" / "memory", load_dataset(root))[0]


def test_a_fresh_run_is_whole(root):
    found, facts = run_problems(root / "runs" / "memory", load_dataset(root))
    assert found == []
    assert dt.check(root / "runs" / "memory").problems == ()
    assert dict(facts)["finished folds"] == "2 of 2"


def test_one_flipped_byte_in_any_model_or_prediction_is_noticed(root):
    run = root / "runs" / "memory"
    covered = [*run.glob("predictions/*"), *run.glob("predictions/maps/*"), *run.glob("fold-*/*")]
    covered.append(run / "config.yaml")
    covered = [p for p in covered if p.is_file() and p.name != "timing.json"]
    assert len(covered) > 20
    rng = np.random.default_rng(0)
    for path in covered:
        data = bytearray(path.read_bytes())
        place = int(rng.integers(len(data)))
        data[place] ^= 1
        before = path.read_bytes()
        path.write_bytes(bytes(data))
        try:
            assert problems(root), path
        except InputError:
            assert path.name == "meta.json"
        path.write_bytes(before)
    assert problems(root) == []


def test_a_model_of_another_fold_and_a_missing_one(root):
    run = root / "runs" / "memory"
    other = run / "fold-1" / "model.npz"
    other.write_bytes(other.read_bytes() + b"x")
    (run / "predictions" / "regions.json").unlink()
    found = problems(root)
    assert any("regions.json" in text and "are missing" in text for text in found)
    assert any("fold-1/model.npz" in text and "were changed" in text for text in found)


def test_a_path_that_leaves_the_run_is_refused(root):
    path = root / "runs" / "memory" / "predictions" / "meta.json"
    meta = json.loads(path.read_text())
    meta["sha256"]["../../../secret"] = "0" * 64
    path.write_text(json.dumps(meta))
    assert any("leaves" in text for text in problems(root))


def test_a_replaced_and_a_missing_image_are_refused_before_training(root):
    dataset = load_dataset(root)
    sample = dataset.samples[0]
    sample.image_path.unlink()
    with pytest.raises(InputError, match=r"1 of 22 images .* are gone since conversion"):
        train_classifier(dataset, CONFIG, name="new", folds=[0], reporter=SilentReporter())
    write_png(sample.image_path, np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"1 of 22 images .* were replaced since conversion"):
        train_classifier(dataset, CONFIG, name="new", folds=[0], reporter=SilentReporter())


def test_a_moved_dataset_works(root, tmp_path):
    moved = root.rename(tmp_path / "elsewhere")
    assert problems(moved) == []
    train_classifier(
        load_dataset(moved), CONFIG, name="memory", folds=[0, 1], reporter=SilentReporter()
    )


def test_every_family_s_weights_are_a_model_and_states_are_none(tmp_path):
    names = ("best.pt", "best.safetensors", "architecture.json", "model.npz", "tiles.json")
    for name in (*names, "state.pt", "timing.json", "metrics.csv", "injected.png"):
        (tmp_path / name).touch()
    assert [path.name for path in model_files(tmp_path)] == sorted(names)
