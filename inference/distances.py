"""Distance of an image to the good ones, in the pooled features of a pretrained network.

Rippel, Mertens, Merhof: Modeling the Distribution of Normal Data in Pre-Trained Deep Features
for Anomaly Detection (ICPR 2020), section III. How Gaussians are fitted:
`classify.anomaly.mahalanobis`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction
from annotations.scores import RawScore
from inference.base import Arrays, ImageRgb, Network, Scorer
from inference.images import normalized, resize_square
from inference.nearest import NearestGood

Array = npt.NDArray[np.float64]


class Distances(Protocol):
    """What was learned from good images, and scores others."""

    def distances(self, stages: Sequence[Array]) -> Array:
        """Distances of n images, one (n, channels) a stage: float64 (n,), from 0 up."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What is stored."""
        ...


@dataclass(frozen=True, slots=True)
class GaussianDistances:
    """One Gaussian a stage.

    Attributes:
        means: float64 (channels,) a stage.
        precisions: float64 (channels, channels) a stage, inverse covariances.
    """

    means: tuple[Array, ...]
    precisions: tuple[Array, ...]

    def distances(self, stages: Sequence[Array]) -> Array:
        """Sum over the stages of the Mahalanobis distances: float64 (n,), from 0 up."""
        total = np.zeros(len(stages[0]))
        for features, mean, precision in zip(stages, self.means, self.precisions, strict=True):
            centered = features - mean
            squared = np.einsum("ij,jk,ik->i", centered, precision, centered, optimize=True)
            total += np.sqrt(np.maximum(squared, 0))
        return total

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What is stored."""
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for number, (mean, precision) in enumerate(zip(self.means, self.precisions, strict=True)):
            arrays |= {f"mean_{number}": mean, f"precision_{number}": precision}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> Self:
        """What was stored."""
        n = sum(name.startswith("mean_") for name in arrays)
        return cls(
            tuple(np.asarray(arrays[f"mean_{i}"], np.float64) for i in range(n)),
            tuple(np.asarray(arrays[f"precision_{i}"], np.float64) for i in range(n)),
        )


class DistanceScorer(Scorer):
    """One image by the distance of its pooled features to those of the good ones.

    The network answers with one float32 (n, channels) a stage.
    """

    kind = "distance"

    def __init__(
        self,
        network: Network,
        model: Distances,
        *,
        image_size: int,
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        """Take a network, what good images look like through it, and its normalization."""
        self.network, self._model, self._side = network, model, image_size
        self._mean, self._deviation = tuple(mean), tuple(deviation)

    @property
    def example_hw(self) -> tuple[int, int]:
        """The square."""
        return self._side, self._side

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Distance of one image, uint8 (H, W, 3); no regions and no map."""
        small = resize_square(image_rgb, self._side)
        stages = self.network(normalized(small, self._mean, self._deviation)[None])
        found = self._model.distances([stage.astype(np.float64) for stage in stages])
        return Prediction(image_id, RawScore(float(found[0])))

    def recipe(self) -> dict[str, Any]:
        """Settings."""
        return {
            "image_size": self._side,
            "mean": list(self._mean),
            "deviation": list(self._deviation),
            "distance": "knn" if isinstance(self._model, NearestGood) else "mahalanobis",
        }

    def arrays(self) -> Arrays:
        """The arrays of the distance."""
        return self._model.arrays()

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make it again."""
        model: Distances = (
            NearestGood.from_arrays(arrays)
            if recipe["distance"] == "knn"
            else GaussianDistances.from_arrays(arrays)
        )
        return cls(
            network,
            model,
            image_size=int(recipe["image_size"]),
            mean=[float(v) for v in recipe["mean"]],
            deviation=[float(v) for v in recipe["deviation"]],
        )
