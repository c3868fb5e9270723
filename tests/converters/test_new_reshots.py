"""New images against known ones: the same pairs as the whole search, for less."""

import hashlib
from unittest.mock import patch

import numpy as np
import pytest

from annotations import write_png
from converters import new_reshots, reshots, texture_index
from converters.new_reshots import KnownTextures, find_new_reshots, layers_of
from converters.reshots import find_reshots
from converters.synthetic import SyntheticConfig, draw_category


@pytest.fixture
def photographs(tmp_path):
    """60 grainy parts; 57 to 59 show parts 3, 4 (mirrored) and 56 again."""
    rng = np.random.default_rng(0)
    paths = []
    parts = rng.integers(0, 255, (60, 96, 96), np.uint8)
    parts[57] = np.clip(np.roll(parts[3], (2, 1), (0, 1)).astype(int) + 5, 0, 255)
    parts[58] = parts[4][:, ::-1]
    parts[59] = np.roll(parts[56], 3, 0)
    for number, gray in enumerate(parts):
        paths.append(tmp_path / f"{number:03d}.png")
        write_png(paths[-1], np.repeat(gray[:, :, None], 3, axis=2))
    return paths, [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_new_images_are_found_as_the_whole_search_finds_them(photographs, tmp_path):
    paths, digests = photographs
    new = np.zeros(60, bool)
    new[55:] = True
    whole = {
        (r.first, r.second): r.correlation
        for r in find_reshots(paths)
        if new[r.first] or new[r.second]
    }
    assert set(whole) == {(3, 57), (4, 58), (56, 59)}
    known = KnownTextures.open(tmp_path / "textures.bin", layers_of(60))
    found = {(r.first, r.second): r.correlation
             for r in find_new_reshots(paths, digests, new, known)}  # fmt: skip
    assert set(found) == set(whole)
    for pair, correlation in whole.items():
        assert found[pair] == pytest.approx(correlation, abs=1e-6)
    # Kept, no image is read again, and the answer is the same to the last bit.
    known.save(digests)
    again = KnownTextures.open(tmp_path / "textures.bin", layers_of(60))
    with patch.object(new_reshots, "textures_of", side_effect=AssertionError):
        second = find_new_reshots(paths, digests, new, again)
    assert {(r.first, r.second): r.correlation for r in second} == found


def test_many_images_are_compared_by_candidates(photographs, tmp_path):
    paths, digests = photographs
    new = np.zeros(60, bool)
    new[57:] = True
    with patch.object(new_reshots, "ALL_PAIRS", 30), patch.object(reshots, "ALL_PAIRS", 30):
        known = KnownTextures.open(tmp_path / "textures.bin", layers_of(60))
        assert known.layers == 1
        found = find_new_reshots(paths, digests, new, known)
    # The mirrored one is looked for among few images only.
    assert {(r.first, r.second) for r in found} == {(3, 57), (56, 59)}


def test_smooth_parts_that_agree_by_chance_are_joined_as_a_conversion_joins_them(
    tmp_path, monkeypatch
):
    """With too few candidates, an image may be named by one that it does not name itself."""
    for module in (new_reshots, reshots):
        monkeypatch.setattr(module, "ALL_PAIRS", 30)
    monkeypatch.setattr(texture_index, "CANDIDATES", 3)
    config = SyntheticConfig(
        n_train_good=60, n_test_good=60, n_per_type=20, image_hw=(48, 48), seed=1
    )
    drawn = draw_category(tmp_path / "drawn", config)
    paths = sorted(p for p in drawn.rglob("*.png") if "ground_truth" not in p.parts)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    every = {(r.first, r.second): r.correlation for r in find_reshots(paths)}
    rng = np.random.default_rng(0)
    known = KnownTextures.open(tmp_path / "textures.bin", layers_of(len(paths)))
    n_found = 0
    for _ in range(4):
        new = rng.random(len(paths)) < 0.2
        found = {
            (r.first, r.second): r.correlation for r in find_new_reshots(paths, digests, new, known)
        }
        wanted = {pair: value for pair, value in every.items() if new[list(pair)].any()}
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, abs=1e-6)
        n_found += len(found)
    assert n_found > 0


def test_a_damaged_file_is_made_again(tmp_path, photographs):
    paths, digests = photographs
    path = tmp_path / "textures.bin"
    path.write_bytes(b"short")
    known = KnownTextures.open(path, 3)
    assert known.of == {}
    known.get(digests[0], paths[0])
    known.save(digests)
    assert list(KnownTextures.open(path, 3).of) == [digests[0]]
    # Of another number of textures an image: none is taken for one.
    assert KnownTextures.open(path, 1).of == {}
    known.get(digests[1], paths[1])
    known.save(digests)
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    assert list(KnownTextures.open(path, 3).of) == [digests[1]]
