"""What docs/limits.md says, at the limit and one beyond it."""

import struct
import zlib

import numpy as np
import pytest

from annotations import ImageReadError, InputError, load_dataset
from annotations.image_headers import MAX_PIXELS, read_image_header
from benchmarks.sources import HW, picture, put
from converters import ConvertOptions, FindOptions, convert, inventory
from converters.inventory import walk_files
from converters.layouts.source import Shape
from converters.shapes import shape_rle


def coded(root, n):
    """One image for every class, of one pixel's class each."""
    names = [f"c{k:03d}" for k in range(n)]
    (root / "masks").mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(names))
    for k in range(8):
        mask = np.zeros(HW, np.uint16)
        values = np.arange(1, n + 1)[k::8]
        mask.ravel()[: len(values)] = values
        put(root / "images" / f"{k}.png", picture(k))
        put(root / "masks" / f"{k}.png", mask)
    put(root / "images" / "good.png", picture(40))
    put(root / "masks" / "good.png", np.zeros(HW, np.uint16))
    return root


def test_as_many_classes_as_a_mask_tells_apart(tmp_path):
    convert(coded(tmp_path / "most", 255), tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    assert len(dataset.class_names) == 255
    assert {int(label) for t in dataset.truths.values() for label in t.labels} == set(range(255))
    with pytest.raises(InputError, match="256 classes; 255 can be told apart"):
        convert(coded(tmp_path / "more", 256), tmp_path / "out2", ConvertOptions(folds=2))


def png_that_claims(path, height, width):
    """A PNG whose header is right and whose pixels are missing."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore")
def test_as_many_pixels_as_are_read(tmp_path):
    side = 13_000
    png_that_claims(tmp_path / "most.png", side, MAX_PIXELS // side)
    assert read_image_header(tmp_path / "most.png").image_hw == (side, MAX_PIXELS // side)
    for height in (MAX_PIXELS // side + 1, 10**6):
        png_that_claims(tmp_path / "more.png", height, side)
        with pytest.raises(ImageReadError, match=r"178,000,000|too many pixels"):
            read_image_header(tmp_path / "more.png")


def test_many_regions_in_one_image(tmp_path):
    mask = np.zeros((400, 400), np.uint8)
    mask[::2, ::4] = 255
    for n in range(4):
        put(tmp_path / "s" / "images" / f"{n}.png", np.zeros((400, 400), np.uint8) + n)
        put(tmp_path / "s" / "masks" / f"{n}.png", mask * (n % 2))
    options = ConvertOptions(folds=2, find=FindOptions(), find_groups=False)
    convert(tmp_path / "s", tmp_path / "out", options)
    dataset = load_dataset(tmp_path / "out")
    assert (
        len(dataset.truths["1"] if "1" in dataset.truths else dataset.truths["images/1"]) == 20_000
    )


def test_as_many_files_as_a_source_may_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "MAX_FILES", 3)
    for n in range(3):
        (tmp_path / f"{n}.txt").touch()
    assert len(list(walk_files(tmp_path))) == 3
    (tmp_path / "3.txt").touch()
    with pytest.raises(InputError, match="more than 3 files"):
        list(walk_files(tmp_path))


def test_shapes_are_bounded():
    back_and_forth = [0.0, 0.0, 200.0, 0.0, 0.0, 1.0] * 30_000
    shape = Shape("a", "polygons", [back_and_forth], ignore=False, where="file, line 1")
    with pytest.raises(InputError, match="outline is"):
        shape_rle(shape, (200, 200))
