"""What holds for every source: nothing lost, no image that lies, the source's own division."""

import json
import zipfile
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from annotations import (
    GOOD,
    InputError,
    ProtocolError,
    Regions,
    Shots,
    UsageError,
    load_dataset,
    mask_to_regions,
    require_defects_in_training,
)
from benchmarks.sources import BAD, NAMES, SOURCES, coco_file, images, picture, put
from converters import ConvertOptions, FindOptions, ReadOptions, convert
from converters.check import check_dataset
from defectune.library.conversion import convert as convert_by_name


def written(root, layout, kind):
    source = next(s for s in SOURCES if (s.layout, s.kind) == (layout, kind))
    root.mkdir()
    source.write(root)
    return root


def two_classes(root, second="dent", *, larger=True):
    """COCO: every image has a box of `second`, the bad ones a scratch as well."""
    images(root)
    document = coco_file([])
    document["categories"].append({"id": 2, "name": second})
    size = 18 if larger else 2
    for n in range(len(NAMES)):
        document["annotations"].append(
            {"id": 100 + n, "image_id": n + 1, "category_id": 2, "bbox": [1, 1, size, size]}
        )
    (root / "labels.json").write_text(json.dumps(document))
    return root


@pytest.mark.parametrize("name", ["Good Weld", "OK", "normal", "good"])
@pytest.mark.parametrize("larger", [True, False])
def test_boxes_of_good_parts_are_dropped_and_nothing_else(tmp_path, name, larger):
    root = two_classes(tmp_path / "source", name, larger=larger)
    mapped = {name: "good"} if name == "Good Weld" else {}
    options = ConvertOptions(folds=2, read=ReadOptions(map_class=mapped))
    convert(root, tmp_path / "out", options)
    dataset = load_dataset(tmp_path / "out")
    assert {s.image_id for s in dataset.samples if s.is_defective} == set(BAD)
    assert all(s.defect_type in (GOOD, "scratch") for s in dataset.samples)
    assert all(len(dataset.truths[name]) == 1 for name in BAD)


def test_a_good_image_with_a_region_cannot_be_a_dataset(tmp_path):
    convert(written(tmp_path / "s", "pairs", "masks"), tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    good = next(s.image_id for s in dataset.samples if not s.is_defective)
    some = mask_to_regions(np.eye(24, 32, dtype=bool))
    with pytest.raises(ValueError, match="is good, and has 1 defect regions"):
        replace(dataset, truths=MappingProxyType({**dataset.truths, good: some}))
    bad = next(s.image_id for s in dataset.samples if s.is_defective)
    emptied = MappingProxyType({**dataset.truths, bad: Regions.empty((24, 32))})
    assert replace(dataset, truths=emptied).empty == (bad,)
    path = tmp_path / "out" / "annotations" / "all.json"
    document = json.loads(path.read_text())
    for entry in document["images"]:
        entry["defectune"]["defect_type"] = "good"
        entry["defectune"]["mask"] = None
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="is good, and has"):
        load_dataset(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"read": ReadOptions(map_class={"scratsh": "good"})}, "Did you mean scratch"),
        ({"read": ReadOptions(ignore=("hole",))}, "--ignore names the class 'hole'"),
        ({"find": FindOptions(good=("fine",))}, "--good names the class 'fine'"),
        ({"find": FindOptions(classes=("a",))}, "--classes would have no effect"),
        ({"read": ReadOptions(mask_threshold=3)}, "--mask-threshold would have no effect"),
        ({"read": ReadOptions(mask_values={1: "a"})}, "--mask-values would have no effect"),
        ({"shots": Shots(3)}, "belong to --protocol few-shot"),
        ({"protocol": "kfolds"}, "Did you mean kfold"),
        ({"protocol": "kfold", "folds": 1}, "at least 2 folds"),
        ({"layout": "yolov8"}, "Did you mean yolo"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, options, message):
    root = written(tmp_path / "source", "coco", "boxes")
    with pytest.raises(UsageError, match=message):
        convert(root, tmp_path / "out", ConvertOptions(**{"folds": 2, **options}))
    assert not (tmp_path / "out").exists()


def test_wrong_options_are_refused_before_an_image_is_read(tmp_path):
    root = written(tmp_path / "source", "coco", "boxes")
    (root / "images" / "p00.png").write_bytes(b"broken")
    with pytest.raises(UsageError):
        convert(root, tmp_path / "out", ConvertOptions(protocol="nested"))  # type: ignore[arg-type]


