"""Predictions made elsewhere: evaluated as our own, or refused with a reason."""

import json

import cv2
import numpy as np
import pytest

from annotations import (
    FoldThresholds,
    InputError,
    OutputExistsError,
    Prediction,
    PredictionWriter,
    Regions,
    SplitMismatchError,
    UsageError,
    encode_rle,
)
from evaluation import ExternalOptions, evaluate_runs, import_predictions
from tests.drawn import memory_dataset


def square(one):
    mask = np.zeros(one.image_hw, bool)
    mask[2:5, 2:6] = True
    return mask


@pytest.fixture
def dataset(tmp_path):
    return memory_dataset(tmp_path / "dataset", square)


@pytest.fixture
def folder(tmp_path, dataset):
    """Complete predictions of every kind, as another program would leave them."""
    place = tmp_path / "elsewhere"
    (place / "maps").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines, rows = ["image_id,image_score,comment"], []
    for image_id in dataset.split.test_ids:
        truth = dataset.truths[image_id]
        score = float(rng.normal(2.0 if len(truth) else -2.0, 1.5))
        lines.append(f"{image_id},{score!r},x")
        picture = (rng.random((8, 8)) + 3 * truth.union_mask()).astype(np.float32)
        cv2.imwrite(str(place / "maps" / f"{dataset.by_id[image_id].stem}.tiff"), picture)
        for box, rle in zip(truth.boxes_xyxy.tolist(), truth.masks, strict=True):
            x1, y1, x2, y2 = box
            rows.append(
                {
                    "image_id": dataset.coco_ids[image_id],
                    "category_id": int(truth.labels[0]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(rng.random()),
                    "segmentation": rle,
                }
            )
    (place / "images.csv").write_text("\n".join(lines) + "\n")
    (place / "regions.json").write_text(json.dumps(rows))
    votes = ["image_id,image_score,fold"]
    for number, fold in enumerate(dataset.split.folds):
        votes += [
            f"{i},{2.0 if dataset.by_id[i].is_defective else -2.0},{number}" for i in fold.val
        ]
    (place / "validation.csv").write_text("\n".join(votes) + "\n")
    (place / "meta.json").write_text(json.dumps({"split_digest": dataset.split.digest}))
    return place


def test_the_same_predictions_get_the_same_figures(tmp_path, dataset, folder):
    """Given as files, or written by our own writer: one evaluation, one result."""
    notes = import_predictions(dataset, folder, tmp_path / "runs" / "theirs")
    assert notes == [n for n in notes if "raised by" in n]
    scores = dict(line.split(",")[:2] for line in (folder / "images.csv").read_text().split()[1:])
    low = min(-2.0, *map(float, scores.values()))
    rows = json.loads((folder / "regions.json").read_text())
    thresholds = FoldThresholds(1e-6 - low, "ratio", 0.5, "test")
    for number, fold in enumerate(dataset.split.folds):
        about = {"family": "x", "model": "y"}
        with PredictionWriter(tmp_path / "runs/ours", dataset, number, thresholds, about) as out:
            for image_id in fold.test:
                mine = [r for r in rows if r["image_id"] == dataset.coco_ids[image_id]]
                truth = dataset.truths[image_id]
                stem = dataset.by_id[image_id].stem
                picture = cv2.imread(str(folder / f"maps/{stem}.tiff"), cv2.IMREAD_UNCHANGED)
                regions = Regions(
                    truth.boxes_xyxy,
                    truth.masks,
                    truth.labels,
                    np.array([r["score"] for r in mine], np.float32),
                    truth.image_hw,
                )
                raw = float(scores[image_id]) - low + 1e-6
                out.write(Prediction(image_id, raw, regions, picture.astype(float)))
    board = evaluate_runs(dataset, [tmp_path / "runs/theirs", tmp_path / "runs/ours"])
    theirs, ours = (
        {name: m and m.to_json() for name, m in row.metrics.items()} for row in board.rows
    )
    assert theirs == ours
    assert theirs["accuracy"]["value"] is not None
    assert board.rows[0].family in ("external", "x")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, "npy"])
