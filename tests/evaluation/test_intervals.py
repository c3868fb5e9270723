"""Resampled figures against scikit-learn's weighted ones, and what a resample may hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from evaluation.intervals import (
    group_resamples,
    weighted_auroc,
    weighted_average_precision,
)
from tests.evaluation.whole_images import image_metrics


def auroc_interval(scores, truth, groups):
    metric = image_metrics(scores, truth, groups, threshold=0.5, seed=0)["image_auroc"]
    return metric.low, metric.high


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=12)


@given(ROWS, ROWS)
def test_a_weight_counts_as_that_many_images(bad, good):
    # One of each kind is drawn for certain; the others may be drawn zero times.
    rows = [(2, 1), *bad, (2, 1), *good]
    scores = np.array([s for s, _ in rows], float)
    weights = np.array([[w for _, w in rows], [1] * len(rows)])
    truth = np.arange(len(rows)) <= len(bad)
    expected_auroc = [sk.roc_auc_score(truth, scores, sample_weight=w) for w in weights]
    expected_ap = [sk.average_precision_score(truth, scores, sample_weight=w) for w in weights]
    assert weighted_auroc(weights, scores, truth) == pytest.approx(expected_auroc)
    assert weighted_average_precision(weights, scores, truth) == pytest.approx(expected_ap)


def test_groups_are_drawn_whole_and_each_kind_keeps_its_number_of_groups():
    truth = np.array([True, True, True, False, False, False])
    groups = np.array(["a", "a", "b", "c", "d", "d"])
    weights = np.concatenate(list(group_resamples(truth, groups, seed=1, resamples=200)))
    assert weights.shape == (200, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 3] + weights[:, 4] == 2).all()
    assert len(np.unique(weights, axis=0)) == 9


def test_the_interval_is_that_of_a_plain_bootstrap_up_to_chance():
    rng = np.random.default_rng(0)
    truth = np.arange(60) < 40
    scores = rng.normal(size=60) + truth
    groups = np.array([f"part {n}" for n in range(60)])
    plain = []
    for _ in range(1000):
        rows = np.concatenate([rng.integers(0, 40, 40), rng.integers(40, 60, 20)])
        plain.append(sk.roc_auc_score(truth[rows], scores[rows]))
    got = auroc_interval(scores, truth, groups)
    assert got == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.02)
    assert got == auroc_interval(scores, truth, groups)


def test_images_of_one_part_widen_the_interval():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(12) < 6, 10)
    scores = np.repeat(rng.normal(size=12), 10) + truth
    alone = np.array([str(n) for n in range(120)])
    parts = np.array([str(n // 10) for n in range(120)])
    width = {}
    for name, groups in (("alone", alone), ("parts", parts)):
        low, high = auroc_interval(scores, truth, groups)
        width[name] = high - low
    assert width["parts"] > 1.5 * width["alone"]


def test_one_kind_alone_has_no_interval():
    one = np.array([0.5])
    for kind in (True, False):
        got = auroc_interval(one, np.array([kind]), np.array(["a"]))
        assert got == (None, None)
