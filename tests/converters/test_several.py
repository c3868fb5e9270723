"""Several sources as one dataset: names of classes, ids, sides, and what is said of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from annotations import InputError, UsageError, load_dataset, write_png
from annotations.dataset import load_version
from converters import ConvertOptions, FindOptions, ReadOptions, convert, convert_several
from converters.check import check_dataset
from converters.comparing import label_of
from converters.several import source_names
from converters.synthetic import SyntheticConfig, draw_category
from converters.update_options import UpdateOptions
from converters.updating import update

OPTIONS = ConvertOptions(find_groups=False, folds=2)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A drawn category in the layout of MVTec AD."""
    config = SyntheticConfig(n_train_good=4, n_test_good=3, n_per_type=3, image_hw=(48, 48))
    return draw_category(tmp_path_factory.mktemp("drawn"), config)


def yolo(folder: Path, labels: dict[str, str], names: list[str] | None, seed: int) -> Path:
    """Images with YOLO label lines by name; empty lines are good."""
    rng = np.random.default_rng(seed)
    for name, lines in labels.items():
        image = rng.integers(0, 255, (32, 40, 3), dtype=np.uint8)
        write_png(folder / "images" / f"{name}.png", image)
        path = folder / "labels" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    if names is not None:
        (folder / "classes.txt").write_text("\n".join(names))
    return folder


BOX = "0.5 0.5 0.25 0.25\n"
MANY = {f"{n}": f"{n % 2} {BOX}" if n < 6 else "" for n in range(10)}


