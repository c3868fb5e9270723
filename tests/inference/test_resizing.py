"""Images are shrunk by area and enlarged without steps."""

import numpy as np
import pytest

from inference.images import resize_square


def test_enlarging_makes_no_blocks():
    ramp = np.repeat(np.arange(0, 256, 36, dtype=np.uint8)[None, :, None], 8, axis=0)
    large = resize_square(np.repeat(ramp, 3, axis=2), 63)
    assert large.shape == (63, 63, 3)
    assert len(np.unique(large)) > 40  # by area: the 8 levels of before
    assert int(np.abs(np.diff(large[0, :, 0].astype(int))).max()) <= 5


@pytest.mark.parametrize("hw", [(8, 8), (4, 16)])
def test_shrinking_is_the_mean_of_what_a_pixel_covers(hw):
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    high, wide = hw[0] // 4, hw[1] // 4
    means = image.reshape(4, high, 4, wide, 3).mean(axis=(1, 3))
    assert np.abs(resize_square(image, 4) - means).max() <= 0.5
