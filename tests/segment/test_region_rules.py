"""Choosing what makes one region of several pieces."""

import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from annotations import Sample, load_dataset, mask_to_regions
from inference.masks import Look, SegmentPredictor
from segment.thresholds import (
    _choose_grouping,
    _choose_pixel_threshold,
    pixels_by_score,
    smooth_dice,
)
from tests.drawn import drawn_dataset


class Nothing(SegmentPredictor):
    """Answers with what it is given."""

    def look(self, image_rgb):
        raise NotImplementedError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def nothing():
    return Nothing(
        None, image_size=32, views=1, tiles=1, region_threshold=0.5, min_area_fraction=0.0
    )


def grouped(dataset, samples, looks):
    """A predictor that was given the grouping of pieces."""
    predictor = nothing()
    shown = list(zip(samples, looks, strict=True))
    job = SimpleNamespace(dataset=dataset, fold=0)
    dice = smooth_dice(*pixels_by_score(job, samples, looks))
    _choose_grouping(job, predictor, shown, dice)
    return predictor


def chosen(dataset, change):
    samples = [sample for sample in dataset.samples if sample.is_defective]
    looks = []
    for sample in samples:
        truth = dataset.truths[sample.image_id].class_index_mask()
        scores = change(np.where(truth > 0, 0.9, 0.1).astype(np.float32))
        maps = np.zeros((1 + len(dataset.class_names), *truth.shape), np.float32)
        maps[0], maps[1] = 1 - scores, scores
        looks.append(Look(maps, 0.9))
    return grouped(dataset, samples, looks)


def dips_to(level):
    def change(scores):
        scores = scores.copy()
        # Cut into strips, two pixels apart.
        scores[:, ::8] = np.minimum(scores[:, ::8], level)
        scores[:, 1::8] = np.minimum(scores[:, 1::8], level)
        scores[::8] = np.minimum(scores[::8], level)
        scores[1::8] = np.minimum(scores[1::8], level)
        return scores

    return change


def test_whole_defects_are_left_as_they_are(dataset):
    predictor = chosen(dataset, lambda scores: scores)
    assert (predictor.low_fraction, predictor.merge_fraction) == (1.0, 0.0)


def test_dips_are_taken_in_and_gaps_are_closed(dataset):
    assert chosen(dataset, dips_to(0.4)).low_fraction == 0.5
    torn = chosen(dataset, dips_to(0.0))
    assert torn.low_fraction == 1.0
    assert torn.merge_fraction > 0


def dice_of(maps, truths, cut):
    hits = sum(int(((one >= cut) & truth).sum()) for one, truth in zip(maps, truths, strict=True))
    sizes = sum(
        int((one >= cut).sum() + truth.sum()) for one, truth in zip(maps, truths, strict=True)
    )
    return 2 * hits / sizes


@pytest.mark.parametrize("seed", range(6))
def test_thin_cracks_keep_their_pixels(seed, tmp_path):
    """A crack's score falls off beside it and along it; few of them choose the threshold."""
    rng = np.random.default_rng(seed)
    peak = rng.uniform(0.6, 0.97)
    samples, looks, truths, maps = [], [], {}, []
    for number in range(6):
        mask = np.zeros((64, 160), np.uint8)
        ends = rng.integers((10, 10), (150, 54), (4, 2))
        for start, end in itertools.pairwise(ends):
            cv2.line(mask, start.tolist(), end.tolist(), 1, 2)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
        along = cv2.GaussianBlur(rng.uniform(0.5, 1.5, mask.shape).astype(np.float32), (0, 0), 4)
        one = np.clip(soft * along * peak + rng.uniform(0, 0.05, mask.shape), 0, 1)
        maps.append(one.astype(np.float32))
        looks.append(Look(np.stack([1 - maps[-1], maps[-1]]), 0.9))
        name = f"crack/{number}"
        samples.append(
            Sample(name, tmp_path / name, None, "crack", mask.shape, "0" * 64, name, "test")
        )
        truths[name] = mask_to_regions(mask > 0, label=0)
    dataset = SimpleNamespace(
        class_names=("crack",), truths=truths, strengths=dict.fromkeys(truths, "masks")
    )
    job = SimpleNamespace(dataset=dataset, fold=0)
    predictor = nothing()
    dice = smooth_dice(*pixels_by_score(job, samples, looks))
    _choose_pixel_threshold(job, predictor, list(zip(samples, looks, strict=True)), dice)
    masks = [truths[s.image_id].union_mask() for s in samples]
    best = max(dice_of(maps, masks, cut) for cut in np.linspace(0.02, 0.98, 97))
    assert dice_of(maps, masks, predictor.region_threshold) >= best - 0.05


def with_specks(side, tmp_path, *, specks):
    """Six images with one square defect of a side, found whole, and false specks of 3 by 3."""
    samples, looks, truths = [], [], {}
    for number in range(6):
        mask = np.zeros((100, 100), np.uint8)
        mask[20 : 20 + side, 20 : 20 + side] = 1
        scores = np.where(mask > 0, 0.9, 0.1).astype(np.float32)
        for speck in range(specks):
            scores[70:73, 10 * speck + 5 : 10 * speck + 8] = 0.9
        looks.append(Look(np.stack([1 - scores, scores]), 0.9))
        name = f"dent/{number}"
        samples.append(
            Sample(name, tmp_path / name, None, "dent", mask.shape, "0" * 64, name, "test")
        )
        truths[name] = mask_to_regions(mask > 0, label=0)
    split = SimpleNamespace(folds=[SimpleNamespace(train=tuple(truths))])
    dataset = SimpleNamespace(
        class_names=("dent",),
        truths=truths,
        strengths=dict.fromkeys(truths, "masks"),
        split=split,
        select=lambda _ids: samples,
    )
    return grouped(dataset, samples, looks)


def test_specks_smaller_than_any_defect_are_left_out(tmp_path):
    assert with_specks(10, tmp_path, specks=3).min_area_fraction == 1e-3
    assert with_specks(10, tmp_path, specks=0).min_area_fraction == 0


def test_no_area_leaves_out_what_defects_are_found_by(tmp_path):
    # Thirty in a hundred of 5 × 5 pixels are 7, and specks of 9 can only go with an area above.
    assert with_specks(5, tmp_path, specks=3).min_area_fraction <= 0.3 * 25 / 1e4


def test_no_halo_is_taken_in_for_a_few_regions_more(dataset):
    """Dips in a few defects, and a wide halo around all of them at the same score."""

    def change(scores):
        halo = cv2.dilate((scores > 0.5).astype(np.uint8), np.ones((15, 15), np.uint8))
        return np.where(halo > 0, np.maximum(dips_to(0.4)(scores), 0.4), scores)

    assert chosen(dataset, change).low_fraction == 1.0
