"""Images that show too little for a verdict get a remark."""

import numpy as np
import pytest

from inference.remarks import remark_on


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((200, 300, 3), np.uint8), "black all over"),
        (np.full((200, 300, 3), 90, np.uint8), "of one color all over"),
        (np.full((200, 300, 3), [200, 10, 10], np.uint8), "of one color all over"),
        (np.full((31, 400, 3), [1, 2, 3], np.uint8), "400×31 pixels"),
        (np.full((1, 1, 3), 255, np.uint8), "1×1 pixels"),
    ],
)
def test_a_remark(image, word):
    assert word in remark_on(image)


def test_one_pixel_that_differs_is_a_picture():
    for place in ((0, 0), (37, 91), (199, 299)):
        image = np.zeros((200, 300, 3), np.uint8)
        image[place][1] = 3
        assert remark_on(image) == ""
    image[:] = 0
    image[37, 91] = 2
    assert "black" in remark_on(image)
