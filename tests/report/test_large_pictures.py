"""Maps and overlays of large pictures are made in strips: the same pixels, in little memory."""

import tracemalloc

import numpy as np
import pytest

from annotations import prediction_files
from annotations.prediction_files import MAP_LEVELS, map_levels, strips
from report import draw_overlay
from report.overlay import blend_heat_map, heat_rgb

HW = (2000, 3000)


@pytest.mark.parametrize("hw", [(1, 1), (7, 5), (5, 40), (0, 3), (3, 0)])
def test_strips_hold_every_row_once(monkeypatch, hw):
    monkeypatch.setattr(prediction_files, "_STRIP_PIXELS", 10)
    rows = [row for part in strips(*hw) for row in range(part.start, part.stop)]
    assert rows == list(range(hw[0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ends", [(0.1, 0.9), (-3.0, 7.5), (2.0, 2.0)])
def test_strips_change_no_pixel(monkeypatch, dtype, ends):
    """One strip is the whole picture: many must give the same."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 23, 3), np.uint8)
    scores = rng.uniform(*ends, (37, 23)).astype(dtype)
    levels, span = map_levels(scores)
    blended = blend_heat_map(image, scores, (0.2, 5.0))
    monkeypatch.setattr(prediction_files, "_STRIP_PIXELS", 50)
    assert np.array_equal(map_levels(scores)[0], levels)
    assert map_levels(scores)[1] == span
    assert np.array_equal(blend_heat_map(image, scores, (0.2, 5.0)), blended)
    # By the formula itself, on the whole picture.
    low, high = span
    whole = np.rint((scores.astype(np.float64) - low) / ((high - low) or 1.0) * MAP_LEVELS)
    assert np.array_equal(levels, whole.astype(np.uint16))
    scaled = np.asarray(np.clip((scores - 0.2) / 4.8, 0, 1), np.float32)
    weight = (np.float32(0.75) * np.sqrt(scaled))[..., None]
    mixed = image * (1 - weight) + heat_rgb(scores, (0.2, 5.0)) * weight
    assert np.abs(blended - np.rint(mixed)).max() <= 1


def peak_bytes_a_pixel(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / (HW[0] * HW[1])
    finally:
        tracemalloc.stop()


def test_a_large_picture_takes_few_bytes_a_pixel():
    """Whole, in floating point, they took 22 and 36."""
    image = np.zeros((*HW, 3), np.uint8)
    scores = np.linspace(0, 3, HW[0] * HW[1], dtype=np.float32).reshape(HW)

    def draw():
        draw_overlay(image, pixel_scores=scores, score_range=(0.0, 3.0), image_score=0.9)

    assert peak_bytes_a_pixel(lambda: map_levels(scores)) < 10
    assert peak_bytes_a_pixel(draw) < 18
