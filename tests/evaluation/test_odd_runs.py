"""Runs that are odd but allowed, and runs that would flatter themselves."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from annotations import (
    FoldThresholds,
    InputError,
    Prediction,
    PredictionWriter,
    Regions,
    mask_to_regions,
    read_predictions,
)
from annotations.prediction_files import IMAGE_COLUMNS, read_csv, write_csv
from evaluation import evaluate_runs, match_regions
from evaluation.coco_ap import region_precision
from evaluation.pixel_metrics import PixelCounts, pixel_metrics, pooled
from inference.matching import union_mask
from tests.drawn import memory_dataset

THRESHOLDS = FoldThresholds(0.5, "ratio", 0.5, "test")


def square(one):
    mask = np.zeros(one.image_hw, bool)
    mask[2:5, 2:6] = True
    return mask


def write_run(dataset, name, predict, family="detect"):
    run = dataset.root / "runs" / name
    for number, fold in enumerate(dataset.split.folds):
        about = {"family": family, "model": "drawn"}
        with PredictionWriter(run, dataset, number, THRESHOLDS, about) as writer:
            for image_id in fold.test:
                writer.write(predict(image_id))
    return run


def test_a_detector_that_finds_nothing_gets_zeros_and_no_mask_figure(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run = write_run(
        dataset, "silent", lambda i: Prediction(i, 0.1, Regions.empty((8, 8), scored=True))
    )
    row = evaluate_runs(dataset, [run]).rows[0]
    assert row.metrics["box_map"].value == 0
    assert row.metrics["region_recall"].value == 0
    assert row.metrics["dice"].value == 0
    assert row.metrics["mask_map"] is None


def test_region_scores_above_one_keep_their_order(tmp_path):
    dataset = memory_dataset(tmp_path, square)

    def predict(image_id):
        truth = dataset.truths[image_id]
        found = np.concatenate([truth.boxes_xyxy, np.array([[0, 6, 8, 8]], np.float32)])
        scores = np.array([5.0] * len(truth) + [2.0], np.float32)
        labels = np.zeros(len(found), np.int64)
        return Prediction(image_id, 1.0, Regions(found, None, labels, scores, (8, 8)))

    row = evaluate_runs(dataset, [write_run(dataset, "distances", predict)]).rows[0]
    assert row.metrics["pixel_ap"].value == pytest.approx(1.0)


def test_maps_of_different_ranges_share_one_scale(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    rng = np.random.default_rng(3)
    maps = {i: rng.normal(size=(8, 8)) * (n + 1) for n, i in enumerate(dataset.split.test_ids)}
    run = write_run(dataset, "wide", lambda i: Prediction(i, 1.0, None, maps[i]), "classify")
    row = evaluate_runs(dataset, [run]).rows[0]
    truth = {i: dataset.truths[i].union_mask().ravel() for i in maps}
    everything = [np.concatenate([v.ravel() for v in d.values()]) for d in (truth, maps)]
    expected = sk.average_precision_score(*everything)
    assert row.metrics["pixel_ap"].value == pytest.approx(expected, abs=2e-3)
    for name in ("dice", "iou", "region_recall", "box_map", "mask_map"):
        assert row.metrics[name] is None
    by_fold = [
        sk.average_precision_score(
            np.concatenate([truth[i] for i in fold.test]),
            np.concatenate([maps[i].ravel() for i in fold.test]),
        )
        for fold in dataset.split.folds
    ]
    assert row.fold_means["pixel_ap"] == pytest.approx(np.mean(by_fold), abs=2e-3)
    assert "dice" not in row.fold_means


def test_what_another_folds_model_predicted_is_refused(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run = write_run(dataset, "leak", lambda i: Prediction(i, 0.1), "classify")
    table = run / "predictions" / "images.csv"
    rows = read_csv(table)
    write_csv(table, IMAGE_COLUMNS, [row | {"fold": 1 - int(row["fold"])} for row in rows])
    with pytest.raises(InputError, match="22 predictions that the split does not ask for"):
        evaluate_runs(dataset, [run])


@pytest.mark.parametrize("with_regions", [True, False])
def test_a_fold_that_was_killed_while_written_has_no_rows(tmp_path, with_regions):
    """meta.json is written last; what stands in the tables before it is half a fold."""
    dataset = memory_dataset(tmp_path, square)
    box = Regions(
        np.array([[1, 1, 4, 4]], np.float32), None, np.array([0]), np.array([0.9], "f4"), (8, 8)
    )
    run = write_run(dataset, "killed", lambda i: Prediction(i, 0.1, box if with_regions else None))
    path = run / "predictions" / "meta.json"
    meta = json.loads(path.read_text())
    del meta["folds"]["1"]
    path.write_text(json.dumps(meta))
    stored = read_predictions(run, dataset)
    assert set(stored.image_scores) == set(dataset.split.folds[0].test)
    assert evaluate_runs(dataset, [run], fold=0).n_images == len(dataset.split.folds[0].test)
    with pytest.raises(InputError, match="train its remaining folds"):
        evaluate_runs(dataset, [run])


def test_regions_of_an_absent_class_are_named(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    ids = [i for i in dataset.split.test_ids if not i.startswith("scratch/")]
    found = {}
    for image_id in ids:
        truth = dataset.truths[image_id]
        boxes = np.concatenate([truth.boxes_xyxy, np.array([[0, 0, 2, 2]], np.float32)])
        labels = np.array([*truth.labels.tolist(), 1], np.int64)
        found[image_id] = Regions(boxes, None, labels, np.ones(len(labels), np.float32), (8, 8))
    scored = region_precision(dataset, ids, found, kind="bbox")
    mean, half = scored.mean, scored.half
    assert mean.value == pytest.approx(1.0)
    assert f"{len(ids)} of scratch" in half.note
    assert "note" in half.to_json()


def test_a_defect_without_a_mask_is_neither_hit_nor_false_alarm(tmp_path):
    def only_chips(one):
        return square(one) if one.defect_type == "chip" else np.zeros(one.image_hw, bool)

    dataset = memory_dataset(tmp_path, only_chips)
    everywhere = Regions(
        np.array([[2, 2, 6, 5]], np.float32), None, np.zeros(1, np.int64),
        np.ones(1, np.float32), (8, 8),
    )  # fmt: skip
    run = write_run(dataset, "all", lambda i: Prediction(i, 1.0, everywhere))
    row = evaluate_runs(dataset, [run]).rows[0]
    # 8 chips found, 6 good images with an alarm each; the 8 scratches say nothing.
    assert row.metrics["region_recall"].value == 1.0
    assert row.metrics["false_alarms_per_image"].value == pytest.approx(6 / 14)
    # What was found on scratches does not enter the average precision either.
    chips = [i for i in dataset.split.test_ids if not i.startswith("scratch/")]
    scored = region_precision(dataset, chips, dict.fromkeys(chips, everywhere), kind="bbox")
    assert row.metrics["box_map"].value == scored.mean.value
    assert row.metrics["box_map"].value > 0
    # A scratch image is no background either: 8 boxes hit, 6 miss.
    assert row.metrics["dice"].value == pytest.approx(2 * 8 / (8 + 14))


def slow_match(truth, found):
    """Pixel by pixel, as the rule is written."""
    any_true, any_found = np.zeros((2, *truth[0].shape), bool)
    for mask in truth:
        any_true |= mask
    for mask in found:
        any_found |= mask
    hit, alarm = [], []
    for masks, other, into in ((truth, any_found, hit), (found, any_true, alarm)):
        for mask in masks:
            pixels = list(zip(*np.nonzero(mask), strict=True))
            into.append(sum(bool(other[p]) for p in pixels) / len(pixels))
    return [v >= 0.3 for v in hit], [v < 0.1 for v in alarm]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.5))
def test_matching_is_that_of_counting_pixels(seed, density):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 9, 13)) < density
    masks[:, 4, 4] = True
    regions = [mask_to_regions(m, pixel_scores=np.ones(m.shape)) for m in masks]
    got = match_regions(*regions)
    cut = [[mask_to_regions(m).masks, m] for m in masks]
    pieces = [[decoded(rle) for rle in rles] for rles, _ in cut]
    hit, alarm = slow_match(*pieces)
    assert got.found_truth.tolist() == hit
    assert got.false_alarm.tolist() == alarm
    assert (union_mask(regions[0]) == masks[0]).all()


def decoded(rle):
    from annotations import decode_rle

    return decode_rle(rle)


def test_a_noisy_map_is_matched_without_drawing_every_speck(monkeypatch):
    specks = np.random.default_rng(0).random((900, 900)) > 0.99
    found = mask_to_regions(specks, pixel_scores=specks.astype(float))
    truth = mask_to_regions(np.pad(np.ones((50, 50), bool), 425))
    drawn = []
    # Decoded one by one they would take half a minute and some gigabytes.
    monkeypatch.setattr("inference.matching.decode_rle", drawn.append)
    match = match_regions(truth, found)
    assert not drawn
    assert len(match.false_alarm) > 5000
    assert match.found_truth.tolist() == [False]


def test_pooled_counts_are_those_of_all_images_at_once():
    rng = np.random.default_rng(5)
    parts = [PixelCounts(0.0, 1.0), PixelCounts(0.0, 1.0)]
    whole = PixelCounts(0.0, 1.0)
    for n in range(4):
        scores, truth = rng.random((6, 6)), rng.random((6, 6)) > 0.6
        for counts in (parts[n % 2], whole):
            counts.add(scores, [truth], scores > 0.5)
    together = pixel_metrics(pooled(parts))
    for name, metric in pixel_metrics(whole).items():
        assert together[name].value == pytest.approx(metric.value)
        assert together[name].n == metric.n
    with pytest.raises(ValueError, match="one range"):
        pooled([PixelCounts(0.0, 1.0), PixelCounts(0.0, 2.0)])
