"""Regions as vectors."""

import re

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotations import Regions, mask_to_regions
from evaluation import match_regions
from inference.matching import region_states
from report.vectors import MOST_REGIONS, found_vectors, outline_path


@given(arrays(bool, (9, 11), elements=st.booleans()))
def test_an_outline_filled_again_is_the_mask(mask):
    contours = [
        np.floor(np.array(part.split(), float).reshape(-1, 1, 2)).astype(np.int32)
        for part in re.findall(r"M([^Z]*)Z", outline_path(mask))
    ]
    again = np.zeros(mask.shape, np.uint8)
    # Holes' outlines run on the mask's own pixels, so that outlines are drawn after filling.
    cv2.fillPoly(again, contours, 1)
    cv2.drawContours(again, contours, -1, 1, 1)
    assert ((again > 0) == mask).all()


def found_in(mask: np.ndarray) -> Regions:
    truth = mask_to_regions(mask, label=0)
    return Regions(
        boxes_xyxy=truth.boxes_xyxy,
        masks=truth.masks,
        labels=truth.labels,
        scores=np.linspace(0.2, 0.9, len(truth)).astype(np.float32),
        image_hw=truth.image_hw,
    )


def test_a_region_has_its_box_and_says_whether_it_is_a_false_alarm():
    mask = np.zeros((40, 60), bool)
    mask[5:15, 10:30] = True
    mask[30, 50] = True
    truth = mask_to_regions(mask)[:1]
    found = found_in(mask)
    rows = found_vectors(found, region_states(truth, found, match_regions(truth, found)))
    assert [(row[1], row[3], row[4]) for row in rows] == [
        ([10, 5, 30, 15], 0.2, 0),
        ([50, 30, 51, 31], 0.9, 1),
    ]


def test_of_very_many_regions_the_highest_are_drawn():
    mask = np.zeros((80, 80), bool)
    mask[::3, ::3] = True
    found = found_in(mask)
    assert len(found) > MOST_REGIONS
    truth = Regions.empty((80, 80))
    rows = found_vectors(found, region_states(truth, found, match_regions(truth, found)))
    scores = [row[3] for row in rows]
    assert len(scores) == MOST_REGIONS
    assert max(scores) == 0.9
    assert min(scores) > 0.2
