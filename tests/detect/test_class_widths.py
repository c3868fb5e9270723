"""Fine-tuning from weights of another number of classes: the class branches keep their width.

ultralytics builds them by the number of classes, and rebuilds them at the width of the weights
that it starts from. What is stored has to open again in every combination.
"""

import json

import pytest
import torch

from annotations import TrainingError, load_dataset
from detect import DetectConfig, load_box_predictor, train_detector
from detect.network import (
    Architecture,
    architecture_of,
    half_state,
    load_detector,
    open_detector,
    published_architecture,
    read_checkpoint,
    save_detector,
)
from tests.drawn import drawn_dataset
from training import SilentReporter

pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG = DetectConfig(
    model="yolo11n.pt", epochs=1, image_size=32, views=1, tiles=1, device="cpu", batch_size=8
)


def named(count, word="class"):
    return tuple(f"{word} {number}" for number in range(count))


def network_of(count, model="yolo11n.pt", word="class"):
    torch.manual_seed(count)
    return Architecture(published_architecture(model).layers, named(count, word)).build()


def checkpoint(path, network):
    torch.save({"model": network.half(), "train_args": {}, "epoch": -1}, path)
    return path


def as_ultralytics_starts(source, count, model="yolo11n.pt"):
    """A network of `count` classes that took the weights of `source`, by ultralytics' own hand."""
    made = network_of(count, model, word="defect")
    made.load(source, verbose=False)
    return made


def class_widths(network):
    return [branch[-1].in_channels for branch in network.model[-1].cv3]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


@pytest.mark.parametrize("target", [1, 2, 79, 80, 81])
@pytest.mark.parametrize("source", [1, 2, 3, 79, 80, 81])
def test_every_pair_of_class_counts_comes_back_from_its_files(tmp_path, source, target):
    network = as_ultralytics_starts(network_of(source), target).eval()
    save_detector(
        tmp_path, Architecture(architecture_of(network).layers, named(target)), half_state(network)
    )
    again = load_detector(tmp_path)
    # Newer versions of ultralytics take the source's width, older ones keep their own.
    assert class_widths(again) == class_widths(network)
    kept = half_state(network)
    assert again.state_dict().keys() == kept.keys()
    for name, value in again.state_dict().items():
        assert torch.equal(value, kept[name].to(value.dtype)), name
    network.load_state_dict({key: value.float() for key, value in kept.items()})
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(images)[0], network(images)[0])


@pytest.mark.parametrize("model", ["yolov8n.pt", "yolov10n.pt", "yolo12n.pt", "yolo26n.pt"])
def test_other_heads_keep_their_widths_too(tmp_path, model):
    network = as_ultralytics_starts(network_of(80, model), 2, model).eval()
    save_detector(
        tmp_path, Architecture(architecture_of(network).layers, named(2)), half_state(network)
    )
    again = load_detector(tmp_path)
    assert class_widths(again) == class_widths(network)
    kept = half_state(network)
    for name, value in again.state_dict().items():
        assert torch.equal(value, kept[name].to(value.dtype)), name


def test_a_checkpoint_that_was_fine_tuned_elsewhere_is_read(tmp_path):
    network = as_ultralytics_starts(network_of(80), 2)
    read = read_checkpoint(checkpoint(tmp_path / "own.pt", network))
    assert class_widths(read) == class_widths(network)
    expected = network.float().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in read.state_dict().items())


@pytest.mark.parametrize("source", [1, 80])
def test_a_fold_is_trained_from_weights_of_other_classes_and_opens(dataset, tmp_path, source):
    own = len(dataset.class_names)
    assert own not in (1, 80)
    weights = checkpoint(tmp_path / "source.pt", network_of(source))
    config = CONFIG.model_copy(update={"weights": str(weights)})
    run = train_detector(
        dataset, config, name=f"from-{source}", folds=[0], reporter=SilentReporter()
    )
    started = as_ultralytics_starts(network_of(source), own)
    assert class_widths(load_detector(run / "fold-0")) == class_widths(started)
    assert load_box_predictor(run, 0, device="cpu")
    # Once more, from the weights that this run left: another number of classes again.
    best = checkpoint(tmp_path / "tuned.pt", load_detector(run / "fold-0"))
    config = CONFIG.model_copy(update={"weights": str(best)})
    again = train_detector(
        dataset, config, name=f"again-{source}", folds=[0], reporter=SilentReporter()
    )
    assert class_widths(load_detector(again / "fold-0")) == class_widths(started)


