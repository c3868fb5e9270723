"""The index names the pairs that comparing every two images names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import texture_index
from converters.reshots import correlated, without_what_is_common
from converters.texture_index import TextureIndex, _not_yet_compared

LIMITS = {"threshold": 0.7, "stands_out": 0.6}


def drawn(rng, n, planted, *, side=24):
    """Textures with something in common, float32 (n, side, side), and the pairs planted."""
    textures = rng.normal(size=(n, side, side)).astype(np.float32)
    places = rng.permutation(n)
    pairs = set()
    for first, second in places[: 2 * planted].reshape(-1, 2):
        moved = np.roll(textures[first], rng.integers(-5, 6, 2), axis=(0, 1))
        textures[second] = moved * rng.uniform(0.7, 1.3) + rng.normal(0, 0.4, (side, side))
        pairs.add((int(min(first, second)), int(max(first, second))))
    common = rng.normal(size=(side, side)) * rng.uniform(1, 1.5, (n, 1, 1))
    return textures + common.astype(np.float32), pairs


def indexed(textures, **options):
    index = TextureIndex(len(textures), textures.shape[1:])
    for number, texture in enumerate(textures):
        index.put(number, texture)
    found = index.pairs(**LIMITS, **options)
    pairs = zip(found.first.tolist(), found.second.tolist(), strict=True)
    return dict(zip(pairs, found.correlation.tolist(), strict=True))


@pytest.mark.parametrize("n", [24, 129, 390])
def test_the_index_finds_what_comparing_every_pair_finds(n):
    textures, planted = drawn(np.random.default_rng(n), n, n // 12)
    every = correlated(without_what_is_common(textures), **LIMITS)
    found = indexed(textures)
    assert list(found) == [(r.first, r.second) for r in every]
    assert list(found.values()) == pytest.approx([r.correlation for r in every], abs=2e-3)
    assert set(found) == planted


def test_few_candidates_suffice_and_the_order_of_images_does_not_count():
    rng = np.random.default_rng(5)
    textures, planted = drawn(rng, 700, 30)
    found = indexed(textures, candidates=4)
    assert set(found) == planted
    order = rng.permutation(len(textures))
    turned = indexed(textures[order], candidates=4)
    back = {tuple(sorted((int(order[a]), int(order[b])))): v for (a, b), v in turned.items()}
    assert back == pytest.approx(found, abs=2e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.floats(0.02, 0.6))
@settings(max_examples=25, deadline=None)
def test_pairs_of_new_images_are_those_of_the_whole_search(seed, candidates, share):
    """Families of shots, larger than an image has candidates: who names whom counts."""
    rng = np.random.default_rng(seed)
    textures, _ = drawn(rng, 140, 0, side=16)
    for start in range(0, 60, 6):
        family = textures[start] + rng.normal(0, 0.4, (6, 16, 16))
        textures[start : start + 6] = family
    textures = textures[rng.permutation(140)]
    new = rng.random(140) < share
    every = indexed(textures, candidates=candidates)
    wanted = {pair: value for pair, value in every.items() if new[list(pair)].any()}
    found = indexed(textures, candidates=candidates, new=new)
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, abs=1e-6)


def test_textures_smaller_than_there_are_components():
    textures = np.random.default_rng(4).normal(size=(300, 8, 8)).astype(np.float32)
    textures[299] = np.roll(textures[5], 2, axis=1)
    assert (5, 299) in indexed(textures)


def test_three_shots_of_one_part_are_three_pairs():
    textures = np.random.default_rng(6).normal(size=(60, 24, 24)).astype(np.float32)
    textures[50] = np.roll(textures[10], 3, axis=1)
    textures[20] = np.roll(textures[10], -2, axis=0)
    assert set(indexed(textures)) == {(10, 20), (10, 50), (20, 50)}


def test_pictures_without_texture_are_in_no_pair():
    assert indexed(np.zeros((30, 8, 8), np.float32)) == {}
    assert indexed(np.ones((30, 8, 8), np.float32)) == {}
    textures, planted = drawn(np.random.default_rng(7), 130, 5)
    textures -= textures.mean(axis=0)
    apart = sorted(set(range(130)) - {number for pair in planted for number in pair})
    faint = np.array(apart[:12])
    textures[faint] = textures[faint[0]] * 1e-3
    found = indexed(textures)
    assert found
    assert not {number for pair in found for number in pair} & set(faint.tolist())


def test_many_copies_of_one_image_hide_no_pair():
    textures, planted = drawn(np.random.default_rng(9), 480, 10)
    apart = sorted(set(range(480)) - {number for pair in planted for number in pair})
    copies = apart[:20]
    textures[copies] = textures[copies[0]]
    found = set(indexed(textures))
    assert {pair for pair in found if not set(pair) & set(copies)} == planted
    assert {pair for pair in found if set(pair) & set(copies)} <= {
        (a, b) for a in copies for b in copies
    }


def test_an_index_is_compared_once():
    index = TextureIndex(3, (4, 4))
    index.pairs(**LIMITS)
    with pytest.raises(RuntimeError, match="already"):
        index.pairs(**LIMITS)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_every_candidate_is_compared_once(n, count, block, seed):
    rng = np.random.default_rng(seed)
    count = min(count, n - 1)
    picks = [rng.permutation(np.delete(np.arange(n), i))[:count] for i in range(n)]
    near = np.full((n, count), -1, np.int32)
    compared = []
    for start in range(0, n, block):
        stop = min(start + block, n)
        near[start:stop] = picks[start:stop]
        first, second = _not_yet_compared(near, np.arange(start, stop))
        compared += [tuple(sorted(p)) for p in zip(first.tolist(), second.tolist(), strict=True)]
    assert sorted(compared) == sorted(
        {tuple(sorted((i, int(j)))) for i in range(n) for j in picks[i]}
    )


def test_blocks_and_chunks_do_not_count(monkeypatch):
    textures, _ = drawn(np.random.default_rng(8), 90, 8)
    whole = indexed(textures)
    monkeypatch.setattr(texture_index, "_BLOCK", 17)
    monkeypatch.setattr(texture_index, "_CHUNK", 23)
    assert whole
    assert indexed(textures) == pytest.approx(whole, abs=1e-3)
