"""The detector on EfficientNet-Lite0, whose weights come with the installation."""

import copy

import pytest
import timm
import torch

from annotations import (
    InputError,
    UsageError,
    WeightsNotFoundError,
    load_dataset,
    read_image_rgb,
    read_predictions,
)
from detect import DetectConfig, load_box_predictor, train_detector
from detect.lite0 import LAYER, MODEL, load_imagenet
from detect.network import (
    Architecture,
    architecture_of,
    half_state,
    load_detector,
    published_architecture,
    save_detector,
)
from tests.drawn import drawn_dataset
from training import SilentReporter
from training.weights import efficientnet_lite0_state_dict

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"image_size": 32, "epochs": 1, "batch_size": 8, "views": 1, "device": "cpu", "tiles": 1}


@pytest.fixture(scope="module")
def network():
    return Architecture(published_architecture(MODEL).layers, ("scratch", "dent")).build()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def test_maps_end_at_the_strides_that_yolo_looks_at(network):
    assert network.stride.tolist() == [8, 16, 32]
    found = network.eval()(torch.rand(1, 3, 64, 96))[0]
    assert found.shape == (1, 4 + 2, 8 * 12 + 4 * 6 + 2 * 3)


def test_its_stages_compute_what_the_published_network_does(network):
    own = copy.deepcopy(network).eval()
    load_imagenet(own)
    published = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    missing, _ = published.load_state_dict(efficientnet_lite0_state_dict(), strict=False)
    assert not missing
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = published(images * 2 - 1)[1:]
        here, found = images, []
        for stage in own.model[:4]:
            here = stage(here)
            found.append(here)
    assert [tuple(one.shape) for one in found] == [tuple(one.shape) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_a_detector_comes_back_from_its_files(network, tmp_path):
    save_detector(tmp_path, architecture_of(network), half_state(network))
    again = load_detector(tmp_path)
    assert architecture_of(again).layers["backbone"][0] == [-1, 1, LAYER, [0]]
    kept = half_state(network)
    for name, value in again.state_dict().items():
        assert torch.equal(value, kept[name].to(value.dtype)), name


@pytest.mark.parametrize(
    ("row", "stage"),
    [
        (0, [-1, 1, LAYER, [1]]),
        (4, [-1, 1, LAYER, [4]]),
        (1, [-1, 2, LAYER, [1]]),
        (2, [0, 1, LAYER, [2]]),
    ],
)
def test_a_stage_in_another_place_is_refused(row, stage):
    layers = copy.deepcopy(dict(published_architecture(MODEL).layers))
    layers["backbone"][row] = stage
    with pytest.raises(InputError, match="stages are the first 4 rows"):
        Architecture(layers, ("a",)).build()


def test_it_is_chosen_and_said_where_no_other_weights_are_to_be_had(dataset, monkeypatch, capfd):
    def nowhere(*_arguments, **_options):
        raise WeightsNotFoundError("not here")

    said = []

    class Says(SilentReporter):
        def say(self, text):
            said.append(text)

    monkeypatch.setattr("detect.train.find_weights", nowhere)
    run = train_detector(dataset, DetectConfig(**SMALL), name="auto", folds=[0], reporter=Says())
    assert any(MODEL in text for text in said)
    # ultralytics' own bars and notes stay out of the terminal.
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    stored = read_predictions(run, dataset)
    assert stored.about["model"] == MODEL
    sample = dataset.by_id[dataset.split.folds[0].test[0]]
    again = load_box_predictor(run, 0, device="cpu")
    found = again.predict(sample.image_id, read_image_rgb(sample.image_path))
    assert found.image_score == stored.raw_scores[sample.image_id]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"weights": "mine.pt"}, "weights auto"), ({"device": "0,1"}, "one device")],
)
def test_what_it_cannot_do_is_refused_before_training(dataset, settings, said):
    config = DetectConfig(**{**SMALL, "model": MODEL, **settings})
    with pytest.raises(UsageError, match=said):
        train_detector(dataset, config, name="x", folds=[0], reporter=SilentReporter())
