"""Labels that are boxes stay boxes: no mask, no pixel, in no file."""

import json

import numpy as np
import pytest

from annotations import load_dataset, write_png
from annotations.dataset import COCO_ALL
from converters import ConvertOptions, convert
from converters.check import check_dataset
from converters.exporting import export_dataset
from converters.facts import BOXES, MIXED

RNG = np.random.default_rng(3)
XML = (
    "<annotation><filename>{name}.png</filename><size><width>40</width><height>30</height></size>"
    "{objects}</annotation>"
)
OBJECT = (
    "<object><name>dent</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)


def voc(root, n_bad=6, n_good=6):
    for number in range(n_bad + n_good):
        name = f"{number:02d}"
        root.mkdir(parents=True, exist_ok=True)
        write_png(root / f"{name}.png", RNG.integers(0, 255, (30, 40, 3)).astype(np.uint8))
        boxes = [(3, 5, 12, 14), (20, 6, 30, 20)] if number < n_bad else []
        text = XML.format(name=name, objects="".join(OBJECT.format(*box) for box in boxes))
        (root / f"{name}.xml").write_text(text)
    return root


@pytest.fixture
def boxed(tmp_path):
    report = convert(voc(tmp_path / "src"), tmp_path / "out", ConvertOptions(folds=2))
    return load_dataset(tmp_path / "out"), report


def test_boxes_are_read_as_boxes(boxed):
    data, report = boxed
    assert report.label_strengths == {"boxes": 6}
    assert report.counts[BOXES] == 12
    truth = data.truths["00"]
    assert truth.masks is None
    assert truth.boxes_xyxy.tolist() == [[2, 4, 12, 14], [19, 5, 30, 20]]
    document = json.loads((data.root / COCO_ALL).read_text())
    assert all("segmentation" not in a for a in document["annotations"])
    assert [a["area"] for a in document["annotations"][:2]] == [100, 165]
    assert not (data.root / "masks").exists()
    assert check_dataset(data).problems == ()


def test_a_box_that_was_edited_is_found(boxed):
    data, _ = boxed
    path = data.root / COCO_ALL
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][2] += 1
    path.write_text(json.dumps(document))
    problems = check_dataset(load_dataset(data.root)).problems
    assert any("does not say what annotations/all.json says of 00" in text for text in problems)


@pytest.mark.parametrize(("format_", "holds"), [("yolo", True), ("voc", True), ("yolo-seg", False)])
def test_exports_hold_boxes_or_say_that_they_cannot(boxed, tmp_path, format_, holds):
    data, _ = boxed
    report = export_dataset(data, tmp_path / "export", format_)
    assert any("boxes alone" in note for note in report.notes) != holds
    folder = tmp_path / "export"
    names = [p.stem for p in folder.rglob("*.xml" if format_ == "voc" else "labels/*.txt")]
    assert ("00" in names) == holds
    assert "11" in names
    lists = "".join(p.read_text() for p in folder.rglob("t*.txt") if p.parent.name != "labels")
    assert ("00" in lists) == holds


@pytest.mark.parametrize("format_", ["yolo", "voc", "coco"])
def test_boxes_come_back_from_an_export(boxed, tmp_path, format_):
    data, _ = boxed
    export_dataset(data, tmp_path / "export", format_)
    convert(tmp_path / "export", tmp_path / "again", ConvertOptions(folds=2))
    again = load_dataset(tmp_path / "again")
    there = sorted(
        map(tuple, np.concatenate([t.boxes_xyxy for t in again.truths.values()]).round(3).tolist())
    )
    here = sorted(map(tuple, np.concatenate([t.boxes_xyxy for t in data.truths.values()]).tolist()))
    assert there == here
    assert sorted(again.strengths.values()) == sorted(data.strengths.values())


def test_an_image_with_masks_and_boxes_counts_as_one_of_boxes(tmp_path):
    source = tmp_path / "src"
    for number in range(6):
        source.mkdir(exist_ok=True)
        name = f"{number}.png"
        write_png(source / name, RNG.integers(0, 255, (30, 40, 3)).astype(np.uint8))
        shapes = []
        if number < 4:
            points = [[2, 2], [10, 2], [10, 9]]
            shapes.append({"label": "dent", "shape_type": "polygon", "points": points})
        if number < 2:
            points = [[20, 10], [30, 18]]
            shapes.append({"label": "dent", "shape_type": "rectangle", "points": points})
        document = {"imagePath": name, "imageHeight": 30, "imageWidth": 40, "shapes": shapes}
        (source / f"{number}.json").write_text(json.dumps({**document, "version": "5"}))
    report = convert(source, tmp_path / "out", ConvertOptions(folds=2))
    assert report.label_strengths == {"boxes": 2, "masks": 2}
    assert report.counts[MIXED] == 2
    assert check_dataset(load_dataset(tmp_path / "out")).problems == ()
