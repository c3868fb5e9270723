"""One table for all runs, and refusals to compare what cannot be compared."""

import json

import numpy as np
import pytest

from annotations import (
    FoldThresholds,
    InputError,
    Prediction,
    PredictionWriter,
    Regions,
    SplitMismatchError,
    UsageError,
)
from evaluation import METRIC_NAMES, evaluate_runs, format_metric, table_rows
from evaluation.metric import Metric, rate
from tests.drawn import memory_dataset

THRESHOLDS = FoldThresholds(0.5, "odds", 0.5, "test")


def square(one):
    mask = np.zeros(one.image_hw, bool)
    mask[2:5, 2:6] = True
    return mask


def write_run(run, dataset, family, folds=None):
    for number in range(len(dataset.split.folds)) if folds is None else folds:
        about = {"family": family, "model": "drawn"}
        with PredictionWriter(run, dataset, number, THRESHOLDS, about) as writer:
            for image_id in dataset.split.folds[number].test:
                truth = dataset.truths[image_id]
                score = 0.9 if len(truth) else 0.1
                scores = np.full(len(truth), 0.9, np.float32)
                masks = None if family == "detect" else truth.masks
                regions = Regions(truth.boxes_xyxy, masks, truth.labels, scores, truth.image_hw)
                prediction = {
                    "classify": Prediction(image_id, score),
                    "detect": Prediction(image_id, score, regions),
                    "segment": Prediction(
                        image_id, score, regions, truth.union_mask().astype(float) * 0.9
                    ),
                }[family]
                writer.write(prediction)


def test_every_family_in_one_table(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    families = ("classify", "detect", "segment")
    for family in families:
        write_run(tmp_path / "runs" / family, dataset, family)
    board = evaluate_runs(dataset, [tmp_path / "runs" / f for f in families])
    value = json.loads(json.dumps(board.to_json(), allow_nan=False))
    assert value["split_digest"] == dataset.split.digest
    assert value["n_images"] == 22
    assert value["n_defective"] == 16
    rows = {row["family"]: row["metrics"] for row in value["rows"]}
    for metrics in rows.values():
        assert set(metrics) == set(METRIC_NAMES)
        assert metrics["image_auroc"]["value"] == 1.0
        assert metrics["accuracy"]["value"] == 1.0
    assert rows["classify"]["box_map"] is None
    assert rows["classify"]["pixel_ap"] is None
    assert rows["detect"]["mask_map"] is None
    # The truth is one rectangle, so that a filled box is the mask.
    for family in ("detect", "segment"):
        for name in ("box_map", "box_map50", "pixel_ap", "dice", "iou", "region_recall"):
            assert rows[family][name]["value"] == pytest.approx(1.0), (family, name)
        assert rows[family]["false_alarms_per_image"]["value"] == 0
    assert rows["segment"]["mask_map"]["value"] == pytest.approx(1.0)
    assert len(table_rows(board.rows)) == len(METRIC_NAMES) + 1
    assert "| escape_rate | ≤ 20.6 % (0 of 16)" in board.to_markdown()


def test_runs_that_do_not_cover_the_images_are_refused(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run = tmp_path / "runs" / "half"
    write_run(run, dataset, "classify", folds=[1])
    with pytest.raises(InputError, match=r"predicts \d+ of the 22 .*--fold all.*--fold 1"):
        evaluate_runs(dataset, [run])
    board = evaluate_runs(dataset, [run], fold=1)
    assert board.n_images == len(dataset.split.folds[1].test)


def test_runs_of_another_split_or_name_or_none_are_refused(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    write_run(tmp_path / "runs" / "one", dataset, "classify")
    other = memory_dataset(tmp_path, square, folds=3)
    with pytest.raises(SplitMismatchError, match="not evaluated on the same images"):
        evaluate_runs(other, [tmp_path / "runs" / "one"])
    with pytest.raises(UsageError, match="one name"):
        evaluate_runs(dataset, [tmp_path / "runs" / "one", tmp_path / "else" / "one"])
    with pytest.raises(InputError, match="no runs"):
        evaluate_runs(dataset, [])
    with pytest.raises(UsageError, match="no fold 7"):
        evaluate_runs(dataset, [tmp_path / "runs" / "one"], fold=7)
    with pytest.raises(InputError, match="no finished predictions"):
        evaluate_runs(dataset, [tmp_path / "runs" / "nobody"])


def test_figures_as_people_read_them():
    assert format_metric("dice", None) == "—"
    assert format_metric("dice", Metric(None, 0, reason="none")) == "n/a"
    assert format_metric("dice", Metric(0.12345, 3)) == "0.123"
    assert format_metric("escape_rate", rate(0, 63, what="images")) == "≤ 5.7 % (0 of 63)"
    assert format_metric("accuracy", rate(82, 83, what="images")) == "98.8 %"
