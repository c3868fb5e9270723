"""The threshold is chosen on validation scores alone, and the test images say what it does."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import FoldThresholds, InputError, Prediction, PredictionWriter, UsageError
from annotations.later import read_predictions
from evaluation import Costs, evaluate_runs
from evaluation.operating_point import expected_cost
from inference.thresholds import ThresholdAim
from tests.drawn import memory_dataset

THRESHOLDS = FoldThresholds(0.5, "odds", 0.5, "test")


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0.01, 0.9), st.data())
def test_costs_are_what_the_threshold_is_chosen_for(escape, overkill, share, data):
    costs = Costs(escape=escape, overkill=overkill)
    aim = costs.aim(share)
    rates = data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
    got = rates[0] * aim.escape_cost + rates[1] * aim.overkill_cost
    assert got == pytest.approx(float(expected_cost(*rates, costs, share)))
    assert Costs(max_escape=0.1).aim(share) == ThresholdAim(max_escape=0.1)
    assert Costs(max_overkill=0.1).aim(share) == ThresholdAim(max_overkill=0.1)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"escape": 1.0},
        {"overkill": 1.0},
        {"escape": 1.0, "overkill": 1.0, "max_escape": 0.1},
        {"max_escape": 0.1, "max_overkill": 0.1},
        {"escape": 0.0, "overkill": 1.0},
        {"escape": float("nan"), "overkill": 1.0},
        {"max_escape": 1.0},
        {"max_overkill": -0.1},
        {"max_escape": 0.1, "defect_rate": 0.0},
    ],
)
def test_costs_that_say_nothing_or_too_much_are_refused(values):
    with pytest.raises(UsageError):
        Costs(**values)


def square(one):
    mask = np.zeros(one.image_hw, bool)
    mask[2:5, 2:6] = True
    return mask


def write_run(run, dataset, score_of, *, validation=True):
    for number, fold in enumerate(dataset.split.folds):
        about = {"family": "classify", "model": "drawn"}
        with PredictionWriter(run, dataset, number, THRESHOLDS, about) as writer:
            for image_id in fold.test:
                writer.write(Prediction(image_id, score_of(image_id)))
            if validation:
                for image_id in fold.val:
                    writer.write_validation(image_id, score_of(image_id))


def by_type(image_id):
    return {"chip": 0.9, "scratch": 0.3}.get(image_id.split("/")[0], 0.1)


def test_validation_scores_survive_the_disk_and_a_fold_written_again(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run = tmp_path / "runs" / "one"
    write_run(run, dataset, by_type)
    write_run(run, dataset, by_type)
    got = read_predictions(run, dataset).validation_scores
    assert set(got) == {(n, i) for n, f in enumerate(dataset.split.folds) for i in f.val}
    assert got[0, dataset.split.folds[0].val[0]] == by_type(dataset.split.folds[0].val[0])


def test_costs_move_the_threshold_and_the_types_that_escape(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run = tmp_path / "runs" / "one"
    write_run(run, dataset, by_type)
    # Validation holds chips and scratches; at costs that are alike the gap above 0.1 is the best.
    board = evaluate_runs(dataset, [run], costs=Costs(escape=100, overkill=1, defect_rate=0.01))
    (point,) = board.operating_points
    assert set(point.thresholds) == {0, 1}
    assert all(0.1 < t <= 0.3 for t in point.thresholds.values())
    assert point.escape_rate.value == point.overkill_rate.value == 0
    assert point.expected_cost.value == 0
    assert point.expected_cost.high > 0
    assert "no errors to resample" in point.expected_cost.note
    assert board.rows[0].metrics["escape_rate"].value == 0.5
    blind = evaluate_runs(dataset, [run], costs=Costs(max_escape=0.9))
    (point,) = blind.operating_points
    # Nothing of the bound is spent for nothing: the threshold lies where none escapes.
    assert point.by_type["scratch"][:2] == (0, 8)
    assert point.expected_cost is None
    value = json.loads(json.dumps(blind.to_json(), allow_nan=False))["operating_point"]
    assert value["rule"].startswith("at most 90 %")
    assert value["runs"][0]["escapes_by_type"]["scratch"] == {"escaped": 0, "of": 8, "images": []}
    curve = value["runs"][0]["curve"]
    assert curve["threshold"] == sorted(curve["threshold"])
    assert curve["escape_rate"][0] == 0
    assert curve["overkill_rate"][0] == 1
    promise = evaluate_runs(dataset, [run], costs=Costs(max_escape=0.01)).operating_points[0]
    assert "cannot promise the bound" in promise.validation


def test_a_test_image_has_no_say_in_its_own_threshold(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run, other = tmp_path / "runs" / "one", tmp_path / "runs" / "two"
    write_run(run, dataset, by_type)
    tested = set(dataset.split.folds[0].test)
    assert tested & set(dataset.split.folds[1].val)
    # Scores of fold 0's test images, given by fold 1's model while validating, change.
    write_run(other, dataset, lambda i: 0.999 if i in tested else by_type(i))
    costs = Costs(escape=1, overkill=1)
    boards = [evaluate_runs(dataset, [r], costs=costs).operating_points[0] for r in (run, other)]
    assert boards[0].thresholds[0] == boards[1].thresholds[0]
    assert boards[0].thresholds[1] != boards[1].thresholds[1]


def test_a_run_without_validation_scores_is_refused(tmp_path):
    dataset = memory_dataset(tmp_path, square)
    run = tmp_path / "runs" / "one"
    write_run(run, dataset, by_type, validation=False)
    with pytest.raises(InputError, match="keeps no scores of validation images"):
        evaluate_runs(dataset, [run], costs=Costs(max_escape=0.1))
    writer = PredictionWriter(run, dataset, 0, THRESHOLDS, {})
    with pytest.raises(ValueError, match="does not validate"):
        writer.write_validation("chip/nobody", 0.5)