def test_folds_ask_for_kfold_and_belong_to_no_other_protocol(tmp_path):
    root = written(tmp_path / "source", "coco", "boxes")
    made = convert_by_name(root, tmp_path / "out", folds=3, progress=False).split
    assert (made.protocol, len(made.folds)) == ("kfold", 3)
    with pytest.raises(UsageError, match="folds belongs to protocol='kfold'"):
        convert_by_name(root, tmp_path / "x", protocol="holdout", folds=3, progress=False)


def test_classes_that_never_occur_are_told(tmp_path):
    root = written(tmp_path / "source", "class-masks", "masks")
    report = convert(root, tmp_path / "out", ConvertOptions(folds=2))
    assert report.n_components["dent"] == 0


def test_a_stray_pair_outside_of_the_class_folders_is_no_class(tmp_path):
    root = tmp_path / "tiles"
    for kind in ("MT_Free", "MT_Crack"):
        for n in range(4):
            put(root / kind / f"{n}.jpg", picture(n + 10 * len(kind)))
            mask = np.zeros((24, 32), np.uint8)
            mask[3:9, 3:9] = 255 * (kind == "MT_Crack")
            put(root / kind / f"{n}.png", mask)
    put(root / "dataset.jpg", picture(70))
    put(root / "dataset.png", (picture(71)[..., 0] > 128).astype(np.uint8) * 255)
    with pytest.raises(InputError, match=r"1 pairs outside of the folders.*dataset\.jpg"):
        convert(root, tmp_path / "out", ConvertOptions(folds=2))
    convert(root, tmp_path / "out", ConvertOptions(folds=2, allow_leftovers=True))
    assert load_dataset(tmp_path / "out").class_names == ("MT_Crack",)


def test_numbered_folders_are_parts_by_their_whole_path(tmp_path):
    root = tmp_path / "kos"
    for line in ("line1", "line2"):
        for part in ("kos01", "kos02"):
            for shot in range(2):
                put(
                    root / line / part / f"{shot}.jpg",
                    picture(100 * int(line[-1]) + 10 * int(part[-1]) + shot),
                )
                mask = np.zeros((24, 32), np.uint8)
                mask[3:9, 3:9] = 255 * shot
                put(root / line / part / f"{shot}_label.bmp", mask)
    convert(root, tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    assert len({sample.group for sample in dataset.samples}) == 4
    # Every part has a defect: the good images of the other folds are what one-class methods get.
    for fold in dataset.split.folds:
        for side in (fold.train, fold.val):
            assert any(not dataset.by_id[i].is_defective for i in side) or len(side) < 2


def sided(root, *, defects_in=("train", "valid", "test")):
    for n, side in enumerate(("train", "valid", "test")):
        for k in range(4):
            name = f"{side}{k}"
            put(root / side / "images" / f"{name}.png", picture(10 * n + k))
            label = root / side / "labels" / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.5 0.5 0.25 0.25\n" if k % 2 and side in defects_in else "")
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [dent]\n"
    )
    return root


@pytest.mark.parametrize("protocol", ["auto", "official"])
def test_the_division_of_the_source_is_kept(tmp_path, protocol):
    root = sided(tmp_path / "source")
    convert(root, tmp_path / "out", ConvertOptions(protocol=protocol))
    dataset = load_dataset(tmp_path / "out")
    assert dataset.split.protocol == "official"
    (fold,) = dataset.split.folds
    assert {i.split("/")[0] for i in fold.train} == {"train"}
    assert {i.split("/")[0] for i in fold.val} == {"valid"}
    assert {i.split("/")[0] for i in fold.test} == {"test"}
    assert len(fold.train) == len(fold.val) == len(fold.test) == 4
    require_defects_in_training(dataset.split, dataset.samples, family="detect")


def test_official_is_refused_only_where_no_defect_is_on_the_training_side(tmp_path):
    root = sided(tmp_path / "source", defects_in=("test",))
    convert(root, tmp_path / "out", ConvertOptions(protocol="official"))
    dataset = load_dataset(tmp_path / "out")
    with pytest.raises(ProtocolError, match="the training side has none"):
        require_defects_in_training(dataset.split, dataset.samples, family="detect")
    convert(root, tmp_path / "auto", ConvertOptions(folds=2))
    assert load_dataset(tmp_path / "auto").split.protocol == "kfold"


