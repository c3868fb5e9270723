"""Labels whose boxes stay tight under rotation."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations import Regions, mask_to_regions
from training.yolo_labels import region_hulls, yolo_box_lines, yolo_polygon_lines


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_hulls_box_is_the_regions_box(mask):
    regions = mask_to_regions(mask)
    for hull, box in zip(region_hulls(regions), regions.boxes_xyxy, strict=True):
        assert [*hull.min(axis=0), *hull.max(axis=0)] == box.tolist()
        assert len(hull) >= 4


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(bool, (9, 9)), st.floats(0, 6.28))
def test_a_turned_hull_reaches_as_far_as_the_pixels_it_encloses(mask, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    expected = []
    for index in range(1, count):
        rows, columns = np.nonzero(components == index)
        points = [
            (x + dx, y + dy)
            for y, x in zip(rows, columns, strict=True)
            for dx in (0, 1)
            for dy in (0, 1)
        ]
        turned = np.array(points, float) @ turn.T
        expected.append([*turned.min(axis=0), *turned.max(axis=0)])
    got = [
        [*(h @ turn.T).min(axis=0), *(h @ turn.T).max(axis=0)]
        for h in region_hulls(mask_to_regions(mask))
    ]
    assert len(got) == len(expected)
    assert np.allclose(sorted(got), sorted(expected), atol=1e-4)


def test_lines_are_parts_of_the_image():
    mask = np.zeros((10, 20), bool)
    mask[2:4, 5:15] = True
    regions = mask_to_regions(mask, label=3)
    numbers = yolo_polygon_lines(regions).split()
    assert numbers[0] == "3"
    points = np.array(numbers[1:], float).reshape(-1, 2) * (20, 10)
    assert sorted(points.round(4).tolist()) == [[5, 2], [5, 4], [15, 2], [15, 4]]
    box = [float(v) for v in yolo_box_lines(regions).split()]
    assert np.allclose(box, [3, 0.5, 0.3, 0.5, 0.2])


def test_boxes_without_masks_are_their_own_outline():
    boxes = np.array([[1, 2, 5, 8]], np.float32)
    regions = Regions(boxes, None, np.zeros(1, np.int64), None, (10, 10))
    assert region_hulls(regions)[0].tolist() == [[1, 2], [5, 2], [5, 8], [1, 8]]
    empty = Regions.empty((4, 4))
    assert yolo_polygon_lines(empty) == yolo_box_lines(empty) == ""
