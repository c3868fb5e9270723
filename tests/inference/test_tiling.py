"""Tiles cover an image, and what they find is put together as it was."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations import Regions, mask_to_regions
from inference.tiling import (
    MAX_TILES,
    OVERLAP,
    Extent,
    choose_tiles,
    crop_window,
    cut_tile,
    extents,
    join_tiles,
    long_side,
    merge_boxes,
    needed_side,
    tile_starts,
    tile_windows,
    tiled_hw,
)


@given(st.integers(1, 500), st.integers(4, 64))
def test_tiles_cover_every_pixel_and_overlap(length, side):
    starts = tile_starts(length, side)
    covered = np.zeros(max(length, side), bool)
    for start in starts:
        assert 0 <= start <= max(0, length - side)
        covered[start : start + side] = True
    assert covered.all()
    steps = np.diff(starts)
    # Rounding to whole pixels may take one away.
    assert (steps <= side * (1 - OVERLAP) + 1).all()


@pytest.mark.parametrize("tiles", range(1, MAX_TILES + 1))
def test_so_many_tiles_lie_along_the_longer_side(tiles):
    height, width = tiled_hw((900, 1200), tiles, 256)
    assert width == long_side(tiles, 256)
    assert height == round(width * 0.75)
    assert len(tile_starts(width, 256)) == tiles


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, (2, 23, 37), elements=st.floats(0, 1, width=32)), st.integers(5, 40))
def test_what_is_cut_and_joined_is_the_same(maps, side):
    windows = tile_windows((23, 37), side)
    tiles = []
    for y, x in windows:
        part = maps[:, y : y + side, x : x + side]
        pads = ((0, 0), (0, side - part.shape[1]), (0, side - part.shape[2]))
        tiles.append(np.pad(part, pads))
    assert np.allclose(join_tiles(tiles, windows, (23, 37)), maps, atol=1e-6)


def test_what_lies_beyond_the_image_is_mirrored_in_images_and_empty_in_masks():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    mirrored = cut_tile(image, (0, 0), 4, reflect=True)
    assert mirrored.tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]]
    assert cut_tile(image, (0, 0), 4, reflect=False)[2:].sum() == 0
    assert cut_tile(image[..., None], (1, 1), 1, reflect=True).tolist() == [[[4]]]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 29), st.integers(0, 49), st.integers(1, 60))
def test_a_crop_holds_the_defect(seed, row, column, side):
    mask = np.zeros((30, 50), np.uint8)
    mask[row, column] = 1
    y, x = crop_window(mask, side, np.random.default_rng(seed))
    assert mask[y : y + side, x : x + side].any()
    assert 0 <= y <= max(0, 30 - side)
    assert 0 <= x <= max(0, 50 - side)


def spots(side, count=8, long_side=1000):
    return [Extent(side, side, long_side)] * count


def test_auto_takes_as_few_tiles_as_small_defects_need():
    assert choose_tiles(spots(40.0), tile_side=256) == 1
    tiles = choose_tiles(spots(12.0), tile_side=256)
    assert 12 / 1000 * long_side(tiles, 256) >= 8 > 12 / 1000 * long_side(tiles - 1, 256)
    assert choose_tiles(spots(12.0), tile_side=256, asked=1) == 1
    assert choose_tiles([], tile_side=256) == 1
    # A small image is not enlarged.
    assert choose_tiles(spots(2.0, long_side=256), tile_side=256) == 1
    assert choose_tiles(spots(1.0, long_side=100_000), tile_side=64) == MAX_TILES


def test_thin_defects_need_more_than_their_area_says():
    crack = Extent(24.0, 3.0, 1240)
    assert needed_side([crack] * 4) == 1240
    assert choose_tiles([crack] * 4, tile_side=320) == 4
    assert choose_tiles([Extent(24.0, 24.0, 1240)] * 4, tile_side=320) == 2
    # One thin defect of four may be lost.
    thick = Extent(40.0, 40.0, 1240)
    assert needed_side([crack, thick, thick, thick]) < 600
    assert needed_side([]) is None


def test_extents_measure_width_by_the_distance_to_the_background():
    mask = np.zeros((60, 300), np.uint8)
    mask[30:33, 20:220] = 1
    mask[5:14, 250:259] = 1
    found = sorted(extents(mask_to_regions(mask, label=0)), key=lambda one: one.width)
    assert [one.width for one in found] == [3.0, 9.0]
    assert [one.side for one in found] == pytest.approx([600**0.5, 9.0])
    assert {one.long_side for one in found} == {300}
    boxes = replace(mask_to_regions(mask, label=0), masks=None)
    assert sorted(one.width for one in extents(boxes)) == [3.0, 9.0]
    diagonal = np.eye(50, dtype=np.uint8)
    assert [one.width for one in extents(mask_to_regions(diagonal, label=0))] == [1.0]


def scored(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Regions:
    return Regions(
        np.array(boxes, np.float32).reshape(-1, 4),
        None,
        np.array(labels, np.int64),
        np.array(scores, np.float32),
        (100, 100),
    )


def test_a_defect_on_the_border_of_two_tiles_is_one():
    found = scored(
        [[10, 10, 30, 20], [20, 10, 40, 20], [60, 60, 70, 70], [61, 61, 69, 69], [60, 60, 70, 70]],
        [0, 0, 1, 1, 0],
        [0.6, 0.9, 0.5, 0.7, 0.2],
    )
    merged = merge_boxes(found, same=0.5)
    assert merged.boxes_xyxy.tolist() == [[10, 10, 40, 20], [60, 60, 70, 70], [60, 60, 70, 70]]
    assert merged.labels.tolist() == [0, 1, 0]
    assert merged.scores is not None
    assert merged.scores.tolist() == pytest.approx([0.9, 0.7, 0.2])
    apart = merge_boxes(scored([[0, 0, 9, 9], [8, 0, 20, 9]], [0, 0], [0.5, 0.4]))
    assert len(apart) == 2
    assert len(merge_boxes(scored([], [], []))) == 0
    with pytest.raises(ValueError, match="scores"):
        merge_boxes(Regions.empty((4, 4)))
