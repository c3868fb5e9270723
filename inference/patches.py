"""Distance of every patch of an image to a memory of good ones (PatchCore).

Roth et al.: Toward Total Recall in Industrial Anomaly Detection (CVPR 2022), section 3; how the
memory is chosen: `classify.anomaly.memory`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction
from annotations.scores import RawScore
from inference.base import Arrays, ImageRgb, Network, Scorer
from inference.images import normalized, resize_square

Patches = npt.NDArray[np.float32]
BLUR_SIGMA: Final = 4.0
"""Blur of the map, in pixels at the network's size."""
_CHUNK: Final = 1024


class PatchDistances:
    """Good patches.

    Attributes:
        patches: float32 (m, channels).
    """

    def __init__(self, patches: Patches) -> None:
        """Take the memory."""
        if patches.ndim != 2 or not len(patches):
            raise ValueError(f"a memory of patches has the shape {patches.shape}")
        self.patches = patches
        self._half_lengths = (patches**2).sum(axis=1) / 2

    def distances(self, patches: Patches) -> npt.NDArray[np.float32]:
        """Distance of each patch, float32 (n, channels), to the nearest in memory: float32 (n,)."""
        found = np.zeros(len(patches), np.float32)
        for start in range(0, len(patches), _CHUNK):
            some = patches[start : start + _CHUNK]
            nearest = (self._half_lengths - some @ self.patches.T).argmin(axis=1)
            # From the difference itself: the expanded square loses digits where patches are alike.
            away = some - self.patches[nearest]
            found[start : start + _CHUNK] = np.sqrt((away**2).sum(axis=1))
        return found

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What is stored."""
        return {"patches": self.patches}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """What was stored."""
        return cls(np.asarray(arrays["patches"], np.float32))


class PatchScorer(Scorer):
    """Scores every place of an image by the distance of its patch to the good ones.

    The network answers with patches float32 (n, channels, h, w).
    """

    kind = "patches"

    def __init__(
        self,
        network: Network,
        memory: PatchDistances,
        *,
        image_size: int,
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        """Take a network, the good patches seen through it, and its normalization."""
        self.network, self._memory, self._side = network, memory, image_size
        self._mean, self._deviation = tuple(mean), tuple(deviation)

    @property
    def example_hw(self) -> tuple[int, int]:
        """The square."""
        return self._side, self._side

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Largest patch distance of one image, uint8 (H, W, 3), and the map at its size."""
        side = self._side
        prepared = normalized(resize_square(image_rgb, side), self._mean, self._deviation)
        maps = self.network(prepared[None])[0][0]
        patches = np.ascontiguousarray(maps.reshape(len(maps), -1).T)
        distances = self._memory.distances(patches)
        places = distances.reshape(maps.shape[1:])
        grid = cv2.resize(places, (side, side), interpolation=cv2.INTER_LINEAR)
        blurred = cv2.GaussianBlur(grid, (0, 0), BLUR_SIGMA)
        high, wide = image_rgb.shape[:2]
        picture = cv2.resize(blurred, (wide, high), interpolation=cv2.INTER_LINEAR)
        return Prediction(
            image_id,
            RawScore(float(distances.max())),
            pixel_scores=np.maximum(np.asarray(picture, np.float32), 0),
        )

    def recipe(self) -> dict[str, Any]:
        """Settings."""
        return {
            "image_size": self._side,
            "mean": list(self._mean),
            "deviation": list(self._deviation),
        }

    def arrays(self) -> Arrays:
        """The memory."""
        return self._memory.arrays()

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make it again."""
        return cls(
            network,
            PatchDistances.from_arrays(arrays),
            image_size=int(recipe["image_size"]),
            mean=[float(v) for v in recipe["mean"]],
            deviation=[float(v) for v in recipe["deviation"]],
        )
