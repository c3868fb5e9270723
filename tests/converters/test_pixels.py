"""Pixels as they are: depths, bands, pages, formats, coded and inverted masks."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from annotations import (
    ImageReadError,
    InputError,
    UsageError,
    load_dataset,
    read_image_rgb,
    write_png,
)
from annotations.images import plain_png
from benchmarks.sources import HW, picture, put, ring_mask
from converters import ConvertOptions, FindOptions, ReadOptions, convert
from converters.masks import flat_levels
from defectune.library.reading import parse_mask_values


def mvtec(root, save, *, suffix=".png"):
    for n, name in enumerate(("train/good/0", "train/good/1", "test/good/2", "test/dent/3")):
        path = root / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, n)
    put(root / "ground_truth/dent/3_mask.png", ring_mask().astype(np.uint8) * 255)
    return root


def run(root, out, **options):
    report = convert(root, out, ConvertOptions(protocol="official", **options))
    return load_dataset(out), report


def gray16(top):
    def save(path, n):
        values = np.linspace(0, top, HW[0] * HW[1]).reshape(HW).astype(np.uint16)
        values[0, n] = top
        cv2.imwrite(str(path), values)

    return save


@pytest.mark.parametrize(
    ("top", "depth"), [(255, 8), (256, 10), (1023, 10), (3900, 12), (4096, 14), (65535, 16)]
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_read_by_the_range_that_the_set_uses(tmp_path, top, depth, suffix):
    root = mvtec(tmp_path / "source", gray16(top), suffix=suffix)
    dataset, report = run(root, tmp_path / "out")
    assert dataset.bit_depth == depth
    assert any(f"read as {depth} bits" in note for note in report.notes)
    values = np.linspace(0, top, HW[0] * HW[1]).reshape(HW).astype(np.uint16)
    wanted = values.astype(np.float64) * 255 / ((1 << depth) - 1)
    for sample in dataset.samples:
        assert sample.image_path.suffix == ".png"
        assert not sample.image_path.is_symlink()
        got = read_image_rgb(sample.image_path)
        assert np.abs(got[1:, :, 0] - wanted[1:]).max() <= 1
        source = root / ("train/good/0" + suffix)
        again = read_image_rgb(source, bit_depth=depth)
        if sample.image_id == "train/good/0":
            assert np.array_equal(got, again)
    told, _ = run(root, tmp_path / "told", read=ReadOptions(bit_depth=16))
    assert told.bit_depth == 16


def test_bit_depth_without_such_images_is_refused(tmp_path):
    root = mvtec(tmp_path / "source", lambda path, n: put(path, picture(n)))
    with pytest.raises(UsageError, match="no effect"):
        run(root, tmp_path / "out", read=ReadOptions(bit_depth=12))


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".jp2", ".jfif", ".bmp", ".jpg"])
def test_formats_are_read_and_every_trainer_can_read_what_is_kept(tmp_path, suffix):
    def save(path, n):
        image = Image.fromarray(picture(n))
        kind = {".jfif": "JPEG", ".jp2": "JPEG2000", ".jpg": "JPEG"}.get(suffix)
        image.save(path, kind)

    dataset, _ = run(mvtec(tmp_path / "source", save, suffix=suffix), tmp_path / "out")
    assert len(dataset.samples) == 4
    for sample in dataset.samples:
        assert sample.image_path.suffix in (".png", ".webp", ".bmp", ".jpg")
        assert cv2.imread(str(sample.image_path)).shape == (*HW, 3)


def write_tiff(path, *, bands=1, extra=None, floats=False):
    """A TIFF of one strip, with the tags that Pillow would not write."""
    bits = 32 if floats else 8
    data = bytes(HW[0] * HW[1] * bands * bits // 8)
    tags = [
        (256, 4, 1, HW[1]), (257, 4, 1, HW[0]), (258, 3, 1, bits), (259, 3, 1, 1),
        (262, 3, 1, 1 if bands < 3 else 2), (273, 4, 1, 8), (277, 3, 1, bands),
        (278, 4, 1, HW[0]), (279, 4, 1, len(data)),
    ]  # fmt: skip
    if extra is not None:
        tags.append((338, 3, 1, extra))
    if floats:
        tags.append((339, 3, 1, 3))
    body = struct.pack("<H", len(tags))
    for tag, kind, count, value in tags:
        packed = struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
        body += struct.pack("<HHI", tag, kind, count) + packed
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + body + bytes(4))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"floats": True}, "floating-point"),
        ({"bands": 2, "extra": 0}, "2 bands"),
        ({"bands": 4, "extra": 0}, "4 bands"),
        ({"bands": 4}, "4 bands"),
        ({"bands": 5, "extra": 0}, "5 bands"),
    ],
)
def test_what_is_no_gray_or_color_image_is_refused_with_the_reason(tmp_path, options, reason):
    root = mvtec(tmp_path / "source", lambda path, _: write_tiff(path, **options), suffix=".tif")
    with pytest.raises(ImageReadError, match=reason):
        run(root, tmp_path / "out")
    with pytest.raises(ImageReadError, match=reason):
        read_image_rgb(root / "train/good/0.tif")


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp"])
def test_several_pages_are_refused(tmp_path, suffix):
    def save(path, n):
        frames = [Image.fromarray(picture(n + k)) for k in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])

    with pytest.raises(ImageReadError, match="3 pages or frames"):
        run(mvtec(tmp_path / "source", save, suffix=suffix), tmp_path / "out")


def test_a_bound_on_pixels_can_be_lowered(tmp_path):
    root = mvtec(tmp_path / "source", lambda path, n: put(path, picture(n)))
    with pytest.raises(ImageReadError, match="up to 700 are read"):
        run(root, tmp_path / "out", read=ReadOptions(max_pixels=700))
    with pytest.raises(UsageError, match="--max-pixels"):
        run(root, tmp_path / "out", read=ReadOptions(max_pixels=10**9))


def test_plain_png_is_the_same_twice(tmp_path):
    gray16(4095)(tmp_path / "a.png", 0)
    assert plain_png(tmp_path / "a.png", bit_depth=12) == plain_png(
        tmp_path / "a.png", bit_depth=12
    )


# ---- masks ----------------------------------------------------------------------------------


def with_masks(root, *masks):
    for n, mask in enumerate(masks):
        put(root / "images" / f"{n}.png", picture(n))
        put(root / "masks" / f"{n}.png", mask)
    put(root / "images" / "good.png", picture(50))
    put(root / "masks" / "good.png", np.zeros(HW, np.uint8))
    return root


def two(first, second):
    shape = (*HW, 3) if isinstance(first, tuple) else HW
    mask = np.zeros(shape, np.uint8)
    mask[2:8, 3:9] = first
    mask[14:20, 15:25] = second
    return mask


CODED = [
    (two(85, 170), "85=dent,170=hole"),
    (two(1, 2), "1=dent,2=hole"),
    (two((0, 0, 255), (0, 255, 0)), "#ff0000=dent,0:255:0=hole"),
    (two((32, 112, 48), (32, 112, 176)), "48:112:32=dent,176:112:32=hole"),
]


@pytest.mark.parametrize(("mask", "values"), CODED)
def test_codes_are_asked_about_and_read_as_told(tmp_path, mask, values):
    root = with_masks(tmp_path / "source", mask, mask)
    with pytest.raises(InputError, match=r"look like classes.*--mask-values"):
        run(root, tmp_path / "out", find=FindOptions())
    read = ReadOptions(mask_values=parse_mask_values(values))
    dataset, _ = run(root, tmp_path / "out", read=read)
    truth = dataset.truths["images/0"]
    named = {dataset.class_names[label] for label in truth.labels.tolist()}
    assert named == {"dent", "hole"}
    areas = sorted(truth.areas.tolist())
    assert areas == [36, 60]
    as_one, _ = run(root, tmp_path / "one", read=ReadOptions(mask_threshold=1))
    assert sorted(as_one.truths["images/0"].areas.tolist()) == [36, 60]


def test_a_value_can_be_ignored_or_background(tmp_path):
    root = with_masks(tmp_path / "source", two(1, 255), two(1, 7))
    read = ReadOptions(mask_values=parse_mask_values("1=dent,255=ignore,7=background"))
    dataset, _ = run(root, tmp_path / "out", read=read)
    assert dataset.truths["images/0"].areas.tolist() == [36]
    assert dataset.ignored["images/0"].areas.tolist() == [60]
    assert "images/1" not in dataset.ignored
    assert dataset.class_names == ("dent",)


def test_levels_that_differ_from_mask_to_mask_are_asked_about(tmp_path):
    root = with_masks(tmp_path / "source", two(85, 85), two(170, 170))
    with pytest.raises(InputError, match=r"one level each, but not the same: 85, 170"):
        run(root, tmp_path / "out")


def test_soft_edges_are_no_codes():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    soft = cv2.GaussianBlur(mask, (7, 7), 2)
    assert flat_levels(soft) in ([], [255])
    assert flat_levels(mask) == [255]
    assert flat_levels(np.zeros((4, 4), np.uint8)) == []


def test_a_faint_region_that_is_cut_away_is_counted(tmp_path):
    faint = cv2.GaussianBlur(two(255, 0), (3, 3), 1)
    faint[20, 20] = 40
    root = with_masks(tmp_path / "source", faint, two(255, 255))
    _, report = run(root, tmp_path / "out")
    assert report.counts["pixels of regions wholly below half of the range, left out"] == 1


def test_inverted_masks_are_asked_about(tmp_path):
    inverted = 255 - two(255, 255)
    root = with_masks(tmp_path / "source", inverted, inverted)
    write_png(root / "masks" / "good.png", np.full(HW, 255, np.uint8))
    with pytest.raises(InputError, match=r"look inverted.*--invert-masks"):
        run(root, tmp_path / "out")
    dataset, _ = run(root, tmp_path / "out", read=ReadOptions(invert_masks=True))
    assert sorted(dataset.truths["images/0"].areas.tolist()) == [36, 60]
    assert not dataset.by_id["images/good"].is_defective
    kept, _ = run(root, tmp_path / "kept", read=ReadOptions(invert_masks=False))
    assert kept.truths["images/0"].areas.sum() == HW[0] * HW[1] - 96


@pytest.mark.parametrize("text", ["1", "=a", "x=a", "1=a,1=b", "300:0:0=a", "#12345=a", "1=,2=b"])
def test_mask_values_that_cannot_be(text):
    with pytest.raises(UsageError, match="--mask-values"):
        parse_mask_values(text)
