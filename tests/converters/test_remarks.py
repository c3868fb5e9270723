"""What a conversion does unasked is said, with an example and a way out."""

import json
import shutil

import pytest

from annotations import make_split
from converters import ConvertOptions, convert
from converters.remarks import warnings_about
from converters.synthetic import draw_category
from tests.drawn import SMALL, sample


def samples(sizes, *, side="test"):
    return [
        sample(f"crack/{part}-{shot:02d}", group=f"part-{part}", source_split=side)
        for part, size in enumerate(sizes)
        for shot in range(size)
    ]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([40, 30, 5, 5, 5], "70 of 85 images are taken for shots of 2 parts"),
        ([19] * 6, None),
        ([20, 20, *[1] * 40], None),
        ([20, 21, *[1] * 40], "41 of 81 images are taken for shots of 2 parts (the largest has 21"),
    ],
)
def test_parts_that_swallow_most_images_are_asked_about(sizes, said):
    images = samples(sizes)
    split = make_split(images, protocol="kfold", folds=2, seed=0)
    warnings = warnings_about(images, split, [("a", "b", 0.9)])
    if said is None:
        assert warnings == []
    else:
        (warning,) = warnings
        assert warning.startswith(said)
        assert "--no-find-groups" in warning
        (plain,) = warnings_about(images, split, [])
        assert "--no-find-groups" not in plain


def test_training_images_whose_part_is_tested_are_named(tmp_path):
    source = draw_category(tmp_path, SMALL)
    for number in range(3):
        shutil.copy(
            source / "test" / "good" / f"{number:03d}.png",
            source / "train" / "good" / f"copy-{number}.png",
        )
    report = convert(source, tmp_path / "out", ConvertOptions(protocol="holdout"))
    (left,) = report.split.left_out
    (warning,) = report.warnings
    assert len(left) == 3
    assert warning.startswith("3 of 9 training images are left out, as their part is tested (for ")
    assert "copy-0" in warning
    assert "equal bytes" in warning
    stored = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert stored["warnings"] == [warning]
