"""One call or two, any order, interrupted, moved: the same files."""

import json
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from annotations import InputError, TrainingError, load_dataset, read_predictions
from annotations.files import read_json, write_json_atomic
from annotations.locks import LOCK_FILE, _lock_by_name, hold_lock
from annotations.prediction_files import read_csv
from classify import train_classifier
from detect import DetectConfig, train_detector
from segment import SegmentConfig, train_segmenter
from tests.drawn import classify_config, drawn_dataset
from training import SilentReporter, finished_folds
from training.job import _being_trained

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"weights": "none", "device": "cpu", "epochs": 1}
CASES = {
    "detect": (train_detector, DetectConfig(**SMALL, image_size=64, views=1)),
    "segment": (
        train_segmenter,
        SegmentConfig(**SMALL, encoder="tu-test_resnet", image_size=32, batch_size=4, views=1),
    ),
    **{
        method: (
            train_classifier,
            classify_config(
                method,
                **SMALL,
                model="test_resnet",
                image_size=32,
                batch_size=8,
                latent=8,
                learning_rate=1e-3,
            ),
        )
        for method in ("supervised", "autoencoder", "gan", "finetuned", "pretrained")
    },
}
LONG = {
    name: (CASES[name][0], CASES[name][1].model_copy(update={"epochs": 4}))
    for name in ("detect", "segment", "supervised", "gan")
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def files_of(run: Path) -> dict[str, bytes]:
    """Weights and predictions; logs tell times."""
    kept = ("best.safetensors", "architecture.json", "best.pt", "model.npz", "tiles.json")
    paths = [*(run / "predictions").rglob("*"), *(p for n in kept for p in run.glob(f"fold-*/{n}"))]
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(paths) if p.is_file()}


def assert_equal(first: Path, second: Path) -> None:
    a, b = files_of(first), files_of(second)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


@pytest.mark.parametrize("case", CASES)
def test_folds_in_one_call_in_two_and_the_other_way_round(dataset, case):
    train, config = CASES[case]
    quiet = SilentReporter()
    once = train(dataset, config, name=f"{case}-once", folds=[0, 1], reporter=quiet)
    for fold in (1, 0):
        train(dataset, config, name=f"{case}-other", folds=[fold], reporter=quiet)
    assert_equal(once, once.with_name(f"{case}-other"))
    rows = read_csv(once / "predictions" / "images.csv")
    assert [(int(r["fold"]), r["image_id"]) for r in rows] == sorted(
        (number, image_id)
        for number, fold in enumerate(dataset.split.folds)
        for image_id in fold.test
    )


class StopError(Exception):
    pass


class StopsAfter(SilentReporter):
    """Breaks the training off while it reports its second epoch."""

    def track(self, _what, total):
        seen = []

        def advance(note):
            seen.append(note)
            if total == 4 and len(seen) == 3 and note:
                raise StopError

        return advance


@pytest.mark.parametrize("case", LONG)
def test_a_training_that_was_broken_off_and_copied_goes_on_in_the_copy(tmp_path, case):
    train, config = LONG[case]
    dataset = load_dataset(drawn_dataset(tmp_path))
    whole = train(dataset, config, name="whole", folds=[0], reporter=SilentReporter())
    with pytest.raises(StopError):
        train(dataset, config, name="cut", folds=[0], reporter=StopsAfter())
    assert finished_folds(dataset.root / "runs" / "cut") == set()
    copy = Path(shutil.copytree(dataset.root, tmp_path / "copy", symlinks=True))
    before = {p: p.read_bytes() for p in dataset.root.rglob("*") if p.is_file()}
    run = train(load_dataset(copy), config, name="cut", folds=[0], reporter=SilentReporter())
    assert {p: p.read_bytes() for p in dataset.root.rglob("*") if p.is_file()} == before
    assert_equal(whole, run)
    left = [p.name for p in (run / "fold-0").iterdir()]
    assert not {"checkpoints", "state.pt", "data", "saved"} & set(left)


def test_a_detector_killed_after_its_last_epoch_goes_on_to_its_predictions(tmp_path, monkeypatch):
    train, config = LONG["detect"]
    dataset = load_dataset(drawn_dataset(tmp_path))
    whole = train(dataset, config, name="whole", folds=[0], reporter=SilentReporter())

    def killed(*_arguments):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr("detect.fit.save_detector", killed)
        with pytest.raises(StopError):
            train(dataset, config, name="cut", folds=[0], reporter=SilentReporter())
    assert (dataset.root / "runs" / "cut" / "fold-0" / "state.pt").is_file()
    run = train(dataset, config, name="cut", folds=[0], reporter=SilentReporter())
    assert_equal(whole, run)


