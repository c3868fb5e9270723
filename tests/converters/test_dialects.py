"""Text and JSON as other tools write them: read leniently, and counted."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import InputError, load_dataset
from benchmarks.sources import BAD, BOX, CORNERS, HW, SOURCES, box_mask, coco_file, images, yolo_box
from converters import ConvertOptions, convert
from converters.dialects import (
    BOM,
    COMMAS,
    FLOAT_CLASSES,
    class_number,
    read_lines,
    read_table,
    split_numbers,
    whole_id,
)

TEXT = "one\ntwo, ä\nthree\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_whatever_its_line_ends_and_marks(tmp_path, encoding, end):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.replace("\n", end).encode(encoding))
    counts: Counter[str] = Counter()
    assert read_lines(path, counts=counts) == ["one", "two, ä", "three"]
    assert counts[BOM] == (encoding != "utf-8")


def test_text_of_another_encoding_is_refused_in_words(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("ä\n".encode("latin-1"))
    with pytest.raises(InputError, match="not text in UTF-8"):
        read_lines(path)


@given(st.integers(-999, 99999))
def test_class_numbers_as_floats(number):
    for text in (str(number), f"{number}.0", f"{number:e}" if abs(number) < 10 else str(number)):
        assert class_number(text, Counter()) == number
    assert class_number(f"{number}.5", Counter()) is None
    assert class_number("dent", Counter()) is None


@given(st.integers(0, 10**9))
def test_ids_of_any_spelling_are_one(number):
    assert whole_id(number, Counter()) == whole_id(str(number), Counter()) == number
    assert whole_id(float(number), Counter()) == number


@given(st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=8))
def test_numbers_are_split_whatever_stands_between(numbers):
    words = [repr(number) for number in numbers]
    for between in (" ", "\t", ",", ", ", ";", " ; "):
        assert split_numbers(between.join(words), Counter()) == words


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_spreadsheets(tmp_path, separator):
    path = tmp_path / "a.csv"
    rows = [["image", "label"], ['"a b.png"', "x"], ["c.png", '"y ""z"""']]
    path.write_text("\r\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    names, found = read_table(path)
    assert names == ["image", "label"]
    assert [row for _, row in found] == [
        {"image": "a b.png", "label": "x"},
        {"image": "c.png", "label": 'y "z"'},
    ]


def yolo_with(root, change):
    source = next(s for s in SOURCES if (s.layout, s.kind) == ("yolo", "boxes"))
    source.write(root)
    for name in BAD:
        path = root / "labels" / f"{name}.txt"
        path.write_bytes(change(path.read_text()))
    return root


LINES = {
    "a byte order mark": (lambda t: t.encode("utf-8-sig"), BOM),
    "commas": (lambda t: t.replace(" ", ",").encode(), COMMAS),
    "a class as a float": (lambda t: t.replace("0 ", "0.0 ", 1).encode(), FLOAT_CLASSES),
    "a class by its name": (
        lambda t: t.replace("0 ", "scratch ", 1).encode(),
        "label lines with a class's name in place of its number",
    ),
    "lines that stand twice": (lambda t: (t + t).encode(), "labels that stand twice, counted once"),
    "a box without a size": (
        lambda t: (t + "0 0.5 0.5 0 0\n").encode(),
        "boxes without width or height, dropped",
    ),
    "tabs and blank lines": (lambda t: ("\r\n" + t.replace(" ", "\t")).encode(), None),
}


@pytest.mark.parametrize("what", LINES)
def test_label_lines_of_every_dialect_say_the_same(tmp_path, what):
    change, counted = LINES[what]
    report = convert(yolo_with(tmp_path / "s", change), tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    for name in BAD:
        assert np.array_equal(dataset.truths[name].union_mask(), box_mask())
        assert len(dataset.truths[name]) == 1
    assert counted is None or report.counts[counted] >= len(BAD)


def test_a_box_a_little_outside_is_clipped_and_counted(tmp_path):
    root = yolo_with(tmp_path / "s", lambda _: b"0 0.99 0.5 0.0625 0.25\n")
    report = convert(root, tmp_path / "out", ConvertOptions(folds=2))
    assert report.counts["shapes clipped to their image"] == len(BAD)
    assert load_dataset(tmp_path / "out").truths[BAD[0]].boxes_xyxy[0, 2] == HW[1]


def doc(**changes):
    return coco_file([CORNERS]) | changes


def without(key):
    document = doc()
    for image in document["images"]:
        image.pop(key, None)
    return document


def each(part, change):
    document = doc()
    for entry in document[part]:
        change(entry)
    return document


COCO = {
    "ids as text": each("images", lambda e: e.update(id=str(e["id"]))),
    "ids as floats": each("annotations", lambda e: e.update(image_id=float(e["image_id"]))),
    "no height": without("height"),
    "zero sizes": each("images", lambda e: e.update(width=0, height=0)),
    "sizes as text": each("images", lambda e: e.update(width=str(HW[1]), height=str(HW[0]))),
    "a flat list": each("annotations", lambda e: e.update(segmentation=list(CORNERS))),
    "a list of points": each("annotations", lambda e: e.update(
        segmentation=[[[x, y] for x, y in zip(CORNERS[::2], CORNERS[1::2], strict=True)]])),
    "deeper lists": each("annotations", lambda e: e.update(segmentation=[[CORNERS]])),
    "an empty part": each("annotations", lambda e: e.update(segmentation=[[]])),
    "no segmentation": each("annotations", lambda e: e.pop("segmentation")),
    "a box as a polygon": each("annotations", lambda e: e.update(segmentation=[e["bbox"]])),
    "a box as a flat list": each("annotations", lambda e: e.update(segmentation=e["bbox"])),
    "iscrowd as text": each("annotations", lambda e: e.update(iscrowd="0")),
    "a root category": doc(categories=[
        {"id": 0, "name": "defects", "supercategory": "none"},
        {"id": 1, "name": "scratch", "supercategory": "defects"}]),
    "backslashes": each("images", lambda e: e.update(file_name="images\\" + e["file_name"])),
    "a drive": each("images", lambda e: e.update(file_name="D:\\a\\images\\" + e["file_name"])),
}  # fmt: skip


@pytest.mark.parametrize("what", COCO)
def test_coco_of_every_dialect_says_the_same(tmp_path, what):
    images(tmp_path / "s")
    (tmp_path / "s" / "labels.json").write_text(json.dumps(COCO[what]), encoding="utf-8-sig")
    convert(tmp_path / "s", tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    assert dataset.class_names == ("scratch",)
    for name in BAD:
        assert np.array_equal(dataset.truths[name].union_mask(), box_mask())
        assert dataset.truths[name].boxes_xyxy.tolist() == [[float(v) for v in BOX]]


def test_captions_beside_instances_are_passed_over_and_several_files_joined(tmp_path):
    root = tmp_path / "s"
    images(root)
    whole = doc()
    for n, part in enumerate((whole["images"][:4], whole["images"][4:])):
        ids = {image["id"] for image in part}
        marks = [a for a in whole["annotations"] if a["image_id"] in ids]
        (root / f"batch{n}.json").write_text(
            json.dumps(whole | {"images": part, "annotations": marks})
        )
    captions = [{"id": 1, "image_id": 1, "caption": "a nut"}]
    (root / "captions.json").write_text(json.dumps(whole | {"annotations": captions}))
    report = convert(root, tmp_path / "out", ConvertOptions(folds=2))
    assert sum(report.n_images.values()) == 8
    assert report.skipped["captions, and no regions"] == 1


NAMES = [
    "names: [scratch]",
    "names: {0: scratch}",
    "names: {'0': scratch}",
    "names:\n  0: scratch\n  2: dent",
    "nc: 1\nnames:\n- scratch",
]


@pytest.mark.parametrize("names", NAMES)
def test_names_as_list_or_map_with_gaps_and_text_keys(tmp_path, names):
    root = yolo_with(tmp_path / "s", lambda _: yolo_box().encode())
    (root / "classes.txt").unlink()
    (root / "data.yaml").write_text(f"train: images\n{names}\n", encoding="utf-8-sig")
    convert(root, tmp_path / "out", ConvertOptions(folds=2))
    assert load_dataset(tmp_path / "out").class_names[0] == "scratch"
