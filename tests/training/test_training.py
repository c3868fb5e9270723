"""Settings, weights, thresholds and run folders."""

import pytest
import timm
import torch

from annotations import (
    DefectuneError,
    FoldThresholds,
    InputError,
    OutputExistsError,
    Prediction,
    UsageError,
    WeightsNotFoundError,
    load_dataset,
    read_predictions,
)
from inference.thresholds import from_log_odds, log_odds
from tests.drawn import drawn_dataset
from training import (
    FamilyConfig,
    SilentReporter,
    build_config,
    efficientnet_lite0_state_dict,
    find_weights,
    finished_folds,
    good_threshold,
    load_state_dict,
    probability_thresholds,
    resolve_device,
    train_run,
    yolo_file,
)


def test_overrides_win_and_unknown_keys_name_the_near_ones():
    config = build_config(FamilyConfig, {"seed": 3, "image_size": None}, ["image_size=64"])
    assert (config.seed, config.image_size) == (3, 64)
    with pytest.raises(UsageError, match="Did you mean image_size"):
        build_config(FamilyConfig, {}, ["imagesize=64"])
    with pytest.raises(UsageError, match="key=value"):
        build_config(FamilyConfig, {}, ["seed"])
    with pytest.raises(UsageError, match="image_size=5"):
        build_config(FamilyConfig, {}, ["image_size=5"])
    with pytest.raises(UsageError, match="not YAML"):
        build_config(FamilyConfig, {}, ["seed=[1"])


def test_the_lookup_order(tmp_path, monkeypatch):
    published = yolo_file("some.pt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(tmp_path / "folder"))
    cached = tmp_path / "cache" / "defectune" / "weights" / "some.pt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x")
    assert find_weights(published) == cached
    own = tmp_path / "folder" / "some.pt"
    own.parent.mkdir()
    own.write_bytes(b"y")
    assert find_weights(published) == own
    given_file = tmp_path / "mine.pt"
    with pytest.raises(InputError, match=r"mine\.pt do not exist"):
        find_weights(published, given=str(given_file))
    given_file.write_bytes(b"z")
    assert find_weights(published, given=str(given_file)) == given_file


def test_missing_weights_without_a_network_name_file_address_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(tmp_path / "folder"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(yolo_file("absent.pt"))
    text = str(caught.value)
    assert "absent.pt" in text
    assert "https://github.com/ultralytics/assets" in text
    assert str(tmp_path / "folder") in text
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_pickle_from_a_stranger_is_not_run(tmp_path):
    marker = tmp_path / "ran"

    class Stranger:
        def __reduce__(self):
            return (marker.write_text, ("x",))

    path = tmp_path / "weights.pt"
    torch.save({"a": Stranger()}, path)
    with pytest.raises(InputError, match=r"cannot|safely"):
        load_state_dict(path)
    assert not marker.exists()


def test_lite0_fills_timms_network_whole():
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    result = network.load_state_dict(efficientnet_lite0_state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys


def test_thresholds_lie_in_the_middle_of_the_gap_and_are_drawn_to_the_default():
    thresholds = probability_thresholds([0.001, 0.9], [False, True], "ab", region_threshold=0.3)
    # One part of each kind counts against three of the default's.
    middle = (log_odds([0.001])[0] + log_odds([0.9])[0]) / 2
    assert thresholds.raw_threshold == pytest.approx(from_log_odds(middle / 4))
    alone = probability_thresholds([0.2], [False], "a", region_threshold=0.3)
    assert alone.raw_threshold == 0.5
    assert "for want of images" in alone.chosen_on
    lower = probability_thresholds([0.2], [False], "a", region_threshold=0.3, default=0.25)
    assert lower.raw_threshold == 0.25
    told = probability_thresholds(
        [0.1, 0.2, 0.9], [False, False, True], "abc", region_threshold=0.3
    )
    assert told.chosen_on == (
        "3 images that did not train what scored them, 1 of them defective, for escapes and "
        "overkill alike: 0 of 1 escape (at most 95.0%), 0 of 2 are overkill (at most 77.6%)"
    )
    assert good_threshold([1, 2, 3, 4], 0.5).threshold == 2.5
    assert good_threshold([1, 2, 3, 4], 0.98).threshold == pytest.approx(4.04)
    with pytest.raises(DefectuneError, match="at least one"):
        good_threshold([], 0.5)


def test_devices():
    assert resolve_device("cpu").type == "cpu"
    for wrong in ("quantum", "cuda:99"):
        with pytest.raises(UsageError):
            resolve_device(wrong)


class Half:
    """Says the same of every image."""

    def predict(self, image_id, image_rgb):
        return Prediction(image_id, float(image_rgb.mean()) / 255)


def test_a_job_resumes_and_refuses_other_settings(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    trained = []

    def train_fold(job):
        trained.append(job.fold)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return Half(), FoldThresholds(0.5, "odds", 0.5, "nothing")

    def run(config):
        return train_run(
            dataset,
            "one",
            family="classify",
            model="half",
            config=config,
            folds=[0, 1],
            train_fold=train_fold,
            reporter=SilentReporter(),
        )

    with pytest.raises(KeyboardInterrupt):
        run(FamilyConfig())
    folder = dataset.root / "runs" / "one"
    assert finished_folds(folder) == {0}
    assert run(FamilyConfig()) == folder
    assert trained == [0, 1, 1]
    stored = read_predictions(folder, dataset)
    assert set(stored.image_scores) == set(dataset.split.test_ids)
    with pytest.raises(OutputExistsError, match=r"other settings .*seed"):
        run(FamilyConfig(seed=5))