def test_maps_of_any_depth(tmp_path, dataset, kind):
    place = tmp_path / "elsewhere" / "maps"
    for image_id in dataset.split.test_ids:
        truth = dataset.truths[image_id].union_mask()
        path = place / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "npy":
            np.save(path.with_suffix(".npy"), truth * -1.5 + 1)
        elif kind is np.float32:
            cv2.imwrite(str(path.with_suffix(".tif")), truth.astype(np.float32) * 7 - 3)
        else:
            cv2.imwrite(str(path), truth.astype(kind) * np.iinfo(kind).max)
    run = tmp_path / "runs" / "maps"
    notes = import_predictions(dataset, place.parent, run)
    assert "image scores are the highest of each score map" in notes
    (row,) = evaluate_runs(dataset, [run]).rows
    # The one given upside down ranks every pixel wrongly.
    assert row.metrics["pixel_auroc"].value == (0.0 if kind == "npy" else 1.0)
    assert row.metrics["dice"] is None
    assert row.metrics["image_auroc"].value == (0.5 if kind == "npy" else 1.0)
    accuracy = row.metrics["accuracy"]
    assert accuracy.value is None
    assert "no threshold" in accuracy.reason
    assert row.notes == tuple(notes)


def test_a_threshold_on_another_scale_is_said_loudly(tmp_path, dataset):
    place = tmp_path / "elsewhere" / "maps"
    for image_id in dataset.split.test_ids:
        path = place / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), dataset.truths[image_id].union_mask().astype(np.uint16) * 60_000 + 9)
    for threshold, said in ((0.5, "at or below every"), (70_000, "above every"), (30_000, None)):
        run = tmp_path / "runs" / f"at-{threshold}"
        notes = import_predictions(dataset, place.parent, run, ExternalOptions(threshold=threshold))
        warnings = [note for note in notes if note.startswith("WARNING")]
        assert len(warnings) == (said is not None)
        assert said is None or f"{said} image score (9 to 60009)" in warnings[0]


def test_a_threshold_that_was_given_is_called_given_everywhere(tmp_path, dataset):
    scores = tmp_path / "scores.csv"
    rows = [f"{i},{0.2 + 0.6 * dataset.by_id[i].is_defective}" for i in dataset.split.test_ids]
    scores.write_text("image_id,image_score\n" + "\n".join(rows) + "\n")
    run = tmp_path / "runs" / "tuned"
    import_predictions(dataset, scores, run, ExternalOptions(threshold=0.5))
    board = evaluate_runs(dataset, [run])
    assert board.rows[0].threshold_from == "given"
    assert "given with the predictions" in board.rows[0].metrics["accuracy"].note
    assert any("is not known" in line for line in board.differences)
    document = board.to_json()
    assert document["rows"][0]["threshold_from"] == "given"
    assert "The threshold of tuned was given" in board.to_markdown()


def test_scores_alone_with_a_threshold(tmp_path, dataset):
    path = tmp_path / "scores.csv"
    lines = [f"{i},{10 + 5 * dataset.by_id[i].is_defective}" for i in dataset.split.test_ids]
    path.write_text("image_id,image_score\n" + "\n".join(lines))
    run = tmp_path / "runs" / "scores"
    import_predictions(dataset, path, run, ExternalOptions(model="theirs", threshold=12.0))
    (row,) = evaluate_runs(dataset, [run]).rows
    assert row.metrics["accuracy"].value == 1.0
    assert row.metrics["pixel_ap"] is None
    with pytest.raises(OutputExistsError):
        import_predictions(dataset, path, run)
    with pytest.raises(UsageError, match="must be a finite number"):
        import_predictions(dataset, path, run, ExternalOptions(threshold=float("nan")))


def test_boxes_alone_score_their_images(tmp_path, dataset, folder):
    rows = json.loads((folder / "regions.json").read_text())
    for row in rows:
        del row["segmentation"]
    rows[0]["bbox"] = [-0.4, 0, 5, 5]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(rows))
    run = tmp_path / "runs" / "boxes"
    notes = import_predictions(dataset, path, run)
    assert any("1 boxes stood out" in note for note in notes)
    (row,) = evaluate_runs(dataset, [run]).rows
    assert row.metrics["box_map50"].value > 0.5
    assert row.metrics["mask_map"] is None
    assert row.metrics["image_auroc"].value == 1.0


def change_csv(folder, old, new, name="images.csv"):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def change_row(folder, **values):
    path = folder / "regions.json"
    rows = json.loads(path.read_text())
    rows[0] |= values
    path.write_text(json.dumps(rows))


