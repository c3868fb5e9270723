"""Conversion of the MVTec layout: exact, whole or not at all, and clear about bad input."""

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from annotations import (
    DefectuneError,
    ImageReadError,
    InputError,
    LayoutError,
    OutputExistsError,
    UsageError,
    load_dataset,
    write_png,
)
from annotations.images import sha256_of
from converters import ConvertOptions, convert
from converters.synthetic import draw_category
from tests.drawn import SMALL, drawn_dataset


@pytest.fixture
def source(tmp_path):
    return draw_category(tmp_path / "source", SMALL)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_pycocotools_alone_gives_every_mask_back(tmp_path, source):
    report = convert(source, tmp_path / "out")
    assert report.n_masks == report.n_exact == 12
    coco = COCO(str(tmp_path / "out" / "annotations" / "all.json"))
    assert len(coco.imgs) == 22
    for number, image in coco.imgs.items():
        union = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[number])):
            mask = coco.annToMask(annotation)
            union |= mask
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert (x, x + width) == (columns.min(), columns.max() + 1)
            assert (y, y + height) == (rows.min(), rows.max() + 1)
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
        kind, stem = image["defectune"]["image_id"].split("/")[-2:]
        if kind == "good":
            assert not union.any()
        else:
            path = source / "ground_truth" / kind / f"{stem}_mask.png"
            assert (union == (cv2.imread(str(path), -1) > 0)).all()


def test_what_stands_in_the_folder(tmp_path, source):
    convert(source, tmp_path / "out", ConvertOptions(folds=2))
    out = tmp_path / "out"
    dataset = load_dataset(out)
    assert dataset.class_names == ("broken_large", "broken_small", "contamination")
    assert len(dataset.samples) == 22
    for sample in dataset.samples:
        assert sha256_of(sample.image_path) == sample.sha256
        height, width = sample.image_hw
        lines = (out / "yolo" / "labels" / f"{sample.stem}.txt").read_text().splitlines()
        truth = dataset.truths[sample.image_id]
        got = np.array([line.split() for line in lines], float).reshape(-1, 5)
        assert got[:, 0].tolist() == truth.labels.tolist()
        center, size = got[:, 1:3] * [width, height], got[:, 3:] * [width, height]
        boxes = np.concatenate((center - size / 2, center + size / 2), axis=1)
        assert boxes == pytest.approx(truth.boxes_xyxy, abs=1e-6)
        if sample.is_defective:
            name = f"{sample.image_id.split('/')[-1]}.png"
            mask = cv2.imread(str(out / "masks" / sample.defect_type / name), -1)
            assert (mask == truth.class_index_mask()).all()
    for number, fold in enumerate(dataset.split.folds):
        place = out / "yolo" / f"fold-{number}"
        data = yaml.safe_load((place / "data.yaml").read_text())
        assert data["names"] == dict(enumerate(dataset.class_names))
        for side in ("train", "val", "test"):
            listed = (place / data[side]).read_text().splitlines()
            assert len(listed) == len(getattr(fold, side))
            assert all((place / line).is_file() for line in listed)
            part = json.loads((out / "annotations" / f"fold-{number}" / f"{side}.json").read_text())
            assert part["info"]["split_digest"] == dataset.split.digest
            ids = {image["defectune"]["image_id"] for image in part["images"]}
            assert ids == set(getattr(fold, side))
    report = json.loads((out / "conversion.json").read_text())
    assert report["split_digest"] == dataset.split.digest
    assert report["images"] == 22
    assert report["round_trip"]["exact"] == report["round_trip"]["of"] == 12


