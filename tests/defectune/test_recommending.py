"""What is trained where no family is named."""

from dataclasses import replace
from types import MappingProxyType

import pytest

import defectune as dt
from annotations import Regions, load_dataset
from converters import ConvertOptions
from defectune.cli import app
from defectune.families import choose_config
from defectune.library.recommending import recommended
from tests.drawn import drawn_dataset
from tests.line import CliRunner
from training import SilentReporter


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def known_by(dataset, strength):
    def weaker(truth):
        if not len(truth):
            return truth
        if strength == "image":
            return Regions.empty(truth.image_hw)
        return replace(truth, masks=None)

    truths = {name: weaker(truth) for name, truth in dataset.truths.items()}
    return replace(dataset, truths=MappingProxyType(truths))


def test_labels_decide(dataset, tmp_path):
    n = sum(sample.is_defective for sample in dataset.samples)
    chosen = recommended(dataset)
    assert (chosen.family, chosen.method) == ("segment", "hybrid")
    assert f"of {n} defective images to train on there are {n} with masks" in chosen.why
    boxes = recommended(known_by(dataset, "boxes"))
    assert (boxes.family, boxes.method) == ("detect", "yolo")
    images = recommended(known_by(dataset, "image"))
    assert (images.family, images.method) == ("segment", "hybrid")
    assert f"{n} with an image label alone" in images.why
    official = load_dataset(drawn_dataset(tmp_path, ConvertOptions(protocol="official")))
    good = recommended(official)
    assert (good.family, good.method) == ("classify", "patch-memory")


def test_the_line_takes_a_dataset_in_place_of_a_family(tmp_path):
    root = drawn_dataset(tmp_path, ConvertOptions(protocol="official"))
    done = CliRunner().invoke(app, ["train", str(root), "--image-size", "8192", "--fold", "0"])
    assert done.exit_code == 2
    assert "patch-memory" in done.output
    assert "image_size=8192" in str(done.exception)
    assert not (root / "runs").exists()


def test_without_a_family_an_older_run_can_be_begun_with(tmp_path):
    root = drawn_dataset(tmp_path)
    done = CliRunner().invoke(app, ["train", str(root), "--from", "first"])
    assert done.exit_code == 1
    assert "There is no run 'first'" in str(done.exception)


def test_without_a_family_it_says_what_is_trained_and_why(tmp_path, monkeypatch):
    root = drawn_dataset(tmp_path)
    seen = {}

    def fake(family, dataset_root, **options):
        seen.update(family=family, values=options["values"])
        return []

    monkeypatch.setattr("defectune.families.train_seeds", fake)
    lines = []

    class Says(SilentReporter):
        def say(self, text):
            lines.append(text)

    assert dt.train(root, seeds=1, image_size=64, progress=Says()) == []
    assert seen["family"] == "segment"
    assert seen["values"]["method"] == "hybrid"
    assert lines[0].startswith("Training segment with the method hybrid: of ")


def test_a_unets_setting_trains_a_unet():
    said = []
    chosen, name = choose_config(
        "segment",
        recipe=None,
        model=None,
        values={"architecture": "FPN"},
        notice=said.append,
    )
    assert isinstance(chosen, dt.SegmentConfig)
    assert name == "segment-unet"
    assert said == ["The settings given are those of --method unet, which is taken."]
    plain, name = choose_config("segment", recipe="plain", model=None, values={})
    assert isinstance(plain, dt.SegmentConfig)
    assert name == "segment-unet-plain"
    usual, name = choose_config("segment", recipe=None, model=None, values={"epochs": 3})
    assert isinstance(usual, dt.HybridConfig)
    assert name == "segment"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("segmnt", "'segmnt' is no family, and no folder of a dataset. Did you mean segment?"),
        ("no/such/out", "'no/such/out' is no family, and no folder of a dataset. The families"),
    ],
)
def test_a_slip_in_the_first_word_is_told_as_what_it_may_have_been(word, said):
    done = CliRunner().invoke(app, ["train", word])
    assert done.exit_code == 2
    assert said in f"{done.output}{done.exception}"
