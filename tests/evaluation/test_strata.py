"""Figures by type, by size and by source, and of defective and good images, against plain loops."""

from dataclasses import replace

import numpy as np
import pytest

from annotations import FoldThresholds, Prediction, PredictionWriter, Regions, mask_to_regions
from annotations.later import read_predictions
from evaluation import METRIC_NAMES, evaluate_runs
from evaluation.coco_ap import region_precision
from evaluation.strata import region_fractions
from evaluation.table import source_rows
from inference.matching import match_regions
from report.first_screen import by_source
from tests.drawn import memory_dataset


def growing(one):
    number = int(one.image_id[-1])
    mask = np.zeros(one.image_hw, bool)
    mask[0, : 1 + number] = True
    mask[4:6, 4 : 5 + number // 3] = number % 2 == 0
    return mask


@pytest.fixture
def evaluated(tmp_path):
    return evaluate_drawn(tmp_path, memory_dataset(tmp_path, growing))


def evaluate_drawn(tmp_path, dataset):
    rng = np.random.default_rng(3)
    run = tmp_path / "runs" / "one"
    about = {"family": "segment", "model": "drawn"}
    thresholds = FoldThresholds(0.5, "odds", 0.4, "test")
    for number, fold in enumerate(dataset.split.folds):
        with PredictionWriter(run, dataset, number, thresholds, about) as writer:
            for image_id in fold.test:
                truth = dataset.truths[image_id].union_mask()
                scores = np.clip(0.7 * truth + rng.normal(0.15, 0.2, truth.shape), 0, 1)
                scores = np.round(scores * 65535) / 65535
                regions = mask_to_regions(scores > 0.4, pixel_scores=scores)
                writer.write(Prediction(image_id, float(scores.max()), regions, scores))
    board = evaluate_runs(dataset, [run])
    return dataset, read_predictions(run, dataset), board


def plain(dataset, stored, ids):
    """Every overlap figure, one image after the other."""
    dice_of, iou_of, clean, false_good, called_good, pixels_good = [], [], [], [], 0, 0
    hit = both = union = 0
    n_true = n_found = n_false = 0
    for image_id in ids:
        truth = dataset.truths[image_id].union_mask()
        regions = stored.found_regions(image_id)
        found = regions.union_mask()
        match = match_regions(dataset.truths[image_id], regions)
        n_true += len(match.found_truth)
        n_found += int(match.found_truth.sum())
        n_false += int(match.false_alarm.sum())
        hit += (truth & found).sum()
        both += truth.sum() + found.sum()
        union += (truth | found).sum()
        if truth.any():
            dice_of.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
            iou_of.append((truth & found).sum() / (truth | found).sum())
        else:
            clean.append(not found.any())
            false_good.append(int(match.false_alarm.sum()))
            called_good += found.sum()
            pixels_good += found.size
    return {
        "dice": 2 * hit / both,
        "iou": hit / union,
        "dice_per_image": np.mean(dice_of),
        "iou_per_image": np.mean(iou_of),
        "good_images_clean": np.mean(clean),
        "good_pixels_called": called_good / pixels_good,
        "region_recall": n_found / n_true,
        "false_alarms_per_image": n_false / len(ids),
        "false_alarms_per_good_image": np.mean(false_good),
    }


def test_all_images_and_each_type(evaluated):
    dataset, stored, board = evaluated
    (row,) = board.rows
    assert set(row.metrics) == set(METRIC_NAMES)
    for kind, figures in (("", row.metrics), *row.by_type.items()):
        ids = [
            i
            for i in dataset.split.test_ids
            if not kind or dataset.by_id[i].defect_type in ("good", kind)
        ]
        for name, value in plain(dataset, stored, ids).items():
            assert figures[name].value == pytest.approx(value), (kind, name)
            assert figures[name].low <= figures[name].value <= figures[name].high or (
                "every resample" in figures[name].note
            )
    assert set(row.by_type) == {"chip", "scratch"}


def test_each_size(evaluated):
    dataset, stored, board = evaluated
    (row,) = board.rows
    sizes = {size.name: size for size in board.sizes}
    for name, size in sizes.items():
        total = found = 0
        for image_id in dataset.split.test_ids:
            match = match_regions(dataset.truths[image_id], stored.found_regions(image_id))
            inside = size.holds(region_fractions(dataset, image_id))
            total += int(inside.sum())
            found += int((inside & match.found_truth).sum())
        assert row.by_size[name]["region_recall"].value == pytest.approx(found / total)
        assert row.by_size[name]["region_recall"].n == total
    assert sum(row.by_size[name]["region_recall"].n for name in sizes) == sum(
        len(t) for t in dataset.truths.values()
    )


def test_each_source(tmp_path):
    """Its own images alone, good ones too; a dataset made of one source has none."""
    dataset = memory_dataset(tmp_path, growing)
    samples = [
        replace(one, source="line 2" if int(one.image_id[-1]) % 3 == 0 else "line 1")
        for one in dataset.samples
    ]
    dataset, stored, board = evaluate_drawn(tmp_path, replace(dataset, samples=tuple(samples)))
    (row,) = board.rows
    assert list(row.by_source) == ["line 1", "line 2"]
    tested = dataset.select(dataset.split.test_ids)
    for source, figures in row.by_source.items():
        own = [one for one in tested if one.source == source]
        bad = [one.image_id for one in own if one.is_defective]
        for name, value in plain(dataset, stored, [one.image_id for one in own]).items():
            assert figures[name].value == pytest.approx(value), (source, name)
        missed = [i for i in bad if stored.image_scores[i] < 0.5]
        assert figures["escape_rate"].n == len(bad)
        assert figures["escape_rate"].value == pytest.approx(len(missed) / len(bad))
        assert figures["overkill_rate"].n == len(own) - len(bad)
        assert figures["pixel_ap"].n == len(own) * 64
        alone = region_precision(
            dataset, [one.image_id for one in own], stored.regions, kind="bbox"
        )
        assert figures["box_map"].value == pytest.approx(alone.mean.value)
    assert board.to_json()["rows"][0]["by_source"].keys() == row.by_source.keys()
    header, *lines = source_rows(board.rows)
    assert header == ["", "one"]
    assert [line[0] for line in lines] == [
        f"{source}, {name}"
        for source in ("line 1", "line 2")
        for name in ("escape_rate", "overkill_rate", "image_auroc")
    ]
    words = by_source(board.to_json()["rows"])
    assert [(source, name) for source, name, _ in words][:2] == [
        ("line 1", "escapes"),
        ("line 1", "overkill"),
    ]


def test_one_source_is_not_told_apart(evaluated):
    _, _, board = evaluated
    assert board.rows[0].by_source == {}
    assert source_rows(board.rows) == []
    assert by_source(board.to_json()["rows"]) == []


def test_by_type_needs_nothing_of_other_types(evaluated):
    """A type's figures are those of a data set without the other one."""
    _, _, board = evaluated
    (row,) = board.rows
    assert row.by_type["chip"]["image_auroc"].n == 14
    assert row.by_type["chip"]["pixel_ap"].n == 14 * 64
    assert row.by_type["chip"]["escape_rate"].n == 8


def test_nothing_found_is_zero_and_nothing_true_is_undefined(tmp_path):
    dataset = memory_dataset(tmp_path, growing)
    run = tmp_path / "runs" / "silent"
    for number, fold in enumerate(dataset.split.folds):
        thresholds = FoldThresholds(0.5, "odds", 0.5, "test")
        with PredictionWriter(run, dataset, number, thresholds, {"family": "x"}) as writer:
            for image_id in fold.test:
                empty = Regions.empty((8, 8), scored=True)
                writer.write(Prediction(image_id, 0.1, empty, np.zeros((8, 8))))
    (row,) = evaluate_runs(dataset, [run]).rows
    for name in ("dice", "iou", "dice_per_image", "region_recall", "box_map", "mask_map"):
        assert row.metrics[name].value == 0, name
    assert row.metrics["good_images_clean"].value == 1
    assert row.metrics["precision"].value is None
    assert row.metrics["precision"].reason
