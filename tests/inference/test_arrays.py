"""What comes as an array is an image, or an error in words."""

import numpy as np
import pytest
from PIL import Image

from annotations import UsageError
from inference.arrays import as_image

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
RGB = np.repeat(GRAY[..., None], 3, axis=2)


@pytest.mark.parametrize("image", [GRAY, GRAY.view(np.matrix), Image.fromarray(RGB), RGB[:, ::1]])
def test_pixels_of_any_class_are_an_image(image):
    found = as_image(image)
    assert type(found) is np.ndarray
    assert np.array_equal(found, RGB)


class Broken:
    def __array__(self, *_arguments, **_options):
        raise OSError("gone")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "NoneType, as an array object"),
        (5, r"int, as an array int64 \(\)"),
        ([1], r"list, as an array int64 \(1,\)"),
        ([[1], [1, 2]], "got list"),
        (b"x", "bytes, as an array"),
        (Broken(), "got Broken"),
        (GRAY / 255, "Scale values"),
        (np.zeros((2, 2, 4), np.uint8), "Drop the alpha"),
        (np.zeros((0, 2), np.uint8), "got uint8"),
        (np.zeros((1, 2, 2, 3), np.uint8), "got uint8"),
    ],
)
def test_anything_else_is_refused_in_words(image, said):
    with pytest.raises(UsageError, match=f"An image should be a path or a uint8 array.*{said}"):
        as_image(image)
