"""Where no good image is tested (or no defective one), no metric rewards calling all alike."""

from types import MappingProxyType

import numpy as np
import pytest

from annotations import (
    Dataset,
    FoldThresholds,
    Prediction,
    PredictionWriter,
    Regions,
    make_split,
    mask_to_regions,
)
from defectune.summaries import show_leaderboard
from evaluation import Costs, evaluate_runs
from tests.drawn import many_samples

THRESHOLDS = FoldThresholds(0.5, "odds", 0.5, "test")


def one_kind(root, *, defective):
    """A dataset whose test images are all of one kind, and two runs that differ on each."""
    samples = many_samples(n_train_good=6, n_test_good=0 if defective else 6,
                           n_per_type=8 if defective else 0)  # fmt: skip
    samples = tuple(sorted(samples, key=lambda s: s.image_id))
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    truths = {
        s.image_id: mask_to_regions(mask) if s.is_defective else Regions.empty(s.image_hw)
        for s in samples
    }
    split = make_split(samples, folds=2)
    dataset = Dataset(root, ("chip", "scratch"), samples, MappingProxyType(truths), split)
    runs = []
    for name, score in (("all-defective", 0.9), ("all-good", 0.1)):
        for number, fold in enumerate(split.folds):
            about = {"family": "classify", "model": "x"}
            with PredictionWriter(root / name, dataset, number, THRESHOLDS, about) as writer:
                for image_id in fold.test:
                    writer.write(Prediction(image_id, score))
                for image_id in fold.val:
                    writer.write_validation(image_id, score)
        runs.append(root / name)
    return dataset, runs


@pytest.mark.parametrize("defective", [True, False])
def test_nothing_is_best(tmp_path, defective, capsys):
    dataset, runs = one_kind(tmp_path, defective=defective)
    board = evaluate_runs(dataset, runs)
    known = ("recall", "escape_rate") if defective else ("overkill_rate",)
    names = ("image_auroc", "image_ap", "accuracy", "accuracy_oracle", "precision", "recall",
             "f1", "f1_oracle", "escape_rate", "overkill_rate")  # fmt: skip
    for row in board.rows:
        for name in names:
            metric = row.metrics[name]
            assert (metric.value is None) == (name not in known), name
            assert metric.value is not None or metric.reason
        for part in row.by_type.values():
            assert part["accuracy"].value is None
    assert board.differences == []
    assert board.comparisons == ()
    what = "good" if defective else "defective"
    assert board.missing_kind.startswith(f"No {what} image is evaluated:")
    assert board.to_json()["missing_kind"] == board.missing_kind
    show_leaderboard(board, {"dataset": tmp_path})
    shown = capsys.readouterr().out
    assert board.missing_kind in shown
    assert "is best" not in shown


def test_an_operating_point_without_good_images_says_what_is_not_known(tmp_path):
    dataset, runs = one_kind(tmp_path, defective=True)
    # Good images of the training side may validate; here only defective ones have scores.
    for run in runs:
        path = run / "predictions" / "validation.csv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], *(x for x in lines if not x.startswith("train"))][1:]))
    board = evaluate_runs(dataset, runs, costs=Costs(max_escape=0.1))
    for point in board.operating_points:
        assert "nothing is known of overkill" in point.validation
        assert point.overkill_rate.value is None
