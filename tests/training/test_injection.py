"""Defect injection: exact masks, at home on the part, and from the training side alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import load_dataset
from annotations.regions import decode_rle
from tests.drawn import drawn_dataset
from training.contact_sheet import load_labeled, make_injector, write_contact_sheet
from training.drawn_defects import draw_defect
from training.geometry import estimate_geometry
from training.injection import DefectInjector, LabeledImage

SIDE = 96


def ring(seed: int, *, shift: int = 0) -> LabeledImage:
    """A round part on a white backdrop: alike at every angle."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), 250, np.uint8)
    cv2.circle(image, (SIDE // 2 + shift, SIDE // 2), 36, (60, 60, 70), -1)
    cv2.circle(image, (SIDE // 2 + shift, SIDE // 2), 20, (110, 100, 90), -1)
    noisy = image.astype(np.int16) + rng.integers(-3, 4, image.shape)
    return LabeledImage(
        f"good/{seed}", np.clip(noisy, 0, 255).astype(np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    )


def marked(label: int, *, color: int = 230) -> LabeledImage:
    """The same part with a square defect on its rim."""
    base = ring(100 + label)
    image, mask = base.image_rgb.copy(), base.class_mask.copy()
    image[44:54, 70:80] = color
    mask[44:54, 70:80] = label + 1
    return LabeledImage(f"type{label}/0", image, mask)


def injector(*, cut_outs: bool = True) -> DefectInjector:
    defective = [marked(0), marked(1)] if cut_outs else []
    return DefectInjector(defective, [ring(n) for n in range(5)], n_classes=2)


def test_the_same_state_makes_the_same_image_and_another_one_another():
    first = injector().make(np.random.default_rng(3))
    again = injector().make(np.random.default_rng(3))
    other = injector().make(np.random.default_rng(4))
    assert np.array_equal(first.image_rgb, again.image_rgb)
    assert np.array_equal(first.class_mask, again.class_mask)
    assert first.parents == again.parents
    assert not np.array_equal(first.image_rgb, other.image_rgb)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_only_the_surroundings_of_the_mask_change(seed, cut_outs):
    source = injector(cut_outs=cut_outs)
    made = source.make(np.random.default_rng(seed))
    base = next(g for g in (ring(n) for n in range(5)) if g.image_id == made.parents[0])
    near = cv2.dilate((made.class_mask > 0).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert np.array_equal(made.image_rgb[~near], base.image_rgb[~near])
    assert made.class_mask.max() <= 2
    assert set(made.parents) <= source.parents


def test_defects_stay_on_the_rim_of_a_round_part():
    source = injector()
    assert source.geometry.rotational
    center = (SIDE - 1) / 2
    angles = []
    for seed in range(30):
        made = source.make(np.random.default_rng(seed))
        for rle in made.regions().masks or ():
            rows, columns = np.nonzero(decode_rle(rle))
            dy, dx = rows.mean() - center, columns.mean() - center
            assert 20 <= np.hypot(dy, dx) <= 36
            angles.append(np.arctan2(dy, dx))
    assert np.ptp(angles) > np.pi


def test_boxes_follow_from_the_mask():
    made = injector().make(np.random.default_rng(1))
    regions = made.regions()
    assert len(regions)
    assert np.array_equal(regions.class_index_mask(), made.class_mask)


def test_rare_types_are_as_frequent_as_common_ones():
    source = DefectInjector(
        [marked(0) for _ in range(9)] + [marked(1)],
        [ring(n) for n in range(3)],
        n_classes=2,
        max_defects=1,
    )
    rng = np.random.default_rng(0)
    labels = [int(label) for _ in range(80) for label in source.make(rng).regions().labels]
    assert 25 <= labels.count(1) <= 55


def test_without_anything_to_cut_out_defects_are_drawn():
    source = DefectInjector([], [ring(0), ring(1)], n_classes=1)
    made = [source.make(np.random.default_rng(n)) for n in range(10)]
    assert all(one.class_mask.any() for one in made)
    assert all(len(one.parents) == 1 for one in made)
    with pytest.raises(ValueError, match="good image"):
        DefectInjector([marked(0)], [], n_classes=1)


def test_geometry_of_parts_that_lie_still_and_of_those_that_do_not():
    round_part = estimate_geometry([ring(n).image_rgb for n in range(4)])
    assert round_part.aligned
    assert round_part.rotational
    assert round_part.mirrored
    assert round_part.foreground is not None
    assert 0.3 < round_part.foreground.mean() < 0.8
    on_part = round_part.foreground_of(ring(0).image_rgb)
    assert on_part.shape == (SIDE, SIDE)
    assert on_part[SIDE // 2, SIDE // 2]
    assert not on_part[2, 2]
    rng = np.random.default_rng(0)
    textures = [rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(4)]
    surface = estimate_geometry(textures)
    assert not surface.aligned
    assert surface.foreground_of(textures[0]).all()
    bar = np.full((SIDE, SIDE, 3), 250, np.uint8)
    bar[40:56, 5:60] = 40
    lying = estimate_geometry([bar, bar, bar])
    assert lying.aligned
    assert not lying.rotational
    assert not lying.mirrored
    assert not estimate_geometry([bar]).aligned


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_drawn_defect_stays_where_it_is_allowed(seed):
    allowed = np.zeros((40, 60), bool)
    allowed[10:30, 20:50] = True
    image = np.full((40, 60, 3), 128, np.float32)
    changed, inside = draw_defect(image, allowed, np.random.default_rng(seed))
    assert inside.any()
    assert not (inside & ~allowed).any()
    assert (changed[inside] != 128).any()
    nothing, empty = draw_defect(image, np.zeros_like(allowed), np.random.default_rng(seed))
    assert nothing is image
    assert not empty.any()


def test_nothing_outside_the_training_side_is_ever_used(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    fold = dataset.split.folds[0]
    train = dataset.select(fold.train)
    source = make_injector(
        [load_labeled(dataset, s, max_side=64) for s in train if s.is_defective],
        [load_labeled(dataset, s, max_side=64) for s in train if not s.is_defective],
        n_classes=len(dataset.class_names),
        per_defect=1.0,
    )
    assert source is not None
    assert source.parents <= set(fold.train)
    assert not source.parents & {*fold.val, *fold.test}
    write_contact_sheet(tmp_path / "sheet.png", source, seed=0)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (4 * 440, 6 * 220, 3)
    assert (tmp_path / "sheet.json").is_file()


def test_an_image_larger_than_asked_for_is_shrunk_with_its_mask(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path))
    sample = next(s for s in dataset.samples if s.is_defective)
    small = load_labeled(dataset, sample, max_side=32)
    assert small.image_rgb.shape == (32, 32, 3)
    assert small.class_mask.shape == (32, 32)
    whole = load_labeled(dataset, sample, max_side=64)
    assert np.array_equal(whole.class_mask, dataset.truths[sample.image_id].class_index_mask())
