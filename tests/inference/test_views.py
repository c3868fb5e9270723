"""Views: what is turned and mirrored comes back, and boxes of several views become one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import Regions, mask_to_regions
from inference.views import boxes_back, fuse_boxes, map_back, view_of


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 7))
def test_maps_come_back(height, width, number):
    image = np.arange(height * width, dtype=np.float32).reshape(height, width)
    assert np.array_equal(map_back(view_of(image, number)[None], number)[0], image)


@given(st.integers(0, 7), st.integers(0, 5), st.integers(0, 8), st.integers(1, 3))
def test_boxes_come_back(number, top, left, size):
    mask = np.zeros((9, 14), bool)
    mask[top : top + size, left : left + 2 * size] = True
    in_view = mask_to_regions(np.ascontiguousarray(view_of(mask, number)))
    expected = mask_to_regions(mask).boxes_xyxy
    assert np.array_equal(boxes_back(in_view.boxes_xyxy, number, (9, 14)), expected)


def test_the_eight_views_are_eight():
    image = np.array([[1, 2], [3, 4]])
    assert len({view_of(image, number).tobytes() for number in range(8)}) == 8
    assert np.array_equal(view_of(image, 0), image)
    assert view_of(image, 1).tolist() == [[2, 1], [4, 3]]


def test_boxes_of_several_views_become_one_by_score():
    found = Regions(
        np.array([[0, 0, 10, 10], [0, 0, 12, 10], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32),
        None,
        np.array([0, 0, 1, 0]),
        np.array([0.9, 0.3, 0.5, 0.2], np.float32),
        (99, 99),
    )
    fused = fuse_boxes(found, 2)
    assert fused.labels.tolist() == [0, 1, 0]
    assert fused.scores is not None
    assert fused.scores.tolist() == pytest.approx([0.6, 0.25, 0.1])
    assert fused.boxes_xyxy[0].tolist() == pytest.approx([0, 0, 10.5, 10])
    assert len(fuse_boxes(Regions.empty((9, 9), scored=True), 4)) == 0
    with pytest.raises(ValueError, match="scores"):
        fuse_boxes(Regions.empty((9, 9)), 4)
