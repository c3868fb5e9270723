"""Installed trackers are told of a training where they were asked for, and not otherwise."""

import pytest

from detect.ultralytics_setup import import_ultralytics

OTHERS = ("clearml", "comet", "dvc", "raytune", "wandb")


@pytest.mark.parametrize("address", [None, "sqlite:///x.db"])
def test_mlflow_hears_of_a_training_where_it_has_an_address(monkeypatch, address):
    if address is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    settings = import_ultralytics().settings
    assert settings["mlflow"] is (address is not None)
    assert not any(settings[name] for name in OTHERS)
    monkeypatch.undo()
    import_ultralytics()


@pytest.mark.filterwarnings("ignore")
def test_a_detector_leaves_nothing_where_it_was_trained(tmp_path, monkeypatch):
    from annotations import load_dataset
    from detect import DetectConfig, train_detector
    from tests.drawn import drawn_dataset
    from training import SilentReporter

    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    import_ultralytics()
    # In tests of its own it does not speak to MLflow.
    monkeypatch.setattr("ultralytics.utils.callbacks.mlflow.TESTS_RUNNING", False)
    root = drawn_dataset(tmp_path / "data")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    config = DetectConfig(image_size=64, epochs=1, batch_size=4, weights="none", device="cpu")
    dataset = load_dataset(root)
    train_detector(dataset, config, name="d", folds=[0], reporter=SilentReporter())
    assert not list(here.iterdir())
