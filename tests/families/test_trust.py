"""Training that can be trusted: interrupted, shared among processes, tiled, stopped by nonsense."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from annotations import TrainingError, load_dataset, read_predictions
from annotations.files import read_json
from converters.synthetic import SyntheticConfig
from detect import DetectConfig, load_box_predictor, train_detector
from segment import SegmentConfig, load_mask_predictor, train_segmenter
from segment.module import SegmenterModule
from tests.drawn import drawn_dataset
from training import SilentReporter

pytestmark = pytest.mark.filterwarnings("ignore")

SEGMENT = SegmentConfig(
    weights="none",
    encoder="tu-test_resnet",
    epochs=4,
    image_size=32,
    batch_size=4,
    val_every=2,
    precision="32-true",
    views=1,
    device="cpu",
)
DETECT = DetectConfig(weights="none", epochs=3, image_size=64, batch_size=8, views=1, device="cpu")

TRAIN_AND_WAIT = """
import sys, time, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
from annotations import load_dataset
from {family} import {kind}, {train}
from training import SilentReporter

class Slow(SilentReporter):
    def track(self, what, total):
        def advance(note):
            print("epoch", flush=True)
            time.sleep(0.5)
        return advance

{train}(load_dataset(Path(sys.argv[1])), {kind}.model_validate_json(sys.argv[2]), name="cut",
        folds=[0], reporter=Slow())
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def kill_after_a_checkpoint(dataset, family: str, train: str, config, checkpoint: Path) -> None:
    """Train in a process of its own, and kill it without a warning once something is saved."""
    script = TRAIN_AND_WAIT.format(family=family, kind=type(config).__name__, train=train)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(dataset.root), config.model_dump_json()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        for _ in range(1200):
            if checkpoint.is_file() or process.poll() is not None:
                break
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert checkpoint.is_file()


def test_a_killed_segmenter_ends_with_the_same_weights(dataset):
    whole = train_segmenter(dataset, SEGMENT, name="whole", folds=[0], reporter=SilentReporter())
    fold = dataset.root / "runs" / "cut" / "fold-0"
    kill_after_a_checkpoint(
        dataset, "segment", "train_segmenter", SEGMENT, fold / "checkpoints" / "last.ckpt"
    )
    assert not (fold / "best.pt").exists()
    cut = train_segmenter(dataset, SEGMENT, name="cut", folds=[0], reporter=SilentReporter())
    states = [torch.load(run / "fold-0" / "best.pt", weights_only=True) for run in (whole, cut)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not list((fold / "checkpoints").glob("*.ckpt"))


def test_a_killed_detector_ends_with_the_same_weights(tmp_path):
    config = DETECT.model_copy(update={"epochs": 3})
    dataset = load_dataset(drawn_dataset(tmp_path))
    saved = dataset.root / "runs" / "cut" / "fold-0" / "state.pt"
    kill_after_a_checkpoint(dataset, "detect", "train_detector", config, saved)

    class Counting(SilentReporter):
        epochs = 0
        said: list[str] = []  # noqa: RUF012 - one test's own class

        def say(self, text: str) -> None:
            self.said.append(text)

        def track(self, _what: str, _total: int):
            def advance(note: str) -> None:
                self.epochs += "fitness" in note

            return advance

    reporter = Counting()
    run = train_detector(dataset, config, name="cut", folds=[0], reporter=reporter)
    assert any("goes on" in text for text in reporter.said)
    assert 0 < reporter.epochs < config.epochs
    whole = train_detector(dataset, config, name="whole", folds=[0], reporter=SilentReporter())
    for name in ("fold-0/best.safetensors", "predictions/images.csv", "predictions/regions.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert not saved.exists()
    assert set(read_predictions(run, dataset).image_scores) == set(dataset.split.folds[0].test)


def test_two_processes_train_one_segmenter(dataset):
    config = SEGMENT.model_copy(update={"device": "cpu,cpu", "epochs": 1, "batch_size": 2})
    run = train_segmenter(dataset, config, name="two", folds=[1], reporter=SilentReporter())
    log = (run / "fold-1" / "log" / "version_0" / "metrics.csv").read_text(encoding="utf-8")
    assert "train_loss" in log
    assert set(read_predictions(run, dataset).image_scores) == set(dataset.split.folds[1].test)


def test_a_loss_that_is_no_number_stops_and_keeps_what_was_good(dataset, monkeypatch):
    honest = SegmenterModule.training_step

    def spoiled(self, batch, batch_idx):
        loss = honest(self, batch, batch_idx)
        return loss * float("nan") if self.current_epoch == 2 else loss

    monkeypatch.setattr(SegmenterModule, "training_step", spoiled)
    with pytest.raises(TrainingError, match=r"epoch 3.*learning_rate"):
        train_segmenter(dataset, SEGMENT, name="nan", folds=[0], reporter=SilentReporter())
    kept = dataset.root / "runs" / "nan" / "fold-0" / "checkpoints" / "last.ckpt"
    state = torch.load(kept, weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(value).all()) for value in state.values())


def test_memory_that_runs_out_names_the_batch_that_fits(dataset, monkeypatch):
    def greedy(self, batch, batch_idx):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(SegmenterModule, "training_step", greedy)
    with pytest.raises(TrainingError, match=r"batch_size=2 .*accumulate=2"):
        train_segmenter(dataset, SEGMENT, name="oom", folds=[0], reporter=SilentReporter())


@pytest.mark.parametrize("family", ["segment", "detect"])
def test_tiles_from_training_to_prediction(tmp_path, family):
    drawing = SyntheticConfig(n_train_good=4, n_test_good=3, n_per_type=3, image_hw=(96, 160))
    dataset = load_dataset(drawn_dataset(tmp_path, config=drawing))
    if family == "segment":
        config = SEGMENT.model_copy(update={"tiles": 3, "epochs": 1, "shots_per_type": 1})
        run = train_segmenter(dataset, config, name="t", folds=[0], reporter=SilentReporter())
        predictor = load_mask_predictor(run, 0, device="cpu")
    else:
        config = DETECT.model_copy(update={"tiles": 2, "epochs": 1, "good_per_defect": 1.0})
        run = train_detector(dataset, config, name="t", folds=[0], reporter=SilentReporter())
        predictor = load_box_predictor(run, 0, device="cpu")
    assert read_json(run / "fold-0" / "tiles.json", what="tiles")["tiles"] == config.tiles
    stored = read_predictions(run, dataset)
    sample = dataset.by_id[dataset.split.folds[0].test[0]]
    made = predictor.predict(sample.image_id, np.zeros((*sample.image_hw, 3), np.uint8))
    assert made.regions is not None
    assert made.regions.image_hw == (96, 160)
    if family == "segment":
        assert made.pixel_scores is not None
        assert made.pixel_scores.shape == (96, 160)
    assert set(stored.image_scores) == set(dataset.split.folds[0].test)