class _KilledError(Exception):
    pass


def test_an_interrupted_training_from_coco_weights_goes_on_to_the_same_weights(
    dataset, tmp_path, monkeypatch
):
    from detect import fit

    weights = checkpoint(tmp_path / "source.pt", network_of(80))
    config = CONFIG.model_copy(update={"weights": str(weights), "epochs": 2})
    whole = train_detector(dataset, config, name="whole", folds=[0], reporter=SilentReporter())
    saved = fit._Keeper.saved

    def killed(self, trainer):
        saved(self, trainer)
        raise _KilledError

    monkeypatch.setattr(fit._Keeper, "saved", killed)
    with pytest.raises(_KilledError):
        train_detector(dataset, config, name="cut", folds=[0], reporter=SilentReporter())
    monkeypatch.setattr(fit._Keeper, "saved", saved)
    cut = train_detector(dataset, config, name="cut", folds=[0], reporter=SilentReporter())
    one, other = (load_detector(run / "fold-0").state_dict() for run in (whole, cut))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_that_was_broken_by_its_width_is_finished(dataset, tmp_path, monkeypatch):
    """As runs were left before: the weights there, and no way to open them."""
    from detect import train

    weights = checkpoint(tmp_path / "source.pt", network_of(80))
    config = CONFIG.model_copy(update={"weights": str(weights)})

    def refuses(folder):
        raise _KilledError(folder)

    load = train.load_detector
    monkeypatch.setattr(train, "load_detector", refuses)
    with pytest.raises(_KilledError):
        train_detector(dataset, config, name="broken", folds=[0], reporter=SilentReporter())
    monkeypatch.setattr(train, "load_detector", load)
    stamp = (dataset.root / "runs/broken/fold-0/best.safetensors").stat().st_mtime_ns
    run = train_detector(dataset, config, name="broken", folds=[0], reporter=SilentReporter())
    assert (run / "fold-0" / "best.safetensors").stat().st_mtime_ns == stamp
    assert load_box_predictor(run, 0, device="cpu")


def test_what_cannot_be_opened_again_is_found_before_the_first_epoch(dataset, monkeypatch):
    from detect import fit

    def cannot(_architecture, _state):
        raise RuntimeError("size mismatch")

    trained = []
    monkeypatch.setattr(fit, "open_detector", cannot)
    monkeypatch.setattr(fit._Keeper, "begin_epoch", lambda *_: trained.append(1))
    config = CONFIG.model_copy(update={"weights": "none"})
    with pytest.raises(TrainingError, match=r"could not be opened again .*Nothing was trained"):
        train_detector(dataset, config, name="never", folds=[0], reporter=SilentReporter())
    assert not trained


def test_weights_of_another_number_of_classes_are_no_weights_of_this_detector(tmp_path):
    network = network_of(2)
    architecture = Architecture(architecture_of(network).layers, named(3))
    with pytest.raises(RuntimeError, match="size mismatch"):
        open_detector(architecture, half_state(network))
    save_detector(tmp_path, architecture, half_state(network))
    text = json.loads((tmp_path / "architecture.json").read_text(encoding="utf-8"))
    assert text["class_names"] == ["class 0", "class 1", "class 2"]
    with pytest.raises(Exception, match=r"best\.safetensors is damaged"):
        load_detector(tmp_path)


def test_training_leaves_threads_as_they_were_and_predict_gives_what_is_stored(dataset):
    from annotations.images import read_image_rgb
    from annotations.later import read_predictions
    from detect import fit

    seen = []
    begin = fit._Keeper.begin_epoch
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                fit._Keeper,
                "begin_epoch",
                lambda self, trainer: (seen.append(torch.get_num_threads()), begin(self, trainer)),
            )
            config = CONFIG.model_copy(update={"weights": "none"})
            run = train_detector(
                dataset, config, name="threads", folds=[0], reporter=SilentReporter()
            )
        assert seen == [2]
        assert torch.get_num_threads() == 2
        stored = read_predictions(run, dataset)
        predictor = load_box_predictor(run, 0, device="cpu")
        for sample in dataset.select(dataset.split.folds[0].test):
            found = predictor.predict(sample.image_id, read_image_rgb(sample.image_path))
            assert found.image_score == stored.raw_scores[sample.image_id]
    finally:
        torch.set_num_threads(threads)
