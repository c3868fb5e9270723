"""The pointing game, and what metrics say where labels have no pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import Regions, mask_to_regions
from evaluation.pointing import pointing_metric, points_at


def one_box(box, hw=(10, 12)):
    return Regions(np.array([box], np.float32), None, np.zeros(1, np.int64), None, hw)


@given(st.integers(0, 9), st.integers(0, 11))
def test_the_highest_point_is_in_the_box_or_not(y, x):
    scores = np.zeros((10, 12))
    scores[y, x] = 1
    assert points_at(scores, one_box((2, 3, 7, 6))) == float(3 <= y < 6 and 2 <= x < 7)


def test_equal_highest_points_count_by_their_share():
    scores = np.zeros((10, 12))
    scores[4, 3] = scores[4, 4] = scores[9, 9] = scores[0, 0] = 5
    assert points_at(scores, one_box((2, 3, 7, 6))) == 0.5
    mask = np.zeros((10, 12), bool)
    mask[4, 3] = True
    assert points_at(scores, mask_to_regions(mask)) == 0.25


def test_the_metric_counts_located_images_alone():
    hits = np.array([1.0, 0.0, 1.0, np.nan, 1.0])
    weights = np.ones((4, 5), np.int64)
    keep = np.array([True, True, True, True, False])
    metric, values = pointing_metric(hits, weights, keep)
    assert (metric.value, metric.n) == (pytest.approx(2 / 3), 3)
    assert values.tolist() == pytest.approx([2 / 3] * 4)
    # Clopper and Pearson of 2 in 3.
    assert (metric.low, metric.high) == (
        pytest.approx(0.0943, abs=1e-3),
        pytest.approx(0.9916, abs=1e-3),
    )
    nothing, values = pointing_metric(hits, weights, np.array([False] * 3 + [True, False]))
    assert nothing.value is None
    assert nothing.reason == "no defective test image has a box or a mask"
    assert values is None
