"""From errors of reconstruction to a map and a score, by what is usual on good images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Prediction
from classify.methods.base import Arrays

ErrorMap = npt.NDArray[np.float32]
BLUR_PART: Final = 1 / 64
"""Sigma of the blur, as a part of the network's side."""
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class UsualErrors:
    """Errors of reconstruction on good images, place by place.

    An edge of the part is reconstructed badly on every image, and says nothing; the same error in
    the middle of a plain face does. Errors are therefore counted in deviations from what is usual
    at their place.

    Attributes:
        mean: float32 (S, S).
        deviation: float32 (S, S), above 0.
    """

    mean: ErrorMap
    deviation: ErrorMap

    @classmethod
    def of(cls, errors: Sequence[ErrorMap]) -> "UsualErrors":
        """From the error maps of good images, float32 (S, S) each."""
        blurred = np.stack([_blur(error) for error in errors])
        deviation = _blur(blurred.std(axis=0))
        # Where no image differs from another, the deviation typical of the image counts.
        floor = max(float(np.median(deviation)), _TINY)
        return cls(blurred.mean(axis=0), np.maximum(deviation, floor))

    def unusual(self, error: ErrorMap) -> ErrorMap:
        """Deviations above the usual error: float32 (S, S), from 0 up."""
        found = (_blur(error) - self.mean) / self.deviation
        return np.asarray(np.maximum(found, 0), np.float32)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What is stored."""
        return {"usual_mean": self.mean, "usual_deviation": self.deviation}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "UsualErrors":
        """What was stored."""
        return cls(
            np.asarray(arrays["usual_mean"], np.float32),
            np.asarray(arrays["usual_deviation"], np.float32),
        )


def as_prediction(
    image_id: str, unusual: ErrorMap, image_hw: tuple[int, int], *, image_score: float
) -> Prediction:
    """A map of the network's size and a score, as a prediction at the image's size."""
    high, wide = image_hw
    picture = cv2.resize(unusual, (wide, high), interpolation=cv2.INTER_LINEAR)
    return Prediction(
        image_id, image_score, pixel_scores=np.maximum(np.asarray(picture, np.float32), 0)
    )


def top_mean(unusual: ErrorMap, part: float = 0.002) -> float:
    """Mean of the highest values, of so large a part of the map: a maximum that one pixel cannot
    make."""
    n = max(1, round(part * unusual.size))
    return float(np.partition(unusual.ravel(), unusual.size - n)[-n:].mean()) + _TINY


def _blur(error: ErrorMap) -> ErrorMap:
    sigma = max(error.shape[0] * BLUR_PART, 0.5)
    return np.asarray(cv2.GaussianBlur(error, (0, 0), sigma), np.float32)
