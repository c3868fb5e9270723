"""A file that would make another file is planted in each place from which weights are loaded."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from annotations import DefectuneError, InputError, WeightsNotFoundError, load_dataset
from classify import ClassifyConfig, load_classifier, train_classifier
from detect import DetectConfig, load_box_predictor, train_detector
from detect.network import load_detector, published_architecture, read_checkpoint
from segment import SegmentConfig, load_mask_predictor, train_segmenter
from tests.drawn import drawn_dataset
from training import SilentReporter, read_run_config
from training.array_files import load_arrays
from training.job import open_run

pytestmark = pytest.mark.filterwarnings("ignore")

DETECT = DetectConfig(
    model="yolo11n.pt", weights="none", epochs=1, image_size=64, views=1, device="cpu"
)
SEGMENT = SegmentConfig(
    weights="none", encoder="tu-test_resnet", epochs=1, image_size=32, batch_size=4, device="cpu"
)
SUPERVISED = ClassifyConfig(
    weights="none",
    model="resnet18",
    method="supervised",
    epochs=1,
    image_size=32,
    batch_size=8,
    device="cpu",
)


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


@pytest.fixture(scope="module")
def runs(dataset):
    quiet = SilentReporter()
    return {
        "detect": train_detector(dataset, DETECT, name="detect", folds=[0], reporter=quiet),
        "segment": train_segmenter(dataset, SEGMENT, name="segment", folds=[0], reporter=quiet),
        "classify": train_classifier(
            dataset, SUPERVISED, name="classify", folds=[0], reporter=quiet
        ),
    }


@pytest.fixture
def mark(tmp_path):
    path = tmp_path / "EXECUTED"
    yield path
    assert not path.exists(), "the planted code was run"


def plant(path: Path, mark: Path, *, zipped: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {"model": Planted(mark), "state_dict": Planted(mark), "optimizer": None}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["best.pt", "best.safetensors"])
def test_in_a_detectors_run(runs, tmp_path, mark, name, zipped):
    run = copied(runs["detect"], tmp_path)
    if name == "best.pt":
        (run / "fold-0" / "best.safetensors").unlink()
    plant(run / "fold-0" / name, mark, zipped=zipped)
    with pytest.raises(InputError, match=name):
        load_box_predictor(run, 0, device="cpu")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("family", ["detect", "segment", "classify"])
def test_given_as_weights(dataset, tmp_path, mark, family, zipped):
    path = plant(tmp_path / "weights.pt", mark, zipped=zipped)
    update = {"weights": str(path)}
    train, config = {
        "detect": (train_detector, DETECT),
        "segment": (train_segmenter, SEGMENT),
        "classify": (train_classifier, SUPERVISED),
    }[family]
    with pytest.raises(InputError, match=r"weights\.pt"):
        train(
            dataset,
            config.model_copy(update=update),
            name=f"{family}-{zipped}",
            folds=[0],
            reporter=SilentReporter(),
        )


def begun(dataset, family: str, config, name: str) -> Path:
    run = open_run(dataset, name, family=family, config=config)
    (run / "fold-0").mkdir()
    return run


@pytest.mark.parametrize(
    ("family", "place"),
    [
        ("detect", "state.pt"),
        ("segment", "checkpoints/last.ckpt"),
        ("classify", "checkpoints/classifier/last.ckpt"),
    ],
)
def test_as_what_an_interrupted_training_goes_on_from(dataset, mark, family, place):
    train, config = {
        "detect": (train_detector, DETECT),
        "segment": (train_segmenter, SEGMENT),
        "classify": (train_classifier, SUPERVISED),
    }[family]
    run = begun(dataset, family, config, f"planted-{family}")
    plant(run / "fold-0" / place, mark)
    with pytest.raises(InputError, match=r"was refused, and nothing in it was run"):
        train(dataset, config, name=run.name, folds=[0], reporter=SilentReporter())


def test_as_the_state_that_detectors_kept_before(dataset, mark):
    run = begun(dataset, "detect", DETECT, "planted-saved")
    for name in ("last.pt", "best.pt"):
        plant(run / "fold-0" / "saved" / name, mark)
        plant(run / "fold-0" / "ultralytics" / "weights" / name, mark)
    train_detector(dataset, DETECT, name=run.name, folds=[0], reporter=SilentReporter())
    assert load_detector(run / "fold-0")


def test_in_the_current_folder(dataset, tmp_path, mark, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    plant(here / "yolo11n.pt", mark)
    code = f"activation: __import__('pathlib').Path({str(mark)!r}).touch()\n"
    for name in ("yolo11n.yaml", "yolo11.yaml"):
        (here / name).write_text(code + "nc: 1\nbackbone: []\nhead: []\n", encoding="utf-8")
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DEFECTUNE_WEIGHTS", raising=False)
    with pytest.raises(WeightsNotFoundError, match=r"yolo11n\.pt"):
        train_detector(
            dataset,
            DETECT.model_copy(update={"weights": "auto"}),
            name="auto",
            folds=[0],
            reporter=SilentReporter(),
        )
    assert published_architecture("yolo11n.pt").layers["nc"] == 80


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "__import__('os').mkdir('EXECUTED')"},
        {"head": [[-1, 1, "TorchVision", [1, "resnet18"]]]},
        {"head": [[-1, 1, "nn.Upsample", ["__import__('os')"]]]},
        {"backbone": [[-1, 1, "Conv", [10**9, 3, 2]]]},
        {"backbone": [[-1, 10**9, "Conv", [64, 3, 2]]]},
        {"yaml_file": "yolo11n.yaml"},
        {"head": 3},
    ],
)
def test_in_a_detectors_architecture(runs, tmp_path, mark, change):
    run = copied(runs["detect"], tmp_path)
    path = run / "fold-0" / "architecture.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["layers"] |= change
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=r"architecture\.json is damaged .*Train this fold again"):
        load_box_predictor(run, 0, device="cpu")


@pytest.mark.parametrize("zipped", [True, False])
def test_in_a_segmenters_run(runs, tmp_path, mark, zipped):
    run = copied(runs["segment"], tmp_path)
    plant(run / "fold-0" / "best.pt", mark, zipped=zipped)
    with pytest.raises(InputError, match=r"best\.pt"):
        load_mask_predictor(run, 0, device="cpu")


def test_in_a_classifiers_run(runs, tmp_path, mark):
    run = copied(runs["classify"], tmp_path)
    path = run / "fold-0" / "model.npz"
    np.savez(path, allow_pickle=True, class_names=np.array([Planted(mark)], object))
    with pytest.raises(InputError, match=r"model\.npz is damaged .*Train this fold again"):
        load_classifier(run, 0, device="cpu")


def test_arrays_that_unpack_to_gigabytes_are_not_unpacked(tmp_path):
    path = tmp_path / "model.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 31,)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("patches.npy", header.getvalue() + bytes(1 << 20))
    with pytest.raises(InputError, match="unpack to 8,589,934,592"):
        load_arrays(path)


def test_another_models_arrays_and_a_cut_off_file_are_refused(runs, tmp_path):
    run = copied(runs["classify"], tmp_path)
    path = run / "fold-0" / "model.npz"
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"nothing"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"model\.npz is damaged"):
            load_classifier(run, 0, device="cpu")
    np.savez(path, patches=np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"model\.npz is damaged"):
        load_classifier(run, 0, device="cpu")


@pytest.mark.parametrize("family", ["detect", "segment"])
def test_another_networks_weights_are_refused(runs, tmp_path, family):
    run = copied(runs[family], tmp_path)
    if family == "segment":
        torch.save({"x": torch.zeros(1)}, run / "fold-0" / "best.pt")
    else:
        path = run / "fold-0" / "best.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    load = {"detect": load_box_predictor, "segment": load_mask_predictor}[family]
    with pytest.raises(InputError, match=r"[Tt]rain .*again"):
        load(run, 0, device="cpu")


def test_an_honest_checkpoint_of_ultralytics_is_read(tmp_path):
    from detect.ultralytics_setup import import_ultralytics

    import_ultralytics()
    network = published_architecture("yolo11n.pt").build()
    torch.save({"model": network.half(), "train_args": {}, "epoch": -1}, tmp_path / "honest.pt")
    read = read_checkpoint(tmp_path / "honest.pt")
    expected = network.float().state_dict()
    got = read.state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in got)


def test_damaged_settings_of_a_run_are_named(runs, tmp_path):
    run = copied(runs["detect"], tmp_path)
    path = run / "config.yaml"
    honest = path.read_text(encoding="utf-8")
    for text in (
        "[" * 20_000,
        "a: 2020-13-45",
        honest.replace("epochs: 1", "epochs: []"),
        honest.replace("  epochs: 1", "  epochs: 1\n  strange: 1"),
        honest.replace("config:", "config: &a\n  seed: 0\nother: *a\nconfig_:"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"config\.yaml is damaged") as caught:
            load_box_predictor(run, 0, device="cpu")
        assert len(str(caught.value)) < 700
    for tiles in ("[1]", '{"tiles": "x"}', '{"tiles": 100000}', "{"):
        path.write_text(honest, encoding="utf-8")
        (run / "fold-0" / "tiles.json").write_text(tiles, encoding="utf-8")
        with pytest.raises(DefectuneError, match=r"tiles\.json"):
            load_box_predictor(run, 0, device="cpu")
    assert read_run_config(run)["family"] == "detect"
