"""The detector's frame and suppression beside ultralytics' own."""

import numpy as np
import pytest

from detect.ultralytics_setup import import_ultralytics
from inference.boxes import MIN_SCORE, SAME_IOU, letterboxed, suppressed


@pytest.mark.parametrize(
    ("hw", "size"),
    [((64, 64), 64), ((900, 900), 160), ((33, 71), 96), ((500, 3), 64), ((1, 9), 32)],
)
def test_the_frame_is_ultralytics(hw, size):
    import_ultralytics()
    from ultralytics.data.augment import LetterBox

    image = np.random.default_rng(0).integers(0, 255, (*hw, 3), np.uint8)
    expected = LetterBox((size, size), auto=True, stride=32)(image=image)
    assert np.array_equal(letterboxed(image, size)[0], expected)


@pytest.mark.parametrize("classes", [1, 3])
def test_suppression_is_ultralytics(classes):
    import_ultralytics()
    import torch
    from ultralytics.utils.nms import non_max_suppression

    rng = np.random.default_rng(classes)
    answer = np.zeros((4 + classes, 400), np.float32)
    answer[:2] = rng.uniform(20, 140, (2, 400))
    answer[2:4] = rng.uniform(5, 60, (2, 400))
    answer[4:] = rng.uniform(0, 1, (classes, 400)) ** 4
    expected = non_max_suppression(
        torch.from_numpy(answer)[None].clone(), MIN_SCORE, SAME_IOU, max_det=100
    )[0].numpy()
    found = suppressed(answer, 100)
    assert len(found.scores) == len(expected) > 10
    assert np.array_equal(found.scores, expected[:, 4])
    assert np.array_equal(found.labels, expected[:, 5])
    assert found.boxes_xyxy == pytest.approx(expected[:, :4], abs=1e-4)


def test_nothing_found_is_no_box():
    found = suppressed(np.zeros((5, 10), np.float32), 10)
    assert found.boxes_xyxy.shape == (0, 4)
