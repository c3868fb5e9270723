"""Photographs of one part are found by texture; parts that merely look alike are not."""

import re

import cv2
import numpy as np
import pytest

from annotations import write_png
from converters import groups, reshots
from converters.groups import compile_pattern, group_images
from converters.reshots import (
    MIN_IMAGES,
    correlated,
    correlations,
    find_reshots,
    without_what_is_common,
)
from converters.synthetic import draw_category
from tests.drawn import SMALL


def part(rng, base, *, grain=18.0):
    """A part that looks as all do, with a grain of its own: float (160, 200)."""
    own = cv2.GaussianBlur(rng.normal(0, 60, base.shape), (0, 0), 3)
    return base + own / own.std() * grain


def shot(rng, picture, *, gain=1.0, light=0.0, shift=(0, 0)):
    moved = np.roll(picture, shift, axis=(0, 1)) * gain + light
    noisy = np.clip(moved + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    return np.repeat(noisy[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """30 aligned parts that all look alike, two of them shot again."""
    folder = tmp_path_factory.mktemp("shots")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :200]
    base = 110 + 40 * np.sin(np.hypot(y - 80, x - 100) / 6)
    parts = [part(rng, base) for _ in range(30)]
    paths = []
    pictures = [shot(rng, p) for p in parts]
    pictures.append(shot(rng, parts[3], gain=0.6, light=40, shift=(2, -2)))
    pictures.append(shot(rng, parts[7], gain=1.2, light=-20))
    pictures.append(shot(rng, parts[7], shift=(-2, 1)))
    for number, picture in enumerate(pictures):
        paths.append(folder / f"{number:02d}.png")
        write_png(paths[-1], picture)
    return paths


def test_reshots_are_found_and_look_alikes_are_not(shots):
    seen = []
    found = find_reshots(shots, progress=lambda done, total: seen.append((done, total)))
    assert {(r.first, r.second) for r in found} == {(3, 30), (7, 31), (7, 32), (31, 32)}
    assert seen == [(n, 66) for n in range(1, 67)]


def test_many_images_are_compared_by_the_index_and_give_the_same(shots, monkeypatch):
    every = find_reshots(shots)
    monkeypatch.setattr(reshots, "ALL_PAIRS", len(shots) - 1)
    monkeypatch.setattr(reshots, "correlated", None)  # the other way is not taken
    seen = []
    found = find_reshots(shots, progress=lambda done, total: seen.append((done, total)))
    assert [(r.first, r.second) for r in found] == [(r.first, r.second) for r in every]
    assert [r.correlation for r in found] == pytest.approx([r.correlation for r in every], abs=1e-3)
    assert seen == [(n, 66) for n in range(1, 67)]
    few = shots[: MIN_IMAGES - 1]
    monkeypatch.setattr(reshots, "ALL_PAIRS", 0)
    assert find_reshots(few) == []


LAID = {
    "mirrored": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "turned by 90": np.rot90,
    "turned by 180": lambda a: a[::-1, ::-1],
    "turned by 270": lambda a: np.rot90(a, 3),
    "turned and mirrored": lambda a: np.rot90(a)[::-1],
    "transposed": lambda a: a.swapaxes(0, 1),
    "negative": lambda a: 255 - a,
    "crop by 10 %": lambda a: a[8:-8, 10:-10],
    "crop by 10 % at a corner": lambda a: a[16:, 20:],
    "crop by 20 %, resized": lambda a: cv2.resize(a[16:-16, 20:-20], (200, 160)),
}


@pytest.fixture(scope="module")
def textured():
    """40 parts that have nothing in common, each with structure of several sizes: (160, 200, 3)."""
    rng = np.random.default_rng(4)
    pictures = []
    for _ in range(40):
        coarse = [
            cv2.resize(rng.normal(0, 28, (160 // k, 200 // k)), (200, 160)) for k in (2, 6, 16)
        ]
        pictures.append(shot(rng, 120 + sum(coarse)))
    return pictures


@pytest.mark.parametrize("way", LAID)
def test_a_part_is_found_however_its_image_is_laid(textured, tmp_path, way):
    paths = []
    for number, picture in enumerate([*textured, *(LAID[way](p) for p in textured[:4])]):
        paths.append(tmp_path / f"{number:02d}.png")
        write_png(paths[-1], np.ascontiguousarray(picture))
    found = find_reshots(paths)
    assert [(r.first, r.second) for r in found] == [(n, 40 + n) for n in range(4)]


def test_smooth_parts_are_not_one_part_because_they_can_be_turned(tmp_path):
    source = draw_category(tmp_path, SMALL)
    paths = sorted(p for side in ("train", "test") for p in (source / side).rglob("*.png"))
    assert len(paths) == 22
    assert find_reshots(paths) == []


def test_what_is_not_looked_for_stands_beside_the_count(shots, monkeypatch):
    assert groups.not_looked_for(reshots.ALL_PAIRS) == ""
    assert "texture (4 pairs)" in group_images(rows(shots)).why
    monkeypatch.setattr(groups, "ALL_PAIRS", len(shots) - 1)
    assert (
        "texture (4 pairs; of more than 32 images mirrored, turned or cropped ones are not looked "
        "for)"
    ) in group_images(rows(shots)).why


def test_as_many_images_as_are_compared_unasked(shots, monkeypatch):
    assert groups.MOST_IMAGES == 100_000
    monkeypatch.setattr(groups, "MOST_IMAGES", len(shots))
    assert group_images(rows(shots)).reshots
    monkeypatch.setattr(groups, "MOST_IMAGES", len(shots) - 1)
    unasked = group_images(rows(shots))
    assert unasked.reshots is None
    assert "more than 32 images are compared with --find-groups only" in unasked.why
    assert group_images(rows(shots), find=True).reshots


def test_too_few_images_are_not_compared(shots):
    few = [shots[3], *shots[MIN_IMAGES - 18 :][-10:]]
    assert len(few) < MIN_IMAGES
    assert find_reshots(few) == []


def test_pictures_without_texture_are_not_one_part(tmp_path):
    paths = []
    for number in range(MIN_IMAGES):
        paths.append(tmp_path / f"{number}.png")
        write_png(paths[-1], np.full((32, 40, 3), 90 + 5 * number, np.uint8))
    assert find_reshots(paths) == []


@pytest.mark.parametrize("limit", [10, reshots.ALL_PAIRS])
@pytest.mark.parametrize("count", [3, 40])
def test_frames_of_one_color_are_in_no_pair(shots, tmp_path, monkeypatch, limit, count):
    """A camera that misfires takes black frames; some are as small as one pixel."""
    monkeypatch.setattr(reshots, "ALL_PAIRS", limit)
    frames = []
    for number in range(count):
        frames.append(tmp_path / f"{number}.png")
        size = (1, 1, 3) if number == 0 else (48, 40, 3)
        write_png(frames[-1], np.full(size, number, np.uint8))
    found = find_reshots([*shots, *frames])
    assert {(r.first, r.second) for r in found} == {(3, 30), (7, 31), (7, 32), (31, 32)}


def test_correlation_is_the_plain_one():
    rng = np.random.default_rng(1)
    textures = rng.normal(size=(5, 6, 8)).astype(np.float32)
    textures[4] = np.roll(textures[1], (2, 3), axis=(0, 1)) + rng.normal(0, 0.3, (6, 8))

    def slow(a, b):
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        shifts = [(i, j) for i in range(6) for j in range(8)]
        return max(float((a * np.roll(b, s, axis=(0, 1))).sum()) for s in shifts)

    scores = correlations(textures)
    got = {(i, j): scores[i, j] for i in range(5) for j in range(i + 1, 5)}
    expected = {(i, j): slow(textures[i], textures[j]) for i in range(5) for j in range(i + 1, 5)}
    assert got == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(scores, scores.T)
    for stands_out, expected_pairs in ((0.0, [(1, 4)]), (9.0, [])):
        found = correlated(textures, threshold=0.8, stands_out=stands_out)
        assert [(r.first, r.second) for r in found] == expected_pairs


def test_what_is_common_is_the_leading_directions():
    rng = np.random.default_rng(2)
    textures = rng.normal(size=(120, 4, 4)).astype(np.float32)
    textures += rng.normal(size=(120, 1, 1)).astype(np.float32) * 9
    got = without_what_is_common(textures).reshape(120, -1)
    flat = textures.reshape(120, -1) - textures.reshape(120, -1).mean(axis=0)
    _, _, axes = np.linalg.svd(flat, full_matrices=False)
    expected = flat - flat @ axes[:2].T @ axes[:2]
    assert got == pytest.approx(expected, abs=1e-4)


def rows(paths, digests=None):
    digests = digests or [f"{n:064x}" for n in range(len(paths))]
    return [(p.stem, p.name, p, d, None) for p, d in zip(paths, digests, strict=True)]


def test_groups_by_texture_bytes_and_pattern_meet(shots):
    digests = [f"{n:064x}" for n in range(len(shots))]
    digests[0] = digests[1]
    grouping = group_images(rows(shots, digests))
    assert grouping.shared == [["00", "01"], ["03", "30"], ["07", "31", "32"]]
    assert grouping.duplicates == (("00", "01"),)
    assert "texture (4 pairs)" in grouping.why
    named = group_images(rows(shots, digests), pattern=re.compile("^0[2-4]"))
    assert named.shared == [["00", "01"]]
    assert named.reshots is None
    assert named.unmatched == len(shots) - 3
    both = group_images(rows(shots, digests), pattern=compile_pattern("^3"), find=True)
    assert both.shared == [["00", "01"], ["03", "07", "30", "31", "32"]]
