"""A threshold moves with the scores that it was chosen among."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import FoldThresholds, InputError
from deployment.quantizing import moved_threshold, quantized
from inference.boxes import BoxScorer

scores = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=20)
thresholds = st.floats(1e-5, 1 - 1e-5)


def chosen(raw, scale):
    return FoldThresholds(raw, scale, 0.5, "x")


@given(scores, thresholds, st.sampled_from(["odds", "ratio"]))
def test_scores_that_stay_leave_it_where_it_is(before, raw, scale):
    assert moved_threshold(chosen(raw, scale), before, before) == pytest.approx(raw, rel=1e-6)


@given(scores, thresholds, st.floats(0.1, 10))
def test_distances_that_grow_by_a_factor_take_it_along(before, raw, factor):
    after = [factor * score for score in before]
    assert moved_threshold(chosen(raw, "ratio"), before, after) == pytest.approx(factor * raw)


@given(scores, thresholds, st.sampled_from(["odds", "ratio"]), st.integers(0, 2**32))
def test_as_many_images_lie_below_it_as_before(before, raw, scale, seed):
    moved = np.random.default_rng(seed).uniform(0.001, 0.999, len(before))
    got = moved_threshold(chosen(raw, scale), before, moved.tolist())
    below, above = sum(s < raw for s in before), sum(s > raw for s in before)
    assert np.sum(moved < got * (1 + 1e-9)) >= below
    assert np.sum(moved > got * (1 - 1e-9)) >= above


def test_between_two_scores_it_keeps_its_place():
    before, after = [1.0, 4.0], [2.0, 32.0]
    # Half way on the scale of ratios: the geometric mean.
    assert moved_threshold(chosen(2.0, "ratio"), before, after) == pytest.approx(8.0)
    assert moved_threshold(chosen(0.3, "odds"), [], []) == 0.3


def test_without_images_nothing_is_chosen():
    scorer = BoxScorer(None, image_size=32, max_detections=1, tiles=1, views=1)
    with pytest.raises(InputError, match="needs training images"):
        quantized(b"", scorer, [])
