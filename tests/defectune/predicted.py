"""A run, images and digests, for tests of `predict` on Ray and in parts."""

import hashlib

import defectune as dt
from converters.synthetic import SyntheticConfig, draw_category
from tests.drawn import drawn_dataset

IMAGES = SyntheticConfig(n_train_good=20, n_test_good=10, n_per_type=8, image_hw=(64, 64))


def trained(folder):
    """A run of one fold, which trains for a moment."""
    return dt.train(
        drawn_dataset(folder), "classify", method="patch-memory", model="resnet18", weights="none",
        image_size=64, fold=0, device="cpu", progress=False,
    )  # fmt: skip


def drawn_source(folder):
    """A source of some dozens of images."""
    return draw_category(folder, IMAGES)


def digests(folder):
    """SHA-256 of every file, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
