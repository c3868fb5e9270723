"""What a stranger's run or checkpoint may do when it is opened: nothing."""

import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch

from annotations import InputError, load_dataset
from detect import DetectConfig, train_detector
from detect.checkpoint_scan import scan_checkpoint
from detect.network import read_checkpoint
from detect.ultralytics_setup import import_ultralytics
from tests.drawn import drawn_dataset
from training import SilentReporter


class Calls:
    def __init__(self, called, *arguments):
        self.called, self.arguments = called, arguments

    def __reduce__(self):
        return self.called, self.arguments


def layers(*backbone):
    return {"nc": 1, "backbone": list(backbone), "head": [[[-1], 1, "Detect", ["nc"]]]}


def calls():
    import_ultralytics()
    from ultralytics.nn import tasks
    from ultralytics.nn.modules import block

    wide = [-1, 1, "Conv", [60_000, 3, 2]]
    fetched = [-1, 1, "TorchVision", [16, "resnet18", "DEFAULT", True, 2]]
    return [
        Calls(tasks.DetectionModel, layers(wide, wide)),
        Calls(tasks.DetectionModel, layers(fetched)),
        Calls(tasks.RTDETRDetectionModel, layers()),
        Calls(block.TorchVision, "resnet18", "DEFAULT"),
        Calls(torch.nn.Linear, 200_000, 20_000),
        Calls(torch.nn.Embedding, 10**6, 1200),
        Calls(bytearray, 10**12),
    ]


def test_no_constructor_that_a_checkpoint_names_is_called(tmp_path, monkeypatch):
    def never(*_arguments, **_options):
        raise AssertionError("A layer was built.")

    made = calls()
    monkeypatch.setattr(torch.nn.Module, "__init__", never)
    for number, value in enumerate(made):
        path = tmp_path / f"{number}.pt"
        torch.save({"model": value, "ema": None, "train_args": {}, "epoch": 0}, path)
        with pytest.raises(InputError, match=r"nothing in it was run.*to build a layer"):
            read_checkpoint(path)


def saved(path, value):
    torch.save(value, path)
    return path


def test_a_checkpoint_may_cost_no_more_than_its_size(tmp_path):
    large = saved(tmp_path / "large.pt", {"w": torch.zeros(1).expand(10**9)})
    with pytest.raises(ValueError, match=r"a tensor of \[1000000000\] numbers, its storage 1"):
        scan_checkpoint(large)
    nested = [1]
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(ValueError, match="more than 5,000,000 objects"):
        scan_checkpoint(saved(tmp_path / "nested.pt", {"w": nested}))
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps([0] * 100_000, protocol=2))
    with pytest.raises(ValueError, match="its records are packed"):
        scan_checkpoint(packed)
    old = tmp_path / "old.pt"
    torch.save({"w": torch.zeros(2)}, old, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"no archive of torch 1\.6"):
        scan_checkpoint(old)


def test_an_honest_checkpoint_passes(tmp_path):
    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    shared = torch.zeros(4)
    ring = [shared, shared]
    ring.append(ring)
    scan_checkpoint(saved(tmp_path / "ring.pt", {"w": ring}))
    network = DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    path = saved(tmp_path / "own.pt", {"model": network.half(), "ema": None, "train_args": {}})
    scan_checkpoint(path)
    found = read_checkpoint(path)
    assert set(found.state_dict()) == set(network.state_dict())


def test_a_cut_pickle_is_refused_whatever_is_left(tmp_path):
    whole = pickle.dumps({"w": [1, (2, 3), {"a": "b"}]}, protocol=2)
    for length in range(len(whole)):
        path = tmp_path / "cut.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", whole[:length])
            archive.writestr("a/version", "3\n")
        with pytest.raises((ValueError, RuntimeError)):
            scan_checkpoint(path)


class Evil:
    def __reduce__(self):
        return open, ("EXECUTED", "w")


def evil_cache(folder):
    folder.mkdir(parents=True)
    array = np.empty(1, object)
    array[0] = Evil()
    for side in ("train", "val"):
        with (folder / f"{side}.cache").open("wb") as file:
            np.save(file, array, allow_pickle=True)


@pytest.mark.parametrize("place", ["runs/r", "runs/r/fold-0", "runs/r/fold-0/data"])
def test_a_run_that_leads_elsewhere_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset(drawn_dataset(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    evil_cache(elsewhere / "labels")
    link = dataset.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    before = sorted(os.walk(elsewhere))
    config = DetectConfig(model="yolo11n.pt", weights="none", epochs=1, image_size=32)
    with pytest.raises(InputError, match="is a link"):
        train_detector(dataset, config, name="r", folds=[0], reporter=SilentReporter())
    assert sorted(os.walk(elsewhere)) == before
    assert not (tmp_path / "EXECUTED").exists()


def test_no_label_cache_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import_ultralytics()
    from ultralytics.data import dataset, utils

    evil_cache(tmp_path / "labels")
    for module in (dataset, utils):
        with pytest.raises(FileNotFoundError):
            module.load_dataset_cache_file(tmp_path / "labels" / "train.cache")
    assert not (tmp_path / "EXECUTED").exists()
    assert sys.modules["ultralytics.data.dataset"] is dataset
