"""Pixel geometry against scipy and a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from scipy import ndimage

from annotations import Regions, boxes_of_masks, decode_rle, encode_rle, mask_to_regions, rle_area

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))
EIGHT = np.ones((3, 3), int)


@given(MASKS)
def test_a_mask_that_goes_through_rle_and_back_is_the_same_mask(mask):
    rle = encode_rle(mask)
    assert (decode_rle(rle) == mask).all()
    assert rle_area(rle) == mask.sum()


@settings(max_examples=300)
@given(MASKS)
def test_components_are_those_of_scipy_with_eight_neighbors(mask):
    regions = mask_to_regions(mask)
    labeled, count = ndimage.label(mask, EIGHT)
    assert len(regions) == count
    assert regions.masks is not None
    expected = set()
    for index, slices in enumerate(ndimage.find_objects(labeled), start=1):
        component = labeled == index
        full = coco_mask.encode(np.asfortranarray(component.astype(np.uint8)))
        rows, columns = slices
        expected.add((full["counts"].decode(), columns.start, rows.start, columns.stop, rows.stop))
    got = {
        (rle["counts"], *(int(v) for v in box))
        for rle, box in zip(regions.masks, regions.boxes_xyxy, strict=True)
    }
    assert got == expected
    assert (regions.union_mask() == mask).all()
    assert regions.areas.sum() == mask.sum()
    assert (boxes_of_masks(list(regions.masks)) == regions.boxes_xyxy).all()


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((5, 7), bool),
        np.pad(np.zeros((3, 3), bool), 2, constant_values=True),
        np.eye(6, dtype=bool),
        np.array([[1, 0, 1]], bool),
        np.array([[1], [1]], bool),
    ],
    ids=["all ones", "a hole", "corners touch", "one row", "one column"],
)
def test_shapes_that_other_converters_get_wrong(mask):
    regions = mask_to_regions(mask)
    assert (regions.union_mask() == mask).all()
    assert len(regions) == ndimage.label(mask, EIGHT)[1]


def test_a_single_pixel_has_a_box_one_pixel_wide():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    regions = mask_to_regions(mask)
    assert regions.boxes_xyxy.tolist() == [[3, 2, 4, 3]]
    assert regions.areas.tolist() == [1]


def test_scores_labels_and_smallest_area():
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[3:5, 3:5] = True
    scores = np.arange(36).reshape(6, 6) / 100
    labels = np.zeros((6, 6), int)
    labels[3:5, 3:5] = [[2, 2], [2, 1]]
    regions = mask_to_regions(mask, label=labels, pixel_scores=scores, min_area=2)
    assert regions.labels.tolist() == [2]
    assert regions.scores is not None
    assert regions.scores.tolist() == pytest.approx([0.28])


def test_regions_refuse_what_cannot_be():
    good = mask_to_regions(np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="before its start"):
        Regions(np.array([[2, 0, 1, 1]], np.float32), None, good.labels, None, (2, 2))
    with pytest.raises(ValueError, match="not finite"):
        Regions(np.array([[0, 0, np.nan, 1]], np.float32), None, good.labels, None, (2, 2))
    with pytest.raises(ValueError, match="A mask of"):
        Regions(good.boxes_xyxy, good.masks, good.labels, None, (3, 3))
    with pytest.raises(ValueError, match="finite numbers"):
        Regions(good.boxes_xyxy, good.masks, good.labels, np.array([np.inf], np.float32), (2, 2))


def test_class_index_masks_hold_label_plus_one():
    regions = mask_to_regions(np.array([[1, 0, 1]], bool), label=np.array([[4, 0, 9]]))
    assert regions.class_index_mask().tolist() == [[5, 0, 10]]


def test_regions_are_picked_by_mask_places_or_slice():
    mask = np.zeros((6, 9), bool)
    mask[0, 0] = mask[2, 2:4] = mask[5, 6:9] = True
    three = mask_to_regions(mask, pixel_scores=mask * 0.5)
    assert three.areas.tolist() == [1, 2, 3]
    for chosen, areas in (
        (three.areas > 1, [2, 3]),
        ([2, 0], [3, 1]),
        (np.array([-1]), [3]),
        (slice(1, None), [2, 3]),
        ([], []),
        (np.zeros(3, bool), []),
    ):
        some = three[chosen]
        assert some.areas.tolist() == areas
        assert len(some.masks) == len(some.scores) == len(some) == len(areas)
        assert some.image_hw == (6, 9)
    assert Regions(three.boxes_xyxy, None, three.labels, None, (6, 9))[[1]].masks is None
    assert len(three.above(0.5)) == 3
    assert len(three.above(0.51)) == 0
    assert repr(three) == "Regions(3 of a 9 x 6 image, with masks, scored)"


@pytest.mark.parametrize(
    ("chosen", "error"),
    [(0, TypeError), ([3], IndexError), ([True, False], IndexError), ([[0]], TypeError)],
)
def test_what_picks_no_region_is_refused(chosen, error):
    with pytest.raises(error):
        mask_to_regions(np.ones((2, 2)))[chosen]


def crack(gap):
    """A line of 60 pixels, in pieces of 10 with gaps between them."""
    mask = np.zeros((40, 100), bool)
    for start in range(20, 80, 10):
        mask[20:22, start : start + 10 - gap] = True
    return mask


@pytest.mark.parametrize(
    ("gap", "distance", "count"), [(3, 0, 6), (3, 2, 6), (3, 3, 1), (5, 4, 6), (5, 5, 1)]
)
def test_pieces_of_a_crack_are_one_region_from_their_gap_on(gap, distance, count):
    mask = crack(gap)
    regions = mask_to_regions(mask, merge_distance=distance)
    assert len(regions) == count
    assert regions.areas.sum() == mask.sum()
    if count == 1:
        assert regions.boxes_xyxy.tolist() == [[20, 20, 80 - gap, 22]]
        assert np.array_equal(decode_rle(regions.masks[0]).astype(bool), mask)


@settings(deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)))
def test_grouping_pieces_loses_no_pixel_and_makes_no_region_more(mask):
    counts = []
    for distance in (0, 1, 3, 8):
        regions = mask_to_regions(mask, merge_distance=distance)
        counts.append(len(regions))
        together = sum((decode_rle(m) for m in regions.masks), np.zeros(mask.shape, np.uint8))
        assert np.array_equal(together, mask)
    assert counts == sorted(counts, reverse=True)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (12, 15), elements={"min_value": 0, "max_value": 1}),
)
def test_hysteresis_keeps_what_reaches_the_higher_threshold(scores):
    low, high = scores >= 0.3, scores >= 0.8
    found = mask_to_regions(low, seeds=high, pixel_scores=scores)
    labels, _ = ndimage.label(low, np.ones((3, 3)))
    expected = np.isin(labels, np.unique(labels[high])) & low
    together = sum((decode_rle(m) for m in found.masks), np.zeros(low.shape, np.uint8))
    assert np.array_equal(together > 0, expected)
    assert all(score >= 0.8 for score in found.scores)
