"""Predictions on disk, names, and images."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import (
    FoldThresholds,
    ImageReadError,
    InputError,
    Prediction,
    PredictionWriter,
    Regions,
    SplitMismatchError,
    mask_to_regions,
    read_image_hw,
    read_image_rgb,
    read_predictions,
    write_png,
)
from annotations.files import folder_moved_into_place, inside
from annotations.images import check_image_file
from annotations.samples import safe_name
from annotations.store import rasterise_scores
from tests.drawn import memory_dataset

ODDS = FoldThresholds(0.2, "odds", 0.3, "test")


def corner(one):
    mask = np.zeros(one.image_hw, bool)
    mask[:3, :2] = True
    return mask


def write_all(run, dataset, folds, thresholds=ODDS):
    rng = np.random.default_rng(0)
    maps = {}
    for number in folds:
        with PredictionWriter(run, dataset, number, thresholds, {"family": "segment"}) as writer:
            for image_id in dataset.split.folds[number].test:
                scores = rng.random((8, 8))
                maps[image_id] = scores
                regions = mask_to_regions(scores > 0.7, pixel_scores=scores)
                writer.write(Prediction(image_id, float(scores.max()), regions, scores))
    return maps


def test_predictions_come_back(tmp_path):
    dataset = memory_dataset(tmp_path, corner)
    run = tmp_path / "runs" / "one"
    maps = write_all(run, dataset, [0, 1])
    stored = read_predictions(run, dataset)
    assert set(stored.image_scores) == set(dataset.split.test_ids)
    for image_id, scores in maps.items():
        got = stored.pixel_scores(image_id)
        assert got is not None
        assert np.abs(got - scores).max() <= 0.5 / 65535 + 1e-6
        assert stored.raw_scores[image_id] == scores.max()
        assert stored.image_scores[image_id] == ODDS.calibrate(scores.max())
        regions = stored.regions[image_id]
        expected = mask_to_regions(scores > 0.7, pixel_scores=scores)
        assert regions.masks == expected.masks
        assert regions.boxes_xyxy.tolist() == expected.boxes_xyxy.tolist()


def test_a_fold_written_again_replaces_its_own_rows_only(tmp_path):
    dataset = memory_dataset(tmp_path, corner)
    run = tmp_path / "runs" / "one"
    write_all(run, dataset, [0, 1])
    before = read_predictions(run, dataset)
    write_all(run, dataset, [1])
    after = read_predictions(run, dataset)
    assert set(after.image_scores) == set(before.image_scores)
    for image_id in dataset.split.folds[0].test:
        assert after.raw_scores[image_id] == before.raw_scores[image_id]
    assert len(after.map_ranges) == len(dataset.split.test_ids)


def test_a_fold_that_lacks_an_image_is_not_written(tmp_path):
    dataset = memory_dataset(tmp_path, corner)
    image_id = dataset.split.folds[0].test[0]
    with (
        pytest.raises(ValueError, match="were predicted"),
        PredictionWriter(tmp_path / "run", dataset, 0, ODDS, {}) as writer,
    ):
        writer.write(Prediction(image_id, 0.5))
    assert not (tmp_path / "run" / "predictions" / "meta.json").exists()


def test_a_run_of_another_split_is_refused(tmp_path):
    dataset = memory_dataset(tmp_path, corner)
    run = tmp_path / "runs" / "one"
    write_all(run, dataset, [0, 1])
    other = memory_dataset(tmp_path, corner, folds=3)
    with pytest.raises(SplitMismatchError, match="made under the split"):
        read_predictions(run, other)


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("images.csv", lambda t: t.replace("chip/000", "chip/999"), "chip/999"),
        ("images.csv", lambda t: t.replace("image_score", "score"), "malformed"),
        ("regions.json", lambda _: '[{"image_id": 9999, "category_id": 1}]', "unknown image"),
        ("meta.json", lambda t: t.replace('"odds"', '"ends"'), "damaged"),
        ("meta.json", lambda t: t[:-20], "cannot be parsed"),
    ],
)
def test_damaged_predictions_are_named(tmp_path, file, change, match):
    dataset = memory_dataset(tmp_path, corner)
    run = tmp_path / "runs" / "one"
    write_all(run, dataset, [0, 1])
    path = run / "predictions" / file
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=match):
        read_predictions(run, dataset)


@given(st.floats(0.001, 0.999), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_calibration_keeps_the_order_and_puts_the_threshold_at_a_half(threshold, scores):
    thresholds = FoldThresholds(threshold, "odds", 0, "test")
    assert thresholds.calibrate(threshold) == 0.5
    ordered = sorted(scores)
    calibrated = [thresholds.calibrate(score) for score in ordered]
    assert calibrated == sorted(calibrated)
    for score, value in zip(ordered, calibrated, strict=True):
        assert 0 <= value <= 1
        assert (score >= threshold) == (value >= 0.5)


def test_distances_are_calibrated_too():
    thresholds = FoldThresholds(80.0, "ratio", 0, "test")
    assert thresholds.calibrate(80.0) == 0.5
    assert thresholds.calibrate(240.0) == 0.75
    assert thresholds.calibrate(0.0) == 0.0


def test_boxes_are_drawn_with_their_highest_score():
    scores = np.zeros((4, 4))
    scores[0, 0], scores[0, 1] = 0.5, 0.9
    regions = mask_to_regions(scores > 0, pixel_scores=scores)
    drawn = rasterise_scores(regions)
    assert drawn[0].tolist() == pytest.approx([0.9, 0.9, 0, 0])


@given(st.lists(st.text("ab_%/.é ", min_size=1, max_size=8), min_size=2, max_size=6, unique=True))
def test_two_ids_never_share_a_file_name(ids):
    names = [safe_name(image_id) for image_id in ids]
    assert len(set(names)) == len(ids)
    assert not any("/" in name or name.startswith(".") for name in names)


def test_images_come_back_and_damaged_ones_are_named(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    path = tmp_path / "ä b.png"
    write_png(path, image)
    assert read_image_hw(path) == (9, 7)
    assert check_image_file(path) == (9, 7)
    assert (read_image_rgb(path) == image).all()
    whole = path.read_bytes()
    for broken, match in ((b"", "zero bytes"), (whole[:-20], "stops before"), (b"text", "cannot")):
        path.write_bytes(broken)
        with pytest.raises(ImageReadError, match=match):
            check_image_file(path)
        with pytest.raises(ImageReadError, match=match):
            read_image_rgb(path)
    with pytest.raises(ImageReadError, match="There is no image"):
        read_image_rgb(tmp_path / "none.png")


def test_paths_that_leave_the_folder_are_refused(tmp_path):
    source = tmp_path / "all.json"
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "away").symlink_to(tmp_path)
    assert inside(tmp_path / "root", "a/b.png", source=source) == tmp_path / "root" / "a" / "b.png"
    for path in ("../x", "/etc/passwd", "a/../../x", "", "a\0b", "away/x"):
        with pytest.raises(InputError):
            inside(tmp_path / "root", path, source=source)


def test_a_failed_write_leaves_nothing(tmp_path):
    def work():
        with folder_moved_into_place(tmp_path / "out", hint="") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_json_holds_no_nan(tmp_path):
    from annotations.files import write_json_atomic

    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json_atomic(tmp_path / "x.json", {"a": 1})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_a_prediction_is_one_line():
    shown = repr(
        Prediction("a/1", 0.25, Regions.empty((9, 8), scored=True), np.zeros((9, 8)), "good")
    )
    assert shown == "Prediction('a/1', score 0.25, 0 region(s), map 9 x 8, type 'good')"
    assert repr(Prediction("a/1", 1.0)) == "Prediction('a/1', score 1)"
