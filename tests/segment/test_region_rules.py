"""Choosing what makes one region of several pieces."""

from types import SimpleNamespace

import numpy as np
import pytest

from annotations import load_dataset
from inference.masks import Look, SegmentPredictor
from segment.thresholds import _choose_regions
from tests.drawn import drawn_dataset


class Nothing(SegmentPredictor):
    """Answers with what it is given."""

    def look(self, image_rgb):
        raise NotImplementedError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def chosen(dataset, change):
    samples = [sample for sample in dataset.samples if sample.is_defective]
    looks = []
    for sample in samples:
        truth = dataset.truths[sample.image_id].class_index_mask()
        scores = change(np.where(truth > 0, 0.9, 0.1).astype(np.float32))
        maps = np.zeros((1 + len(dataset.class_names), *truth.shape), np.float32)
        maps[0], maps[1] = 1 - scores, scores
        looks.append(Look(maps, 0.9))
    predictor = Nothing(
        None, image_size=32, views=1, tiles=1, region_threshold=0.5, min_area_fraction=0.0
    )
    _choose_regions(SimpleNamespace(dataset=dataset, fold=0), predictor, samples, looks)
    return predictor


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