def test_a_state_that_was_cut_off_is_none(tmp_path):
    train, config = CASES["detect"]
    dataset = load_dataset(drawn_dataset(tmp_path))
    whole = train(dataset, config, name="whole", folds=[0], reporter=SilentReporter())
    run = train(dataset, config, name="cut", folds=[1], reporter=SilentReporter())
    (run / "fold-0").mkdir()
    (run / "fold-0" / "state.pt").write_bytes(b"PK\x03\x04 cut off")
    train(dataset, config, name="cut", folds=[0], reporter=SilentReporter())
    assert (run / "fold-0" / "best.safetensors").read_bytes() == (
        whole / "fold-0" / "best.safetensors"
    ).read_bytes()


def test_the_same_run_twice_at_once_is_refused(tmp_path, dataset):
    train, config = CASES["pretrained"]
    run = dataset.root / "runs" / "locked"
    lock = hold_lock(run / LOCK_FILE, partial(_being_trained, run))
    with lock, pytest.raises(TrainingError, match=r"being trained already \(process \d+"):
        train(dataset, config, name="locked", folds=[0], reporter=SilentReporter())
    train(dataset, config, name="locked", folds=[0], reporter=SilentReporter())
    assert not (run / LOCK_FILE).exists()


def test_a_lock_by_name_outlives_no_process(tmp_path):
    path = tmp_path / LOCK_FILE
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(f"{ended.pid} {socket.gethostname()}", encoding="utf-8")
    os.close(_lock_by_name(path, partial(_being_trained, tmp_path)))
    path.write_text(f"{os.getpid()} {socket.gethostname()}", encoding="utf-8")
    with pytest.raises(TrainingError, match="being trained already"):
        _lock_by_name(path, partial(_being_trained, tmp_path))


def test_what_kills_left_is_removed_by_the_next_call(dataset):
    train, config = CASES["pretrained"]
    run = train(dataset, config, name="left", folds=[0], reporter=SilentReporter())
    before = files_of(run)
    left = [
        run / "fold-0" / ".model.npz.1a2b.part",
        run / "predictions" / "maps" / ".x.png.1a2b.part",
        run / "fold-0" / "checkpoints" / "last.ckpt",
        run / "fold-0" / "saved" / "last.pt",
        run / "fold-0" / "state.pt",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    train(dataset, config, name="left", folds=[0], reporter=SilentReporter())
    assert not [path for path in left if path.exists()]
    assert files_of(run) == before


def test_rows_of_a_fold_that_has_not_finished_are_none(dataset):
    train, config = CASES["segment"]
    run = train(dataset, config, name="spoiled", folds=[0, 1], reporter=SilentReporter())
    whole = files_of(run)
    path = run / "predictions" / "meta.json"
    meta = read_json(path, what="meta")
    del meta["folds"]["1"]
    write_json_atomic(path, meta)
    stored = read_predictions(run, dataset)
    assert set(stored.image_scores) == set(dataset.split.folds[0].test)
    assert stored.regions is not None
    assert set(stored.regions) == set(stored.image_scores)
    assert set(stored.map_ranges) == set(stored.image_scores)
    train(dataset, config, name="spoiled", folds=[1], reporter=SilentReporter())
    assert files_of(run) == whole


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "{", '{"folds": []}', '{"folds": {"0": {}}}', '{"folds": {"x": {}}}', "null"],
)
def test_a_damaged_meta_is_named(dataset, text):
    train, config = CASES["pretrained"]
    run = train(dataset, config, name="meta", folds=[0], reporter=SilentReporter())
    path = run / "predictions" / "meta.json"
    honest = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        with pytest.raises(InputError, match=r"meta\.json"):
            finished_folds(run)
        with pytest.raises(InputError):
            train(dataset, config, name="meta", folds=[0], reporter=SilentReporter())
        with pytest.raises(InputError):
            read_predictions(run, dataset)
    finally:
        path.write_text(honest, encoding="utf-8")
    assert json.loads(honest)["folds"].keys() == {"0"}


def test_a_detector_without_defective_images_to_validate_on_trains(dataset):
    from dataclasses import replace

    split = dataset.split
    good = [i for i in split.folds[0].val if not dataset.by_id[i].is_defective]
    folds = (replace(split.folds[0], val=tuple(good)), *split.folds[1:])
    alone = replace(dataset, split=replace(split, folds=folds))
    train, config = CASES["detect"]
    said = []

    class Listening(SilentReporter):
        def say(self, text):
            said.append(text)

    run = train(alone, config, name="no-val", folds=[0], reporter=Listening())
    assert any("no defective image to validate on" in text for text in said)
    scores = read_predictions(run, alone).image_scores
    assert set(scores) == set(split.folds[0].test)
    assert all(np.isfinite(list(scores.values())))


def test_four_steps_in_all_do_not_divide_by_nothing(dataset):
    train, config = CASES["supervised"]
    n = len(dataset.split.folds[0].train)
    four = config.model_copy(update={"batch_size": -(-n // 4)})
    assert -(-n // four.batch_size) == 4
    run = train(dataset, four, name="four", folds=[0], reporter=SilentReporter())
    assert finished_folds(run) == {0}
