"""From errors of reconstruction to a map and a score, by what is usual on good images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction
from annotations.scores import RawScore
from inference.base import Arrays, ImageRgb, Network, Scorer
from inference.images import resize_square, unit_planes

ErrorMap = npt.NDArray[np.float32]
BLUR_PART: Final = 1 / 64
"""Sigma of the blur, as a part of the network's side."""
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class UsualErrors:
    """Errors of reconstruction on good images, place by place.

    An edge of the part is reconstructed badly on every image, and says nothing; the same error in
    the middle of a plain face does. Errors are therefore counted in standard deviations
    from what is usual at their place.

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
        image_id, RawScore(image_score), pixel_scores=np.maximum(np.asarray(picture, np.float32), 0)
    )


def top_mean(unusual: ErrorMap, part: float = 0.002) -> float:
    """Mean of the highest values, of so large a part of the map: a maximum that one pixel cannot
    make."""
    n = max(1, round(part * unusual.size))
    return float(np.partition(unusual.ravel(), unusual.size - n)[-n:].mean()) + _TINY


def _blur(error: ErrorMap) -> ErrorMap:
    sigma = max(error.shape[0] * BLUR_PART, 0.5)
    return np.asarray(cv2.GaussianBlur(error, (0, 0), sigma), np.float32)


class ErrorScorer(Scorer):
    """Scores by unusual errors of reconstruction, and by further parts where a method has them.

    The network answers float32 (1, 3, S, S) in [0, 1] with the error float32 (1, S, S), and with
    one number (1,) for each further part of the score.
    """

    kind = "errors"

    def __init__(
        self,
        network: Network,
        usual: UsualErrors,
        *,
        image_size: int,
        scale: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Take a network and what is usual on good images.

        Args:
            network: see the class.
            usual: errors of reconstruction.
            image_size: side of the square, pixels.
            scale: float64 (parts,), what each part of the score is divided by before their mean;
                None where the error is the only one and is not divided.
        """
        self.network, self._usual, self._side, self._scale = network, usual, image_size, scale

    @property
    def example_hw(self) -> tuple[int, int]:
        """The square."""
        return self._side, self._side

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Score and map of one image, uint8 (H, W, 3)."""
        error, *others = self.network(unit_planes(resize_square(image_rgb, self._side))[None])
        unusual = self._usual.unusual(error[0])
        score = top_mean(unusual)
        if self._scale is not None:
            parts = np.array([score, *(float(one[0]) for one in others)], np.float64)
            score = float((parts / self._scale).mean())
        height, width = image_rgb.shape[:2]
        return as_prediction(image_id, unusual, (height, width), image_score=score)

    def recipe(self) -> dict[str, Any]:
        """Settings."""
        scale = None if self._scale is None else self._scale.tolist()
        return {"image_size": self._side, "scale": scale}

    def arrays(self) -> Arrays:
        """Usual errors."""
        return self._usual.arrays()

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make it again."""
        scale = recipe["scale"]
        return cls(
            network,
            UsualErrors.from_arrays(arrays),
            image_size=int(recipe["image_size"]),
            scale=None if scale is None else np.array(scale, np.float64),
        )
