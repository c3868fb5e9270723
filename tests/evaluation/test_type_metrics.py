"""Balanced accuracy, against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from evaluation.intervals import resample_weights
from evaluation.type_metrics import balanced_accuracy, type_counts, type_metrics

NAMES = ("good", "crack", "fray")


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=30))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_counts_and_figure_are_scikit_learns(pairs):
    types, said = (np.array(column) for column in zip(*pairs, strict=True))
    counts = type_counts(types, said, NAMES)
    assert (counts == confusion_matrix(types, said, labels=list(NAMES))).all()
    assert balanced_accuracy(counts) == pytest.approx(balanced_accuracy_score(types, said))
    weights = resample_weights(types, np.arange(len(types)).astype(str), seed=0, resamples=5)
    metrics, values = type_metrics(types, said, NAMES, weights)
    again = [
        balanced_accuracy_score(np.repeat(types, row), np.repeat(said, row)) for row in weights
    ]
    assert values["type_accuracy"] == pytest.approx(again)
    assert metrics["type_accuracy"].n == len(types)


def test_perfect_empty_and_absent():
    types = np.array(["good", "fray", "fray"])
    assert balanced_accuracy(type_counts(types, types, NAMES)) == 1.0
    assert balanced_accuracy(np.zeros((3, 3), np.int64)) is None
    empty = np.array([], np.str_)
    metrics, values = type_metrics(empty, empty, NAMES, np.zeros((4, 0), np.int64))
    assert metrics["type_accuracy"].value is None
    assert metrics["type_accuracy"].reason == "there are no images"
    assert not values
    with pytest.raises(ValueError, match="not one of the types"):
        type_counts(np.array(["dent"]), np.array(["good"]), NAMES)
    with pytest.raises(ValueError, match="1 images and 2"):
        type_counts(np.array(["good"]), np.array(["good", "good"]), NAMES)