RLE_OF_ANOTHER_SIZE = encode_rle(np.ones((4, 4), bool))
WRONG = {
    "unknown image": (lambda f: change_csv(f, "chip/003", "chip/999"), "'chip/999'"),
    "twice": (lambda f: change_csv(f, "chip/003", "chip/004"), "chip/004 twice"),
    "NaN": (lambda f: change_csv(f, "chip/003,", "chip/003,nan,"), "finite number"),
    "no number": (lambda f: change_csv(f, "chip/003,", "chip/003,high,"), "finite number"),
    "no column": (lambda f: change_csv(f, "image_score", "score"), "image_id,image_score"),
    "a validation image that is none": (
        lambda f: change_csv(f, "\nchip/", "\nnobody/", "validation.csv"),
        "no validation image of fold",
    ),
    "no fold": (
        lambda f: change_csv(f, ",fold", ",part", "validation.csv"),
        "a column `fold` from 0 to 1",
    ),
    "unknown COCO image": (lambda f: change_row(f, image_id=999), "999, which the dataset does"),
    "unknown class": (lambda f: change_row(f, category_id=3), "known are 1 chip, 2 scratch"),
    "no score": (lambda f: change_row(f, score=None), "needs image_id"),
    "infinite score": (lambda f: change_row(f, score=1e999), "finite"),
    "corners for sizes": (lambda f: change_row(f, bbox=[6, 6, -2, -2]), "are these corners"),
    "box outside": (lambda f: change_row(f, bbox=[4, 4, 9, 2]), "outside of its 8×8 image"),
    "mask of another size": (
        lambda f: change_row(f, segmentation=RLE_OF_ANOTHER_SIZE),
        "a mask of size .4, 4., its image is 8×8",
    ),
    "runs too long": (
        lambda f: change_row(f, segmentation={"size": [8, 8], "counts": [10, 90]}),
        "do not sum up",
    ),
    "a polygon far away": (
        lambda f: change_row(f, segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]),
        "far outside",
    ),
    "a polygon of nothing": (
        lambda f: change_row(f, segmentation=[[0, 0, float("nan"), 0, 1, 1]]),
        "or is no number",
    ),
    "hostile runs": (
        lambda f: change_row(f, segmentation={"size": [8, 8], "counts": "oooooooooo"}),
        "cannot be read",
    ),
    "no list": (lambda f: (f / "regions.json").write_text("{}"), "should hold a list"),
    "another split": (
        lambda f: (f / "meta.json").write_text('{"split_digest": "0123456789abcdef"}'),
        "belong to the split 0123456789ab",
    ),
    "map of another size": (
        lambda f: cv2.imwrite(str(f / "maps/chip__003.tiff"), np.zeros((4, 8), np.float32)),
        r"float32 4×8, the image chip/003 8×8",
    ),
    "map with NaN": (
        lambda f: cv2.imwrite(str(f / "maps/chip__003.tiff"), np.full((8, 8), np.nan, "f4")),
        "NaN or infinity",
    ),
    "two maps": (
        lambda f: cv2.imwrite(str(f / "maps/chip__003.png"), np.zeros((8, 8), np.uint8)),
        "are maps of one image",
    ),
    "missing map": (lambda f: (f / "maps/chip__003.tiff").unlink(), "lacks 1 of the 22"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused_and_nothing_is_left(tmp_path, dataset, folder, what):
    spoil, text = WRONG[what]
    spoil(folder)
    run = tmp_path / "runs" / "theirs"
    with pytest.raises((InputError, SplitMismatchError), match=text):
        import_predictions(dataset, folder, run)
    assert not run.exists()
    assert not list((tmp_path / "runs").glob(".*")) if run.parent.exists() else True


def test_a_pickle_is_never_opened(tmp_path, dataset):
    place = tmp_path / "elsewhere" / "maps"
    for image_id in dataset.split.test_ids:
        path = place / f"{dataset.by_id[image_id].stem}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        import_predictions(dataset, place.parent, tmp_path / "runs" / "x")


def test_an_empty_folder_or_another_file_says_what_is_expected(tmp_path, dataset):
    with pytest.raises(InputError, match=r"expected images.csv, regions.json or a folder maps"):
        import_predictions(dataset, tmp_path, tmp_path / "runs" / "x")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="neither a CSV"):
        import_predictions(dataset, tmp_path / "a.txt", tmp_path / "runs" / "x")
