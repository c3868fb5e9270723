"""A classifier's training says loudly where resizing makes defects vanish."""

from types import SimpleNamespace

import numpy as np
from scipy import ndimage

from annotations import load_dataset, mask_to_regions
from annotations.regions import decode_rle
from classify.train import VANISHING_PIXELS, vanishing_defects
from tests.drawn import drawn_dataset


def test_the_warning_names_how_many_and_a_size_that_keeps_them(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    train = dataset.split.folds[0].train
    seen = {
        i: [decode_rle(mask) for mask in dataset.truths[i].masks]
        for i in train
        if len(dataset.truths[i])
    }

    def is_lost(masks, side):
        return not any(
            mask.sum() * side**2 / 64**2 >= VANISHING_PIXELS
            and (2 * ndimage.distance_transform_edt(np.pad(mask, 1)).max() - 1) * side / 64 >= 1
            for mask in masks
        )

    for side in (4, 8, 16, 32, 64):
        lost = sum(is_lost(masks, side) for masks in seen.values())
        said = vanishing_defects(dataset, train, side)
        assert (f"WARNING: in {lost} of {len(seen)} training images" in said) == (lost > 0)
    said = vanishing_defects(dataset, train, 4)
    enough = int(said.partition("--image-size ")[2].split()[0])
    assert vanishing_defects(dataset, train, enough) == ""
    assert vanishing_defects(dataset, train, enough - 1) != ""


def test_only_training_images_are_looked_at(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    good = [s.image_id for s in dataset.samples if not s.is_defective]
    assert vanishing_defects(dataset, good, 1) == ""
    assert vanishing_defects(dataset, [], 1) == ""


def test_a_thin_crack_vanishes_though_it_is_long():
    mask = np.zeros((500, 1000), bool)
    mask[200:203, 100:900] = True
    sample = SimpleNamespace(image_id="crack/0", image_hw=mask.shape)
    dataset = SimpleNamespace(
        truths={"crack/0": mask_to_regions(mask, label=0)}, select=lambda _ids: [sample]
    )
    assert "--image-size 334 for all" in vanishing_defects(dataset, ["crack/0"], 224)
    assert vanishing_defects(dataset, ["crack/0"], 334) == ""
