"""Regions to be ignored: what lies on them is neither right nor wrong, in every figure."""

from dataclasses import replace

import numpy as np
import pytest

from annotations import Regions, encode_rle, mask_to_regions
from evaluation.coco_ap import region_precision
from evaluation.pixel_metrics import PixelCounts, pixel_metrics
from inference.matching import match_regions
from tests.drawn import memory_dataset


def square(y, x, size=3, hw=(8, 8)):
    mask = np.zeros(hw, bool)
    mask[y : y + size, x : x + size] = True
    return mask


def found(masks, scores, hw=(8, 8)):
    boxes = [mask_to_regions(m).boxes_xyxy[0] for m in masks]
    return Regions(
        np.array(boxes, np.float32).reshape(-1, 4),
        tuple(encode_rle(m) for m in masks),
        np.zeros(len(masks), np.int64),
        np.array(scores, np.float32),
        hw,
    )


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_a_region_on_a_crowd_is_no_false_alarm(tmp_path, kind):
    dataset = memory_dataset(tmp_path, lambda one: square(0, 0, hw=one.image_hw))
    ids = [i for i in dataset.split.test_ids if not i.startswith("scratch")]
    guess = {
        i: found([square(0, 0), square(5, 5)], [0.8, 0.9])
        if i.startswith("chip")
        else Regions.empty((8, 8), scored=True)
        for i in ids
    }
    weights = np.array([[1] * len(ids), [2, 0] * (len(ids) // 2)])
    plain = region_precision(dataset, ids, guess, kind=kind, weights=weights)
    crowd = {i: mask_to_regions(square(5, 5)) for i in ids if i.startswith("chip")}
    marked = replace(dataset, ignored=crowd)
    scored = region_precision(marked, ids, guess, kind=kind, weights=weights)
    assert plain.mean.value == pytest.approx(0.5, abs=0.01)
    assert scored.mean.value == pytest.approx(1.0)
    assert scored.values[0] == pytest.approx([1.0, 1.0])


def test_matching_and_pixels():
    truth, away = mask_to_regions(square(0, 0)), mask_to_regions(square(5, 5))
    guess = found([square(0, 0), square(5, 5), square(0, 5)], [0.9, 0.9, 0.9])
    assert match_regions(truth, guess).false_alarm.tolist() == [False, True, True]
    assert match_regions(truth, guess, away).false_alarm.tolist() == [False, False, True]
    scores = (square(0, 0) | square(5, 5)) * 0.9
    called = scores > 0.5
    for ignored, dice, ap in ((None, 2 * 9 / 27, 0.5), (square(5, 5), 1.0, 1.0)):
        counts = PixelCounts(0.0, 1.0)
        counts.add(scores, [square(0, 0)], called, ignored)
        got = pixel_metrics(counts)
        assert got["dice"].value == pytest.approx(dice)
        assert got["pixel_ap"].value == pytest.approx(ap)
        assert int(counts.background.sum()) == 64 - 9 - (9 if ignored is not None else 0)