def test_a_set_without_good_images_says_what_cannot_be_had(tmp_path):
    root = written(tmp_path / "source", "voc", "boxes")
    for name in set(NAMES) - set(BAD):
        (root / "JPEGImages" / f"{name}.png").unlink()
        (root / "Annotations" / f"{name}.xml").unlink()
    report = convert(root, tmp_path / "out", ConvertOptions(folds=2))
    assert any("no good image is among the test images" in note for note in report.notes)


def test_a_zip_is_unpacked_and_copied(tmp_path):
    root = written(tmp_path / "source", "coco", "RLE")
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for one in sorted(root.rglob("*")):
            if one.is_file():
                archive.write(one, f"export/{one.relative_to(root).as_posix()}")
    report = convert(path, tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    assert report.source == path
    assert len(dataset.samples) == len(NAMES)
    assert not any(sample.image_path.is_symlink() for sample in dataset.samples)
    assert check_dataset(dataset, reshots=False).problems == ()


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png"])
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path, name):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="which leaves it"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "evil.png").exists()


def test_a_zip_bomb_and_a_broken_zip_are_refused(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(30 << 20))
    with pytest.raises(InputError, match=r"unpacks to 31,457,280 bytes"):
        convert(bomb, tmp_path / "out")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(bomb.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be unpacked"):
        convert(broken, tmp_path / "out")


UNKNOWN = {
    "nothing": ({}, "It is empty"),
    "text alone": ({"a.md": b"x"}, "holds no image"),
    "video": ({"a.mp4": b"x"}, "holds videos"),
    "zip inside": ({"a.zip": b"x"}, "holds the archive a.zip"),
    "images alone": ({"a.png": None}, "without any label or mask"),
    "unknown json": ({"a.png": None, "a.json": b'{"foo": 1, "bar": 2}'}, "its keys are foo"),
    "brush": ({"images/a.png": None, "masks/task-1-annotation-2-by-3-tag-x-0.png": None}, "brush"),
    "mask of another name": ({"images/a.png": None, "masks/b7.png": None}, "looks like a mask"),
    "table": ({"a.png": None, "l.xlsx": b"x"}, "Save the table"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_source_gets_an_answer_that_helps(tmp_path, name):
    content, message = UNKNOWN[name]
    root = tmp_path / "source"
    root.mkdir()
    for file, data in content.items():
        if data is None:
            put(root / file, picture(len(file)))
        else:
            (root / file).write_bytes(data)
    with pytest.raises(InputError) as caught:
        convert(root, tmp_path / "out")
    assert message in str(caught.value)
    assert "coco needs a JSON" in str(caught.value)


@pytest.mark.parametrize("names", [["a.png"], ["monday/a.png", "tuesday/b.png"]])
def test_unlabelled_images_are_for_predict_or_all_good(tmp_path, names):
    root = tmp_path / "source"
    for number, name in enumerate(names):
        put(root / name, picture(number))
    with pytest.raises(InputError) as caught:
        convert(root, tmp_path / "out")
    text = str(caught.value)
    assert "Where all" in text
    assert "say so (--good-only)." in text
    assert "`defectune predict RUN FOLDER`" in text


def test_advice_is_given_only_where_it_has_an_effect(tmp_path):
    """YOLO takes unlabeled images for good ones by itself: the option would be refused there."""
    root = sided(tmp_path / "yolo")
    put(root / "more" / "stray.png", picture(99))
    with pytest.raises(InputError, match=r"more/stray\.png") as caught:
        convert(root, tmp_path / "out")
    assert "--no-mask-is-good" not in str(caught.value)
    voc = written(tmp_path / "voc", "voc", "boxes")
    put(voc / "more" / "stray.png", picture(99))
    with pytest.raises(InputError, match="--no-mask-is-good"):
        convert(voc, tmp_path / "out", ConvertOptions(folds=2))


def test_of_a_single_label_file_only_what_it_names_is_the_source(tmp_path):
    options = ConvertOptions(folds=2, find=FindOptions(no_mask_is_good=True))
    for layout in ("coco", "cvat"):
        root = written(tmp_path / layout, layout, "boxes")
        put(root / "more" / "stray.png", picture(99))
        (label,) = [*root.rglob("*.json"), *root.rglob("*.xml")]
        convert(label, tmp_path / f"{layout}-out", options)
        assert len(load_dataset(tmp_path / f"{layout}-out").samples) == len(NAMES)
    # One VOC file is one image, whatever lies beside it.
    root = written(tmp_path / "voc", "voc", "boxes")
    with pytest.raises(InputError, match="1 groups of test images cannot fill 2 folds"):
        convert(root / "Annotations" / f"{BAD[0]}.xml", tmp_path / "out", options)
