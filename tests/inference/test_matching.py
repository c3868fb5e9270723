"""The rule that says when a region counts as found, and the thresholds that follow from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import Regions, mask_to_regions
from inference.matching import (
    best_region_threshold,
    f1_of_regions,
    found_levels,
    match_regions,
    region_masks,
)

HW = (12, 16)
BOX = st.tuples(st.integers(0, 12), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6))


def boxes(rows, scores=None):
    array = np.array([[x, y, x + w, y + h] for x, y, w, h in rows], np.float32).reshape(-1, 4)
    array = np.minimum(array, np.array([HW[1], HW[0], HW[1], HW[0]], np.float32))
    return Regions(
        array,
        None,
        np.zeros(len(rows), np.int64),
        None if scores is None else np.array(scores, np.float32),
        HW,
    )


def with_masks(regions):
    from annotations import encode_rle

    return Regions(
        regions.boxes_xyxy,
        tuple(encode_rle(mask) for mask in region_masks(regions)),
        regions.labels,
        regions.scores,
        regions.image_hw,
    )


@settings(deadline=None)
@given(
    st.lists(BOX, max_size=4),
    st.lists(st.tuples(BOX, st.integers(1, 5)), max_size=6),
    st.booleans(),
)
def test_levels_say_what_the_rule_says_at_every_threshold(true, found, masked):
    truth = boxes(true)
    scored = boxes([box for box, _ in found], [score / 8 for _, score in found])
    if masked:
        truth, scored = with_masks(truth), with_masks(scored)
    levels = found_levels(truth, scored)
    for threshold in (0.0, 0.1, 0.125, 0.2, 0.25, 0.3, 0.375, 0.5, 0.6, 0.625, 0.7):
        match = match_regions(truth, scored.above(threshold))
        assert (levels.truth >= threshold).tolist() == match.found_truth.tolist()
        kept = levels.scores >= threshold
        assert (~levels.hits[kept]).tolist() == match.false_alarm.tolist()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(BOX, max_size=3), st.lists(st.tuples(BOX, st.integers(1, 5)), max_size=5)
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_region_threshold_has_the_highest_f1(images):
    pairs = [
        (boxes(true), boxes([b for b, _ in found], [s / 8 for _, s in found]))
        for true, found in images
    ]
    levels = [found_levels(truth, found) for truth, found in pairs]

    def f1(threshold):
        counts = np.zeros(4)
        for truth, found in pairs:
            kept = found.above(threshold)
            match = match_regions(truth, kept)
            counts += (
                match.found_truth.sum(),
                len(truth),
                len(kept) - match.false_alarm.sum(),
                len(kept),
            )
        return f1_of_regions(*counts)

    best = max(f1(t) for t in (0.0, 0.2, 0.3, 0.45, 0.55))
    threshold = best_region_threshold(levels)
    if best == 0:
        assert threshold == 0.5 or f1(threshold) == 0
    else:
        assert f1(threshold) == pytest.approx(best)


def test_a_defect_that_half_boxes_find_together():
    truth = boxes([(0, 0, 10, 1)])
    found = boxes([(0, 0, 2, 1), (2, 0, 2, 1), (12, 5, 2, 2)], [0.9, 0.4, 0.7])
    levels = found_levels(truth, found)
    assert levels.truth.tolist() == [pytest.approx(0.4)]
    assert levels.hits.tolist() == [True, True, False]
    # At 0.4 all is found, one of three regions is a false alarm; halfway to nothing below.
    assert best_region_threshold([levels]) == pytest.approx(0.2)


def test_nothing_to_choose_on():
    assert best_region_threshold([]) == 0.5
    nothing = found_levels(boxes([]), boxes([(0, 0, 2, 2)], [0.9]))
    assert best_region_threshold([nothing]) == 0.5
    with pytest.raises(ValueError, match="need scores"):
        found_levels(boxes([]), boxes([(0, 0, 2, 2)]))


def test_f1_counts_both_sides():
    assert f1_of_regions(1, 2, 3, 4) == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert f1_of_regions(0, 2, 0, 4) == f1_of_regions(0, 0, 0, 0) == 0.0


def test_a_mask_of_pieces_is_found_by_its_pixels():
    mask = np.zeros(HW, bool)
    mask[2:4, 2:12] = True
    truth = mask_to_regions(mask)
    found = boxes([(2, 2, 3, 2)], [0.5])
    assert found_levels(truth, found).truth.tolist() == [0.5]
