"""Masks as they are in life, and what options do to regions; every number is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps
from scipy import ndimage

from annotations import InputError, UsageError, decode_rle, mask_to_regions, write_png
from annotations.images import check_image_header, read_image_rgb
from converters.layouts.source import BinaryMasks, IndexMasks, SourceImage
from converters.masks import cut_mask, read_mask_pixels, turn_upright
from converters.merging import merge_near
from converters.pool import read_all
from converters.read_options import ReadOptions
from converters.reading import read_one

HW = (16, 20)


@pytest.fixture
def inside():
    mask = np.zeros(HW, bool)
    mask[3:9, 4:15] = True
    mask[5, 7] = False
    return mask


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    write_png(path, np.full((*HW, 3), 90, np.uint8))
    return path


def cut(path, image, **options):
    pixels = read_mask_pixels(path, header=check_image_header(image), image_path=image)
    return cut_mask(pixels.values, path, **options)


VARIANTS = {
    "0 and 1": lambda m: Image.fromarray(m.astype(np.uint8)),
    "0 and 255": lambda m: Image.fromarray(m.astype(np.uint8) * 255),
    "one bit": lambda m: Image.fromarray(m),
    "16 bits": lambda m: Image.fromarray(m.astype(np.uint16) * 65535),
    "16 bits, small": lambda m: Image.fromarray(m.astype(np.uint16)),
    "RGB": lambda m: Image.fromarray(np.repeat((m * 255).astype(np.uint8)[..., None], 3, 2)),
    "red": lambda m: Image.fromarray(np.stack([m * 255, m * 0, m * 0], 2).astype(np.uint8)),
    "RGBA, opaque": lambda m: Image.fromarray(
        np.stack([m * 255, m * 255, m * 255, m * 0 + 255], 2).astype(np.uint8)
    ),
    "RGBA, alpha alone": lambda m: Image.fromarray(
        np.stack([m * 0 + 255, m * 0, m * 0, m * 255], 2).astype(np.uint8)
    ),
    "gray and alpha": lambda m: Image.fromarray(
        np.stack([m * 255, m * 0 + 255], 2).astype(np.uint8), "LA"
    ),
}


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("kind", VARIANTS)
def test_one_mask_in_many_forms(tmp_path, inside, image, kind):
    path = tmp_path / "mask.png"
    VARIANTS[kind](inside).save(path)
    got = cut(path, image)
    assert (got.inside == inside).all()
    assert got.n_ambiguous == 0


@pytest.mark.parametrize("colors", [[0, 0, 0, 255, 0, 0], [0, 0, 0, 0, 0, 0]])
def test_a_palette(tmp_path, inside, image, colors):
    path = tmp_path / "mask.png"
    picture = Image.new("P", HW[::-1])
    picture.putdata(inside.astype(np.uint8).ravel().tolist())
    picture.putpalette(colors + [0] * (768 - len(colors)))
    picture.save(path)
    assert (cut(path, image).inside == inside).all()


def test_a_jpeg_is_cut_at_half_and_its_noise_is_counted(tmp_path, inside, image):
    path = tmp_path / "mask.jpg"
    Image.fromarray(inside.astype(np.uint8) * 255).save(path, quality=95)
    got = cut(path, image)
    assert (got.inside != inside).sum() <= 2
    assert got.n_ambiguous > 0
    Image.fromarray(inside.astype(np.uint8) * 3).save(path, quality=60)
    assert not cut(path, image).inside.any()


def test_soft_edges_are_cut_at_half(tmp_path, image):
    values = np.zeros(HW, np.uint8)
    values[2, :6] = [0, 1, 127, 128, 254, 255]
    path = tmp_path / "mask.png"
    write_png(path, values)
    got = cut(path, image)
    assert got.inside[2, :6].tolist() == [False, False, False, True, True, True]
    assert got.n_ambiguous == 4
    assert cut(path, image, threshold=1).inside.sum() == 5
    assert cut(path, image, threshold=255).inside.sum() == 1
    assert cut(path, image, any_value=True).inside.sum() == 5
    write_png(path, np.where(values > 200, 100, values // 3).astype(np.uint8))
    with pytest.raises(InputError, match="--mask-threshold"):
        cut(path, image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["stored", "displayed"])
def test_a_mask_turns_with_its_exif_rotated_image(tmp_path, inside, orientation, drawn_on):
    stored = np.zeros((*HW, 3), np.uint8)
    stored[inside] = 255
    path = tmp_path / "image.jpg"
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, quality=98)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L")) > 127
    assert (read_image_rgb(path)[..., 0] > 127).sum() == pytest.approx(shown.sum(), abs=6)
    assert (turn_upright(inside, orientation) == shown).mean() > 0.97
    mask = tmp_path / "mask.png"
    turned = turn_upright(inside, orientation)
    write_png(mask, (inside if drawn_on == "stored" else turned).astype(np.uint8) * 255)
    pixels = read_mask_pixels(mask, header=check_image_header(path), image_path=path)
    if orientation <= 4 and drawn_on == "stored" and orientation > 1:
        # Sizes agree both ways: taken as displayed, and said so.
        assert pixels.assumed_upright
        return
    assert ((pixels.values > 0) == turned).all()
    assert pixels.turned == (drawn_on == "stored" and orientation > 4)


def test_sizes_and_depths_that_cannot_be(tmp_path, image):
    path = tmp_path / "mask.png"
    write_png(path, np.zeros((16, 21), np.uint8))
    with pytest.raises(InputError, match=r"is 21×16 pixels, but its image .* is 20×16"):
        cut(path, image)
    path = tmp_path / "mask.tiff"
    Image.fromarray(np.zeros(HW, np.float32)).save(path)
    with pytest.raises(InputError, match="holds float32 values"):
        cut(path, image)


def source(image, path, truth=None, kind="dent"):
    return SourceImage("dent/0", image, kind, "test", "x", truth or BinaryMasks((path,), kind))


def regions(image, path, **options):
    facts = read_one(source(image, path), ReadOptions(**options))
    return [(r.name, int(decode_rle(r.rle).sum())) for r in facts.regions], facts


def test_small_regions_are_removed_and_counted(tmp_path, image):
    mask = np.zeros(HW, np.uint8)
    mask[1, 1] = mask[5:7, 5] = mask[10:13, 10:13] = 255
    write_png(tmp_path / "m.png", mask)
    kept, facts = regions(image, tmp_path / "m.png", min_area=3)
    assert kept == [("dent", 9)]
    assert facts.exact
    assert facts.counts["regions below the minimum area, removed"] == 2
    assert facts.counts["pixels of regions below the minimum area, removed"] == 3
    kept, _ = regions(image, tmp_path / "m.png")
    assert sorted(kept) == [("dent", 1), ("dent", 2), ("dent", 9)]


def test_near_regions_become_one(tmp_path, image):
    mask = np.zeros(HW, np.uint8)
    mask[2, 1:4] = mask[2, 6:9] = mask[2, 14] = 255
    write_png(tmp_path / "m.png", mask)
    for distance, expected in ((0, [1, 3, 3]), (2.9, [1, 3, 3]), (3, [1, 6]), (6, [7])):
        kept, facts = regions(image, tmp_path / "m.png", merge_distance=distance)
        assert sorted(area for _, area in kept) == expected
    assert facts.counts["regions merged into a near one"] == 2


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.floats(1, 6))
def test_merging_is_single_linkage_of_pixels(mask, distance):
    rles = list(mask_to_regions(mask).masks or ())
    got = merge_near(rles, ["a"] * len(rles), distance)
    pixels = [np.argwhere(decode_rle(rle)) for rle in rles]
    links = np.zeros((len(rles), len(rles)), bool)
    for i, one in enumerate(pixels):
        for j, other in enumerate(pixels):
            gaps = np.linalg.norm(one[:, None] - other[None], axis=2)
            links[i, j] = gaps.min() <= distance + 1e-6
    from scipy.sparse.csgraph import connected_components

    expected = connected_components(links)[1] if len(rles) else np.zeros(0)
    assert sorted(map(sorted, got)) == sorted(
        sorted(np.flatnonzero(expected == k).tolist()) for k in set(expected.tolist())
    )


def test_classes_are_renamed_joined_dropped_and_ignored(tmp_path, image):
    values = np.zeros(HW, np.uint8)
    values[1:3, 1:3], values[1:3, 3:6], values[8:11, 8:11], values[14, 14] = 1, 2, 3, 4
    path = tmp_path / "m.png"
    write_png(path, values)
    names = {1: "dent", 2: "chip", 3: "dirt", 4: "void"}
    truth = IndexMasks((path,), names)
    one = SourceImage("0", image, "good", "test", "x", truth, type_from_regions=True)

    def read(**options):
        facts = read_one(one, ReadOptions(**options))
        return {(r.name, r.ignored, int(decode_rle(r.rle).sum())) for r in facts.regions}, facts

    got, facts = read()
    assert got == {
        ("dent", False, 4), ("chip", False, 6), ("dirt", False, 9), ("void", False, 1)
    }  # fmt: skip
    assert facts.defect_type == "dirt"
    got, facts = read(map_class={"chip": "dent", "dirt": "good"}, ignore=("void",))
    # Dent and chip touch: one class, one region.
    assert got == {("dent", False, 10), ("void", True, 1)}
    assert facts.counts["regions of classes mapped to good, removed"] == 1
    assert facts.counts["regions to be ignored (iscrowd = 1)"] == 1
    got, facts = read(one_class="defect", ignore=("void",))
    assert got == {("defect", False, 10), ("defect", False, 9), ("void", True, 1)}


@pytest.mark.parametrize(
    "options",
    [{"min_area": -1}, {"merge_distance": -1.0}, {"mask_threshold": 0}, {"one_class": "good"},
     {"map_class": {"a": "../b"}}, {"one_class": "\n"}],
)  # fmt: skip
def test_options_without_sense(options):
    with pytest.raises(UsageError):
        ReadOptions(**options).check()


def test_a_good_image_with_a_marked_mask_is_refused(tmp_path, image, inside):
    write_png(tmp_path / "m.png", inside.astype(np.uint8))
    truth = BinaryMasks((tmp_path / "m.png",), "dent")
    with pytest.raises(InputError, match="filed under good"):
        read_one(source(image, tmp_path / "m.png", truth, kind="good"), ReadOptions())


MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 17), st.integers(1, 17)))


@given(MASKS)
def test_any_mask_is_read_exactly(tmp_path_factory, mask):
    folder = tmp_path_factory.mktemp("m")
    write_png(folder / "i.png", np.zeros((*mask.shape, 3), np.uint8))
    write_png(folder / "m.png", mask.astype(np.uint8) * 255)
    (facts,) = read_all([source(folder / "i.png", folder / "m.png")], ReadOptions())
    assert facts.exact
    labels, n = ndimage.label(mask, np.ones((3, 3)))
    union = np.zeros(mask.shape, bool)
    for region in facts.regions:
        union |= decode_rle(region.rle)
    assert (union == mask).all()
    assert len(facts.regions) == n
    assert sorted(decode_rle(r.rle).sum() for r in facts.regions) == sorted(
        np.bincount(labels.ravel())[1:].tolist()
    )
