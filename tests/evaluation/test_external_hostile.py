"""Predictions made elsewhere, as other programs and people write them: read, or one paragraph."""

import json
import resource
import unicodedata
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from annotations import Dataset, InputError, UsageError, make_split, read_predictions
from evaluation import ExternalOptions, import_predictions
from tests.drawn import memory_dataset, sample


def square(one):
    mask = np.zeros(one.image_hw, bool)
    mask[2:5, 2:6] = True
    return mask


@pytest.fixture
def dataset(tmp_path):
    return memory_dataset(tmp_path / "dataset", square)


def table(dataset, scores=lambda number: number / 100):
    ids = dataset.split.test_ids
    lines = [f"{image_id},{scores(number)}\n" for number, image_id in enumerate(ids)]
    return "image_id,image_score\n" + "".join(lines)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_excels_own_utf_8_is_read(tmp_path, dataset, newline):
    path = tmp_path / "scores.csv"
    path.write_bytes(table(dataset).replace("\n", newline).encode("utf-8-sig"))
    import_predictions(dataset, path, tmp_path / "runs" / "x")
    stored = read_predictions(tmp_path / "runs" / "x", dataset)
    assert stored.raw_scores == {i: n / 100 for n, i in enumerate(dataset.split.test_ids)}


TABLES = {
    "latin-1": (lambda t: t.encode() + b"\xe9,1\n", "not in UTF-8.*CSV UTF-8"),
    "utf-16": (lambda t: t.encode("utf-16"), "not in UTF-8"),
    "a long field": (lambda t: t.encode() + b"x" * 200_000 + b",1\n", "cannot be read as CSV"),
    "an unclosed quote": (lambda t: t.encode() + b'"' + b"x,1\n" * 50_000, "cannot be read as CSV"),
    "far apart": (lambda t: t.replace(",0.01\n", ",-1e308\n").encode(), "between -1e.30 and 1e.30"),
    "nothing": (lambda _t: b"", "lacks 22 of the 22"),
    "a header": (lambda _t: b"image_id,image_score\n", "lacks 22 of the 22"),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_that_cannot_be_read(tmp_path, dataset, what):
    make, words = TABLES[what]
    path = tmp_path / "images.csv"
    path.write_bytes(make(table(dataset)))
    with pytest.raises(InputError, match=words):
        import_predictions(dataset, path, tmp_path / "runs" / "x")
    assert not (tmp_path / "runs" / "x").exists()


@pytest.mark.parametrize("fold", ["9" * 5000, "-1", "1.0", "²", "2"])
def test_a_fold_that_is_none(tmp_path, dataset, fold):
    (tmp_path / "images.csv").write_text(table(dataset))
    image_id = dataset.split.folds[0].val[0]
    (tmp_path / "validation.csv").write_text(f"image_id,image_score,fold\n{image_id},1,{fold}\n")
    with pytest.raises(InputError, match="from 0 to 1") as caught:
        import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")
    assert len(str(caught.value)) < 600


def npy(head, rest=b"\0" * 64):
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + rest


@pytest.mark.parametrize(
    "head",
    [
        b"((((((\n",
        b"{'descr':'<f8','fortran_order':False,'shape':(-1,64)}\n",
        b"{'descr':'<f8','fortran_order':False,'shape':(99999999999999,9)}\n",
        b"{'descr':'<f8','fortran_order':False,'shape':8}\n",
        b"{'descr':[('a','<f8')],'fortran_order':False,'shape':(2,2)}\n",
        b"{'descr':'|O','fortran_order':False,'shape':(2,2)}\n",
        b"\xff\xfe\n",
        b"[[[1",
    ],
)
def test_an_npy_that_lies(tmp_path, dataset, head):
    (tmp_path / "maps").mkdir()
    for image_id in dataset.split.test_ids:
        (tmp_path / "maps" / f"{dataset.by_id[image_id].stem}.npy").write_bytes(npy(head))
    with pytest.raises(InputError, match="The score map"):
        import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")


@pytest.mark.parametrize("what", ["npz", "huge"])
def test_arrays_that_are_no_map(tmp_path, dataset, what):
    (tmp_path / "maps").mkdir()
    for number, image_id in enumerate(dataset.split.test_ids):
        with (tmp_path / "maps" / f"{dataset.by_id[image_id].stem}.npy").open("wb") as file:
            if what == "npz":
                np.savez(file, a=np.zeros((8, 8)))
            else:
                np.save(file, np.full((8, 8), 1e308 * (-1) ** number))
    with pytest.raises(InputError, match="archive of arrays" if what == "npz" else "beyond 1e"):
        import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")


def test_a_region_score_that_float32_cannot_hold(tmp_path, dataset):
    row = {"image_id": dataset.coco_ids[dataset.split.test_ids[0]], "category_id": 1,
           "bbox": [1, 1, 2, 2], "score": 1e39}  # fmt: skip
    (tmp_path / "regions.json").write_text(json.dumps([row]))
    with pytest.raises(InputError, match=r"between -1e.30 and 1e.30"):
        import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")


def test_a_polygons_outline_is_bounded_as_in_conversion(tmp_path):
    """600 pixels a side and 700 KB of JSON took 5.1 GB."""
    base = memory_dataset(tmp_path / "dataset", lambda one: np.ones(one.image_hw, bool))
    image_id = base.split.test_ids[0]
    samples = tuple(
        replace(s, image_hw=(600, 600)) if s.image_id == image_id else s for s in base.samples
    )
    dataset = replace(base, samples=samples, truths=MappingProxyType(
        {**base.truths, image_id: replace(base.truths[image_id], image_hw=(600, 600), masks=None)}
    ))  # fmt: skip
    zigzag = [v for k in range(60_000) for v in ((-600, -600) if k % 2 else (1200, 1200))]
    row = {"image_id": dataset.coco_ids[image_id], "category_id": 1, "bbox": [1, 1, 5, 5],
           "score": 0.9, "segmentation": [[*zigzag, 300, 0]]}  # fmt: skip
    (tmp_path / "regions.json").write_text(json.dumps([row]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"outline is .* pixels long; at most 10,000,000"):
        import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["threshold", "region_threshold"])
def test_a_threshold_that_is_no_number(name, value):
    option = "--" + name.replace("_", "-")
    with pytest.raises(UsageError, match=f"{option} must be a finite number"):
        ExternalOptions(**{name: value})


NAMES = ("000", "a b", "ä.b", "100%_x", "#1?", "a'b\"c", "x__y", "_z", "c:d", "e\\f", "50%2E", "é")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("by", ["id", "stem"])
def test_maps_are_named_by_id_or_stem_whatever_characters(tmp_path, by, form):
    samples = [sample(f"chip/{name}") for name in NAMES]
    samples += [sample(f"good/{name}") for name in NAMES]
    samples += [sample(f"train/good/{n}", source_split="train") for n in range(4)]
    samples = tuple(sorted(samples, key=lambda s: s.image_id))
    base = memory_dataset(tmp_path / "dataset", square)
    truths = {s.image_id: next(iter(base.truths.values())) if s.is_defective
              else base.truths["good/000"] for s in samples}  # fmt: skip
    split = make_split(samples, folds=2)
    dataset = Dataset(tmp_path, ("chip",), samples, MappingProxyType(truths), split)
    for number, image_id in enumerate(split.test_ids):
        name = image_id if by == "id" else dataset.by_id[image_id].stem
        path = (
            tmp_path / "maps" / f"{unicodedata.normalize(form, name)}{('.npy', '.NPY')[number % 2]}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, np.full((8, 8), number / 100))
    (tmp_path / "maps" / "another.npy").write_bytes(b"x")
    notes = import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")
    assert "1 maps of images that are not test images were left out" in notes
    stored = read_predictions(tmp_path / "runs" / "x", dataset)
    assert stored.raw_scores == {i: n / 100 for n, i in enumerate(split.test_ids)}


def found_boxes(dataset, place, run):
    notes = import_predictions(dataset, place, run)
    stored = read_predictions(run, dataset)
    boxes = {
        i: list(zip(r.labels.tolist(), r.boxes_xyxy.tolist(), r.scores.tolist(), strict=True))
        for i, r in stored.regions.items()
    }
    return {i: rows for i, rows in boxes.items() if rows}, notes


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("file", ["predictions.json", "regions.json"])
def test_coco_results_of_ultralytics(tmp_path, dataset, first, file):
    """`yolo val save_json=True` names images by their files, and numbers classes from 1."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    rows = [
        {"image_id": "chip__003", "file_name": "chip__003.png", "category_id": first,
         "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 7, "file_name": "scratch__001.jpg", "category_id": first + 1,
         "bbox": [0, 0, 2, 2], "score": 0.25},
    ]  # fmt: skip
    (folder / file).write_text(json.dumps(rows))
    boxes, notes = found_boxes(dataset, folder, tmp_path / "runs" / "x")
    assert boxes == {
        "chip/003": [(0, [1, 2, 4, 6], 0.5)],
        "scratch/001": [(1, [0, 0, 2, 2], 0.25)],
    }
    assert any("by the names of their files" in note for note in notes)
    assert any("class numbers begin with 0" in note for note in notes) == (first == 0)


CSV_HEADS = {
    "box": "name,class,confidence,box,path\n"
    "chip,0,0.5,\"{'x1': 1.0, 'y1': 2.0, 'x2': 4.0, 'y2': 6.0}\",/there/chip__003.png\n",
    "columns": "Image Name,class,Confidence,x1,y1,x2,y2\nchip/003,0,0.5,1,2,4,6\n",
    "corners": "file_name,name,confidence,xmin,ymin,xmax,ymax\nchip__003.png,chip,0.5,1,2,4,6\n",
}


@pytest.mark.parametrize("what", CSV_HEADS)
def test_csv_of_ultralytics(tmp_path, dataset, what):
    path = tmp_path / "any.csv"
    path.write_text(CSV_HEADS[what])
    boxes, notes = found_boxes(dataset, path, tmp_path / "runs" / "x")
    assert boxes == {"chip/003": [(0, [1, 2, 4, 6], 0.5)]}
    assert any(note.startswith("any.csv: images from the column") for note in notes)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("path", "where", "ultralytics' `to_csv` writes none"),
        ("chip,0", "crack,0", "'crack'; known are chip, scratch"),
        ("'y2': 6.0", "'z': 6.0", "a box that cannot be read"),
        ("{'x1'", "__import__('os').abort() or {'x1'", "a box that cannot be read"),
        ("chip__003.png", "chip__999.png", "which the dataset does not have"),
        ("0.5", "high", "no COCO result"),
    ],
)
def test_csv_of_ultralytics_that_is_wrong(tmp_path, dataset, old, new, words):
    path = tmp_path / "any.csv"
    path.write_text(CSV_HEADS["box"].replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        import_predictions(dataset, path, tmp_path / "runs" / "x")


def test_a_mask_with_an_odd_size_is_one_paragraph():
    from evaluation.external_regions import _mask

    for size in ([], [3], [1, 2, 3]):
        with pytest.raises(InputError, match="has a mask of size"):
            _mask({"size": size, "counts": [4]}, (2, 2), "row 1")
