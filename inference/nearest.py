"""Distance to the nearest good images, in the pooled features of a pretrained network.

Bergman, Cohen, Hoshen: Deep Nearest Neighbor Anomaly Detection (arXiv:2002.10445), section 3:
the mean distance to the k nearest training images. Features of all stages are used; each is
divided by its spread over the good images, so that no stage counts for its scale alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from annotations import InputError

Array = npt.NDArray[np.float64]
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class NearestGood:
    """Good images' features.

    Attributes:
        features: float64 (n, channels of all stages), divided by `spread`.
        spread: float64 (channels of all stages,).
        k: neighbors.
    """

    features: Array
    spread: Array
    k: int

    @classmethod
    def fit(cls, stages: Sequence[Array], *, k: int = 5) -> "NearestGood":
        """Keep good images, one (n, channels) a stage.

        Raises:
            InputError: fewer than two images.
        """
        if len(stages[0]) < 2:
            raise InputError(
                f"Learning what good looks like needs at least 2 good images, and there are "
                f"{len(stages[0])}. A few dozen are usual."
            )
        spreads = []
        for features in stages:
            # One number a stage, over all its channels: their relations stay as they are.
            whole = float(np.sqrt(features.var(axis=0).sum()))
            spreads.append(np.full(features.shape[1], max(whole, _TINY)))
        spread = np.concatenate(spreads)
        return cls(np.concatenate(stages, axis=1) / spread, spread, k)

    def distances(self, stages: Sequence[Array]) -> Array:
        """Mean distance to the k nearest good images: float64 (n,), from 0 up."""
        rows = np.concatenate(stages, axis=1) / self.spread
        squared = (
            (rows**2).sum(axis=1)[:, None]
            + (self.features**2).sum(axis=1)[None]
            - 2 * rows @ self.features.T
        )
        nearest = np.sort(np.maximum(squared, 0), axis=1)[:, : min(self.k, len(self.features))]
        return np.asarray(np.sqrt(nearest).mean(axis=1), np.float64)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What is stored."""
        return {"features": self.features, "spread": self.spread, "k": np.array(self.k)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "NearestGood":
        """What was stored."""
        return cls(
            np.asarray(arrays["features"], np.float64),
            np.asarray(arrays["spread"], np.float64),
            int(arrays["k"]),
        )
