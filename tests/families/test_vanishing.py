"""A classifier's training says loudly where resizing makes defects vanish."""

from annotations import load_dataset
from annotations.regions import rle_area
from classify.train import VANISHING_PIXELS, vanishing_defects
from tests.drawn import drawn_dataset


def test_the_warning_names_how_many_and_a_size_that_keeps_them(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    train = dataset.split.folds[0].train
    largest = {
        i: max(rle_area(m) for m in dataset.truths[i].masks)
        for i in train
        if len(dataset.truths[i])
    }
    assert vanishing_defects(dataset, train, 64) == "" or min(largest.values()) < 4
    for side in (4, 8, 16, 32):
        lost = sum(a * side**2 / 64**2 < VANISHING_PIXELS for a in largest.values())
        said = vanishing_defects(dataset, train, side)
        assert (f"WARNING: in {lost} of {len(largest)} training images" in said) == (lost > 0)
    said = vanishing_defects(dataset, train, 4)
    enough = int(said.partition("--image-size ")[2].split()[0])
    assert vanishing_defects(dataset, train, enough) == ""
    assert vanishing_defects(dataset, train, enough - 1) != ""


def test_only_training_images_are_looked_at(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    good = [s.image_id for s in dataset.samples if not s.is_defective]
    assert vanishing_defects(dataset, good, 1) == ""
    assert vanishing_defects(dataset, [], 1) == ""
