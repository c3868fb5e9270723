"""Labels of images alone: class folders, good images alone, masks that are missing."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import (
    InputError,
    LayoutError,
    ProtocolError,
    UsageError,
    load_dataset,
    require_defects_in_training,
    write_png,
)
from converters import ConvertOptions, FindOptions, convert
from converters.check import check_dataset
from converters.names import means_good
from tests.drawn import drawn_dataset

RNG = np.random.default_rng(7)


def pictures(folder, n, start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + n):
        pixels = RNG.integers(0, 255, (24, 24, 3)).astype(np.uint8)
        write_png(folder / f"{number:03d}.png", pixels)


def converted(tmp_path, **find):
    options = ConvertOptions(folds=2, find=FindOptions(**find))
    report = convert(tmp_path / "src", tmp_path / "out", options)
    return load_dataset(tmp_path / "out"), report


def ok_ng(tmp_path, good="OK", bad="NG", sides=("",)):
    for side in sides:
        pictures(tmp_path / "src" / side / good, 8)
        pictures(tmp_path / "src" / side / bad, 4, start=50)


@pytest.mark.parametrize(
    ("good", "bad"), [("OK", "NG"), ("good", "bad"), ("ok_front", "def_front")]
)
def test_two_folders_are_a_dataset(tmp_path, good, bad):
    ok_ng(tmp_path, good, bad)
    data, report = converted(tmp_path)
    assert report.layout.startswith("class-folders")
    assert data.class_names == (bad,)
    assert {i: s for i, s in data.strengths.items() if s != "masks"} == {
        f"{bad}/{n:03d}": "image" for n in range(50, 54)
    }
    assert report.label_strengths == {"image": 4}
    assert report.empty_masks == []
    assert check_dataset(data).problems == ()


def test_an_image_label_makes_no_mask_no_label_file_and_no_line(tmp_path):
    ok_ng(tmp_path)
    data, _ = converted(tmp_path)
    assert not (data.root / "masks").exists()
    assert sorted(p.stem[:2] for p in (data.root / "yolo/labels").glob("*.txt")) == ["OK"] * 8
    lists = [p.read_text() for p in (data.root / "yolo").rglob("t*.txt")]
    assert "OK__" in "".join(lists)
    assert "NG__" not in "".join(lists)
    document = json.loads((data.root / "annotations/all.json").read_text())
    said = {
        i["defectune"]["image_id"]: i["defectune"]["label_strength"] for i in document["images"]
    }
    assert said == data.strengths
    assert document["annotations"] == []


def test_sides_above_the_classes_are_kept(tmp_path):
    ok_ng(tmp_path, "ok_front", "def_front", sides=("train", "test"))
    data, _ = converted(tmp_path)
    assert data.split.protocol == "official"
    assert {s.source_split for s in data.samples} == {"train", "test"}
    assert len(data.split.test_ids) == 12


def test_several_types_and_cameras_below_both(tmp_path):
    for camera in ("cam_a", "cam_b"):
        pictures(tmp_path / "src" / "good" / camera, 4)
        pictures(tmp_path / "src" / "NG" / camera, 2)
    pictures(tmp_path / "src" / "scratch", 2)
    data, _ = converted(tmp_path)
    assert data.class_names == ("NG", "scratch")
    assert sum(s.defect_type == "NG" for s in data.samples) == 4


def test_a_class_of_one_image_is_said(tmp_path):
    ok_ng(tmp_path)
    pictures(tmp_path / "src" / "dent", 1)
    _, report = converted(tmp_path)
    assert any("of dent there is a single image" in note for note in report.notes)


def test_without_a_good_folder_the_option_is_named(tmp_path):
    pictures(tmp_path / "src" / "crack", 3)
    pictures(tmp_path / "src" / "perfect", 6)
    with pytest.raises(LayoutError, match=r"--layout class-folders --good NAME"):
        converted(tmp_path)
    with pytest.raises(InputError, match="none of them means good"):
        convert(tmp_path / "src", tmp_path / "out", ConvertOptions(layout="class-folders"))
    data, _ = converted(tmp_path, good=("perfect",))
    assert data.class_names == ("crack",)


@pytest.mark.parametrize("folder", ["good", "train/good"])
def test_good_images_alone_are_held_out_to_test_on(tmp_path, folder):
    pictures(tmp_path / "src" / folder, 20)
    data, report = converted(tmp_path)
    assert data.split.protocol == "official"
    assert len(data.split.test_ids) == 6
    assert data.class_names == ()
    assert any("every image is good" in note for note in report.notes)


def test_a_flat_folder_needs_one_option(tmp_path):
    pictures(tmp_path / "src", 20)
    with pytest.raises(LayoutError, match="--good-only"):
        converted(tmp_path)
    data, _ = converted(tmp_path, good_only=True)
    assert len(data.samples) == 20
    assert not any(s.is_defective for s in data.samples)


def test_good_only_does_not_overrule_a_folder_of_defects(tmp_path):
    ok_ng(tmp_path)
    with pytest.raises(InputError, match=r"beside OK there are the folders NG \(4\)"):
        converted(tmp_path, good_only=True)


def remove_masks(source, n):
    masks = sorted((source / "ground_truth").rglob("*.png"))
    for path in masks[:n]:
        path.unlink()
    return len(masks)


def test_missing_masks_are_refused_with_the_option_and_then_counted_by_type(tmp_path):
    drawn_dataset(tmp_path)
    source = next((tmp_path / "source").rglob("ground_truth")).parent
    n = remove_masks(source, 5)
    with pytest.raises(InputError, match="--missing-masks image-label"):
        convert(source, tmp_path / "no", ConvertOptions(folds=2))
    options = ConvertOptions(folds=2, find=FindOptions(missing_masks="image-label"))
    report = convert(source, tmp_path / "out", options)
    data = load_dataset(tmp_path / "out")
    assert report.label_strengths == {"image": 5, "masks": n - 5}
    counts = {k: v for k, v in report.counts.items() if "without a mask" in k}
    assert sum(counts.values()) == 5
    assert any("(broken_large)" in k for k in counts)
    assert check_dataset(data).problems == ()


def test_missing_masks_of_pairs_with_classes(tmp_path):
    source = tmp_path / "src"
    ok_ng(tmp_path)
    mask = np.zeros((24, 24), np.uint8)
    mask[3:9, 3:9] = 255
    write_png(source / "NG" / "050_mask.png", mask)
    with pytest.raises(InputError, match="--missing-masks image-label"):
        converted(tmp_path)
    data, report = converted(tmp_path, missing_masks="image-label")
    assert report.layout.startswith("pairs")
    assert report.label_strengths == {"image": 3, "masks": 1}
    assert data.strengths["NG/050"] == "masks"


def test_an_option_without_effect_is_refused(tmp_path):
    ok_ng(tmp_path)
    with pytest.raises(UsageError, match="--missing-masks would have no effect"):
        converted(tmp_path, missing_masks="image-label")


def test_a_stated_strength_must_be_that_of_the_regions(tmp_path):
    root = drawn_dataset(tmp_path)
    path = root / "annotations/all.json"
    document = json.loads(path.read_text())
    entry = next(i for i in document["images"] if i["defectune"]["defect_type"] != "good")
    entry["defectune"]["label_strength"] = "boxes"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="has the label_strength 'boxes'"):
        load_dataset(root)
    # Datasets from before there were strengths.
    for image in document["images"]:
        del image["defectune"]["label_strength"]
    path.write_text(json.dumps(document))
    assert set(load_dataset(root).strengths.values()) == {"masks"}


@given(st.sampled_from(["front", "back", "top", "left", "view"]), st.sampled_from(["not", "def"]))
def test_a_view_says_nothing_of_the_part(view, no):
    assert means_good(f"ok_{view}")
    assert not means_good(f"{no}_ok_{view}") or no == "def"
    assert not means_good(f"def_{view}")
    assert not means_good(view)


def test_a_mask_that_marks_a_good_image_is_refused(tmp_path):
    drawn_dataset(tmp_path)
    source = next((tmp_path / "source").rglob("ground_truth")).parent
    image = sorted((source / "test/good").glob("*.png"))[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[5:20, 5:20] = 255
    path = source / "ground_truth/good" / f"{image.stem}_mask.png"
    path.parent.mkdir()
    write_png(path, mask)
    with pytest.raises(InputError, match=r"is filed under good, but .* marks 225 pixels"):
        convert(source, tmp_path / "out", ConvertOptions(folds=2))


def test_trainers_of_defects_say_that_there_are_none(tmp_path):
    pictures(tmp_path / "src/good", 20)
    data, _ = converted(tmp_path)
    with pytest.raises(ProtocolError, match=r"the dataset has none\. Train 'classify'"):
        require_defects_in_training(data.split, data.samples, family="detect")