def test_classes_meet_by_name_and_never_by_number(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    other = yolo(tmp_path / "other", MANY, ["dent", "stain"], 2)
    report = convert_several([one, other], tmp_path / "out", OPTIONS)
    data = load_dataset(tmp_path / "out")
    assert data.class_names == ("crack", "dent", "stain")
    # Every id stands in both: all have the source's name in front.
    assert sorted(data.by_id) == sorted(f"{s}/{n}" for s in ("one", "other") for n in MANY)
    assert any("10 ids stand in several sources" in note for note in report.notes)
    for sample in data.samples:
        source, _, number = sample.image_id.partition("/")
        assert sample.source == source
        names = {"one": ("crack", "dent"), "other": ("dent", "stain")}[source]
        expected = names[int(number) % 2] if int(number) < 6 else "good"
        assert sample.defect_type == expected
        labels = [data.class_names[n] for n in data.truths[sample.image_id].labels]
        assert labels == ([expected] if expected != "good" else [])
    assert check_dataset(data, reshots=False).problems == ()
    said = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert [one["name"] for one in said["sources"]] == ["one", "other"]
    assert said["sources"][1]["images_by_type"] == {"dent": 3, "good": 4, "stain": 3}
    assert str(tmp_path) not in json.dumps(said)


def test_an_update_keeps_sources_and_names_its_own(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    other = yolo(tmp_path / "other", MANY, ["dent", "stain"], 2)
    convert_several([one, other], tmp_path / "out", OPTIONS)
    more = yolo(tmp_path / "line-3", {"a": f"1 {BOX}", "b": ""}, ["dent", "stain"], 3)
    update(tmp_path / "out", more, UpdateOptions(convert=ConvertOptions(find_groups=False)))
    data = load_dataset(tmp_path / "out")
    assert {i: s.source for i, s in data.by_id.items() if "/" not in i} == {
        "a": "line-3", "b": "line-3",
    }  # fmt: skip
    assert data.by_id["a"].defect_type == "stain"
    assert {s.source for i, s in data.by_id.items() if "/" in i} == {"one", "other"}
    assert {s.source for s in load_version(tmp_path / "out", 1).samples} == {"one", "other"}
    assert check_dataset(data, reshots=False).problems == ()


def test_each_source_is_left_out_once_and_an_update_keeps_it_so(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    other = yolo(tmp_path / "other", MANY, ["crack", "dent"], 2)
    options = replace(OPTIONS, protocol="leave-one-source-out")
    with pytest.raises(UsageError, match="Name all sources in one call"):
        convert(one, tmp_path / "x", options)
    convert_several([one, other], tmp_path / "out", options)
    more = yolo(tmp_path / "week 2" / "other", {"a": f"1 {BOX}"}, ["crack", "dent"], 3)
    done = update(tmp_path / "out", more, UpdateOptions(convert=ConvertOptions(find_groups=False)))
    assert done.placed["fold 1, test"] == 1
    data = load_dataset(tmp_path / "out")
    assert data.split.detail == "fold 0 tests one; fold 1 tests other"
    for fold, name in zip(data.split.folds, ("one", "other"), strict=True):
        assert {data.by_id[i].source for i in fold.test} == {name}
        assert {data.by_id[i].source for i in (*fold.train, *fold.val)} == {"one", "other"} - {name}
    assert check_dataset(data, reshots=False).problems == ()


def test_numbers_without_names_end_in_the_list_of_names(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    other = yolo(tmp_path / "other", MANY, None, 2)
    with pytest.raises(InputError) as caught:
        convert_several([one, other], tmp_path / "out", OPTIONS)
    text = str(caught.value)
    assert f"{other} numbers its classes and names none" in text
    assert f"{one}: crack, dent; in {other}: class_0, class_1" in text
    assert "--classes" in text
    assert not (tmp_path / "out").exists()
    # A person says what they mean.
    mapped = ReadOptions(map_class={"class_0": "dent", "class_1": "stain"})
    convert_several([one, other], tmp_path / "out", ConvertOptions(folds=2, read=mapped))
    assert load_dataset(tmp_path / "out").class_names == ("crack", "dent", "stain")


def test_layouts_differ_and_labels_are_those_of_each_source_alone(tmp_path, drawn):
    other = yolo(tmp_path / "boxes", MANY, ["crack", "dent"], 3)
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", drawn))
    out = tmp_path / "out"
    report = convert_several([archive, other], out, OPTIONS)
    data = load_dataset(out)
    assert "packed.zip as mvtec" in report.layout
    assert "boxes as yolo" in report.layout
    assert {s.source for s in data.samples} == {"packed.zip", "boxes"}
    for source, name in ((drawn, "packed.zip"), (other, "boxes")):
        convert(source, tmp_path / f"alone-{name}", OPTIONS)
        alone = load_dataset(tmp_path / f"alone-{name}")
        mine = [s for s in data.samples if s.source == name]
        # No id stands in both, so that all stay as they are.
        assert [s.image_id for s in mine] == [s.image_id for s in alone.samples]
        for sample in mine:
            assert sample.sha256 == alone.by_id[sample.image_id].sha256
            assert label_of(data, sample.image_id) == label_of(alone, sample.image_id)
    # The sides that one source has stay.
    train = {s.image_id for s in data.samples if s.source_split == "train"}
    assert {i for i in train if data.by_id[i].source == "packed.zip"} == {
        i for i in data.by_id if i.startswith("train/")
    }
    assert check_dataset(data, reshots=False).problems == ()


def test_equal_images_of_two_sources_are_one_part(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    other = yolo(tmp_path / "other", {"x": f"0 {BOX}", "y": "", "z": ""}, ["crack"], 2)
    shutil.copy(one / "images" / "0.png", other / "images" / "x.png")
    convert_several([one, other], tmp_path / "out", OPTIONS)
    data = load_dataset(tmp_path / "out")
    assert data.by_id["x"].group == data.by_id["0"].group
    # Good in one source and defective in the other, by a box that somebody drew: counted.
    shutil.copy(one / "images" / "1.png", other / "images" / "y.png")
    report = convert_several([one, other], tmp_path / "again", OPTIONS)
    assert report.counts["defective images whose equal file is filed as good"] == 1


def test_what_is_said_needs_an_effect_in_one_source_and_not_in_all(tmp_path, drawn):
    one = yolo(tmp_path / "one", MANY, None, 1)
    named = ConvertOptions(folds=2, find=FindOptions(classes=("crack", "dent")))
    convert_several([one, drawn], tmp_path / "out", named)
    assert {"crack", "dent"} < set(load_dataset(tmp_path / "out").class_names)
    with pytest.raises(UsageError, match="--crowd-is-defect would have no effect in any source"):
        convert_several(
            [yolo(tmp_path / "two", MANY, ["a", "b"], 2), drawn], tmp_path / "x",
            ConvertOptions(find=FindOptions(crowd_is_defect=True)),
        )  # fmt: skip
    with pytest.raises(UsageError, match="--map-class"):
        convert_several(
            [tmp_path / "two", drawn], tmp_path / "x",
            ConvertOptions(read=ReadOptions(map_class={"no-such": "dent"})),
        )  # fmt: skip


def test_sources_that_overlap_are_refused(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    with pytest.raises(InputError, match="is given twice"):
        convert_several([one, one / ".." / "one"], tmp_path / "out")
    with pytest.raises(InputError, match="would be read twice"):
        convert_several([one / "images", one], tmp_path / "out")
    with pytest.raises(UsageError, match="two or more"):
        convert_several([one], tmp_path / "out")


def test_names_that_differ_in_capitals_are_said(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["crack", "dent"], 1)
    other = yolo(tmp_path / "other", MANY, ["Crack", "dent"], 2)
    report = convert_several([one, other], tmp_path / "out", OPTIONS)
    assert any("Crack and crack differ in capitals alone" in note for note in report.notes)


def test_names_have_as_many_folders_as_tell_them_apart(tmp_path):
    assert source_names([Path("/a/line_1"), Path("/b/line_2")]) == ["line_1", "line_2"]
    assert source_names([Path("/x/a/set"), Path("/x/b/set"), Path("/x/c/other")]) == [
        "a/set", "b/set", "other",
    ]  # fmt: skip
    assert source_names([Path("/a/x/set"), Path("/b/x/set")]) == ["a/x/set", "b/x/set"]


def test_one_source_alone_says_nothing_of_sources(tmp_path, drawn):
    convert(drawn, tmp_path / "out", OPTIONS)
    text = (tmp_path / "out" / "annotations" / "all.json").read_text()
    assert '"source"' not in text
    assert {s.source for s in load_dataset(tmp_path / "out").samples} == {""}
    assert "sources" not in json.loads((tmp_path / "out" / "conversion.json").read_text())


def test_given_names_hold_for_yolo_without_a_data_yaml(tmp_path):
    one = yolo(tmp_path / "one", MANY, ["a", "b"], 1)
    named = ConvertOptions(folds=2, find=FindOptions(classes=("crack", "dent")))
    convert(one, tmp_path / "out", named)
    assert load_dataset(tmp_path / "out").class_names == ("crack", "dent")