def test_the_same_twice(tmp_path, source):
    for name in ("one", "two"):
        convert(source, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize("protocol", ["holdout", "official"])
def test_other_protocols_have_one_data_file(tmp_path, source, protocol):
    convert(source, tmp_path / "out", ConvertOptions(protocol=protocol))
    assert (tmp_path / "out" / "yolo" / "data.yaml").is_file()
    assert (tmp_path / "out" / "annotations" / "test.json").is_file()


def test_soft_gray_rgb_and_16_bit_masks_are_cut_at_half(tmp_path, source):
    folder = source / "ground_truth" / "broken_large"
    soft = np.zeros((64, 64), np.uint8)
    soft[8:20, 8:20], soft[8, 8], soft[9, 8] = 255, 127, 128
    write_png(folder / "000_mask.png", soft)
    write_png(folder / "001_mask.png", np.repeat(soft[..., None], 3, axis=2))
    write_png(folder / "002_mask.png", soft.astype(np.uint16) * 257)
    write_png(folder / "003_mask.png", (soft > 200).astype(np.uint8))
    report = convert(source, tmp_path / "out")
    truths = load_dataset(tmp_path / "out").truths
    for number, area in enumerate((143, 143, 143, 142)):
        assert truths[f"broken_large/{number:03d}"].areas.sum() == area
    assert report.ambiguous_pixels == {f"broken_large/{n:03d}": 2 for n in range(3)}


def test_an_empty_mask_is_kept_as_an_image_label_and_counted(tmp_path, source):
    path = source / "ground_truth" / "contamination" / "001_mask.png"
    write_png(path, np.zeros((64, 64), np.uint8))
    report = convert(source, tmp_path / "out")
    assert report.empty_masks == ["contamination/001"]
    dataset = load_dataset(tmp_path / "out")
    assert dataset.by_id["contamination/001"].is_defective
    assert len(dataset.truths["contamination/001"]) == 0


def test_names_with_spaces_and_other_letters_and_formats(tmp_path, source):
    folder = source / "test" / "broken_large"
    mask = source / "ground_truth" / "broken_large"
    for number, name in enumerate(("ä ö 部品.JPG", "b c.bmp", "d.tiff")):
        image = cv2.imread(str(folder / f"{number:03d}.png"))
        _, data = cv2.imencode(Path(name).suffix.lower(), image)
        (folder / f"{number:03d}.png").unlink()
        (folder / name).write_bytes(data.tobytes())
        (mask / f"{number:03d}_mask.png").rename(mask / f"{Path(name).stem}_mask.png")
    (folder / "Thumbs.db").write_bytes(b"x")
    report = convert(source, tmp_path / "öut put")
    assert report.n_exact == 12
    assert report.skipped == {"not an image (.db)": 1}
    ids = load_dataset(tmp_path / "öut put").by_id
    assert {"broken_large/ä ö 部品", "broken_large/b c", "broken_large/d"} <= set(ids)


def test_groups_by_pattern_and_by_equal_bytes(tmp_path, source):
    shutil.copyfile(source / "train/good/000.png", source / "test/good/900.png")
    report = convert(source, tmp_path / "out", ConvertOptions(group_by=r"test/\w+/00([01])"))
    dataset = load_dataset(tmp_path / "out")
    groups = {image_id: sample.group for image_id, sample in dataset.by_id.items()}
    assert groups["good/000"] == groups["broken_large/000"] == "0"
    assert groups["train/good/000"] == groups["good/900"]
    assert report.grouping.duplicates == (("good/900", "train/good/000"),)
    assert report.grouping.unmatched == 23 - 8


def damage(source: Path, what: str) -> None:
    image = source / "test" / "broken_small" / "001.png"
    mask = source / "ground_truth" / "broken_small" / "001_mask.png"
    match what:
        case "no mask":
            mask.unlink()
        case "no image":
            image.unlink()
        case "no image folder":
            shutil.rmtree(image.parent)
        case "other size":
            write_png(mask, np.zeros((63, 64), np.uint8))
        case "empty image":
            image.write_bytes(b"")
        case "truncated image":
            image.write_bytes(image.read_bytes()[:-200])
        case "truncated mask":
            mask.write_bytes(mask.read_bytes()[:-20])
        case "no image at all":
            image.write_bytes(b"hello")
        case "one stem twice":
            shutil.copyfile(image, image.with_suffix(".bmp"))
        case "one mask twice":
            shutil.copyfile(mask, mask.with_name("001.png"))
        case "no layout":
            shutil.rmtree(source / "train")
        case "no good images":
            for path in (source / "train" / "good").iterdir():
                path.unlink()


@pytest.mark.parametrize(
    ("what", "kind", "match"),
    [
        ("no mask", InputError, r"broken_small/001.png has no mask: expected .*001_mask.png"),
        ("no image", InputError, r"001_mask.png has no image"),
        ("no image folder", InputError, r"mask.png has no image: there is no folder"),
        ("other size", InputError, r"64×63 pixels, but its image .*001.png is 64×64"),
        ("empty image", ImageReadError, r"001.png is empty"),
        ("truncated image", ImageReadError, r"001.png .*truncated"),
        ("truncated mask", ImageReadError, r"001_mask.png .*stops before"),
        ("no image at all", ImageReadError, r"001.png .*cannot be read"),
        ("one stem twice", InputError, r"have one stem"),
        ("one mask twice", InputError, r"masks of one image"),
        ("no layout", LayoutError, r"an MVTec category without good training images"),
        ("no good images", InputError, r"holds no image"),
    ],
)
def test_bad_input_names_the_file_and_leaves_nothing(tmp_path, source, what, kind, match):
    damage(source, what)
    with pytest.raises(kind, match=match):
        convert(source, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"source"}


def test_wrong_calls(tmp_path, source):
    with pytest.raises(LayoutError, match="There is no folder"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(LayoutError, match="look like categories"):
        convert(source.parent, tmp_path / "out")
    with pytest.raises(UsageError, match="no regular expression"):
        convert(source, tmp_path / "out", ConvertOptions(group_by="("))
    with pytest.raises(UsageError, match=r"Unknown layout .*Did you mean labelme"):
        convert(source, tmp_path / "out", ConvertOptions(layout="labelmee"))
    with pytest.raises(OutputExistsError, match="inside the source"):
        convert(source, source / "out")
    kept = tmp_path / "out" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(OutputExistsError, match="already exists"):
        convert(source, tmp_path / "out")
    assert kept.read_text() == "mine"


def test_a_label_file_that_names_files_outside_is_refused(tmp_path):
    out = drawn_dataset(tmp_path)
    path = out / "annotations" / "all.json"
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = "../../secret.png"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="leaves"):
        load_dataset(out)


@pytest.mark.parametrize("text", ["", "[]", '{"images": 3}', '{"categories": [], "images": [{}]}'])
def test_damaged_labels_are_named(tmp_path, text):
    out = drawn_dataset(tmp_path)
    (out / "annotations" / "all.json").write_text(text)
    with pytest.raises(DefectuneError, match=r"all\.json"):
        load_dataset(out)


@pytest.mark.parametrize("key", ["width", "height", "id"])
def test_numbers_without_an_end_in_labels_are_named(tmp_path, key):
    out = drawn_dataset(tmp_path)
    path = out / "annotations" / "all.json"
    document = json.loads(path.read_text())
    document["images"][0][key] = float("inf")
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"all\.json"):
        load_dataset(out)
