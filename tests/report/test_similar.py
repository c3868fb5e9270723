"""Descriptors of how images look, their neighbors, and the map of all images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report import similar
from report.similar import balanced, describe, neighbors, positions


def flat(*color):
    return np.full((40, 50, 3), color, np.uint8)


def test_images_alike_in_color_are_neighbors_and_those_of_the_same_part_are_none():
    images = [flat(200, 30, 30), flat(30, 30, 200), flat(205, 32, 30), flat(33, 30, 205)]
    rows = balanced([describe(image) for image in images])
    whole = neighbors(rows, list("abcd"), [True] * 4)
    assert [line[0] for line in whole] == [2, 3, 0, 1]
    assert [len(line) for line in whole] == [3, 3, 3, 3]
    others = neighbors(rows, list("abab"), [True] * 4)
    assert [sorted(line) for line in others] == [[1, 3], [0, 2], [1, 3], [0, 2]]
    assert neighbors(rows, list("aaaa"), [True] * 4) == [[], [], [], []]


def test_the_place_of_a_score_map_tells_images_apart():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    maps = np.zeros((4, 32, 32), np.float32)
    maps[0, :8, :8] = maps[2, :9, :9] = maps[1, 20:, 20:] = maps[3, 21:, 21:] = 1
    rows = balanced([describe(image, [one]) for one in maps])
    assert [line[0] for line in neighbors(rows, list("abcd"), [True] * 4)] == [2, 3, 0, 1]


def test_an_image_that_cannot_be_read_has_no_neighbor_and_no_place():
    rows = balanced([describe(flat(9, 9, 9)), None, describe(flat(90, 9, 9))])
    known = [True, False, True]
    assert neighbors(rows, list("abc"), known) == [[2], [], [0]]
    places = positions(rows, known)
    assert places[1] is None
    assert sorted([places[0][0], places[2][0]]) == [0.0, 1.0]
    assert positions(balanced([None]), [False]) == [None]
    assert neighbors(balanced([]), [], []) == []
    assert positions(balanced([describe(flat(1, 2, 3))]), [True]) == [[0.5, 0.5]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9))
def test_neighbors_are_those_of_all_distances_for_any_size_of_block(seed, n, block):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 6)).astype(np.float32)
    parts = [str(part) for part in rng.integers(0, max(1, n // 2), n)]
    known = (rng.random(n) < 0.8).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar, "_ROWS", block)
        found = neighbors(rows, parts, known)
    far = np.linalg.norm(rows[:, None].astype(np.float64) - rows[None], axis=2)
    for i, line in enumerate(found):
        allowed = [j for j in range(n) if parts[j] != parts[i] and known[i] and known[j]]
        assert set(line) <= set(allowed)
        nearest = sorted(far[i, allowed])[:5]
        assert far[i, line].tolist() == pytest.approx(nearest, abs=1e-4)
    assert [place is not None for place in positions(rows, known)] == known
