"""A memory of good patches, and the distance of each patch of an image to it.

Roth et al.: Toward Total Recall in Industrial Anomaly Detection (PatchCore, CVPR 2022),
section 3: features of two middle stages, averaged over 3×3 places and joined; a coreset of them by
greedy k-center selection in a random projection (Johnson and Lindenstrauss 1984); the largest
patch distance scores the image (without the paper's reweighting), and distances, blurred with
sigma 4 at the network's size, are the map.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from annotations import InputError
from inference.patches import PatchDistances, Patches

PROJECTED = 64
"""Dimensions of the random projection."""
MOST_CANDIDATES = 60_000
"""Patches that the coreset is chosen from; of more, so many are drawn."""


class PatchMemory(PatchDistances):
    """Good patches, chosen as a coreset."""

    @classmethod
    def fit(
        cls,
        patches: Patches,
        *,
        size: int,
        seed: int,
        progress: Callable[[int], None] | None = None,
    ) -> "PatchMemory":
        """Choose a coreset.

        Args:
            patches: float32 (n, channels), of good images.
            size: patches to keep, at most n.
            seed: of the candidates, the projection and the first center.
            progress: called with the number of centers, once each.

        Raises:
            InputError: no patch.
        """
        if not len(patches):
            raise InputError("A memory needs at least one good image.")
        rng = np.random.default_rng(seed)
        if len(patches) > MOST_CANDIDATES:
            chosen = np.sort(rng.choice(len(patches), MOST_CANDIDATES, replace=False))
            patches = patches[chosen]
        projection = rng.normal(size=(patches.shape[1], PROJECTED)).astype(np.float32)
        kept = greedy_centers(patches @ projection, min(size, len(patches)), rng, progress)
        return cls(np.ascontiguousarray(patches[kept]))


def greedy_centers(
    points: npt.NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] | None = None,
) -> npt.NDArray[np.intp]:
    """Centers of the greedy k-center rule (Gonzalez 1985): each the farthest from those before.

    Args:
        points: float32 (n, d).
        count: centers, from 1 to n.
        rng: chooses the first.
        progress: called with the number of centers so far.

    Returns:
        Their places, in the order of choice; fewer than `count` where all else lies on a center.
    """
    lengths = (points**2).sum(axis=1)
    chosen = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf, np.float32)
    while True:
        last = points[chosen[-1]]
        squared = np.maximum(lengths + float(last @ last) - 2 * (points @ last), 0)
        nearest = np.minimum(nearest, squared)
        nearest[chosen[-1]] = 0
        if progress is not None:
            progress(len(chosen))
        farthest = int(np.argmax(nearest))
        if len(chosen) >= count or nearest[farthest] <= 0:
            return np.array(chosen, np.intp)
        chosen.append(farthest)


def patches_of(stages: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join stages place by place.

    Args:
        stages: float (n, channels, h, w) each, the largest first.

    Returns:
        float (n, channels of all, h, w), h and w being those of the first stage.
    """
    high, wide = (int(side) for side in stages[0].shape[2:])
    pooled = [torch.nn.functional.avg_pool2d(stage, 3, stride=1, padding=1) for stage in stages]
    same = [
        stage
        if stage.shape[2:] == (high, wide)
        else torch.nn.functional.interpolate(
            stage, size=(high, wide), mode="bilinear", align_corners=False
        )
        for stage in pooled
    ]
    return torch.cat(same, dim=1)
