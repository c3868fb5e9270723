"""Gaussians of the good images in the feature space of a pretrained network.

Rippel, Mertens, Merhof: Modeling the Distribution of Normal Data in Pre-Trained Deep Features
for Anomaly Detection (ICPR 2020), section III: a Gaussian a stage with shrunk covariance, and the
sum of the Mahalanobis distances over the stages (`inference.distances`).
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.covariance import ledoit_wolf

from annotations import InputError
from inference.distances import Array, Distances, GaussianDistances

__all__ = ["Array", "Distances", "Gaussians", "held_out_distances"]


class Gaussians(GaussianDistances):
    """One Gaussian a stage, fitted to good images."""

    @classmethod
    def fit(cls, stages: Sequence[Array]) -> "Gaussians":
        """Fit to good images, one (n, channels) a stage.

        Raises:
            InputError: fewer than two images, of which no covariance can be had.
        """
        if len(stages[0]) < 2:
            raise InputError(
                f"Learning what good looks like needs at least 2 good images, and there are "
                f"{len(stages[0])}. A few dozen are usual."
            )
        means, precisions = [], []
        for features in stages:
            covariance, _ = ledoit_wolf(features)
            # A channel that never varies would make the covariance singular.
            ridge = 1e-9 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
            means.append(features.mean(axis=0))
            precisions.append(np.linalg.inv(covariance + ridge * np.eye(len(covariance))))
        return cls(tuple(means), tuple(precisions))


def held_out_distances(
    stages: Sequence[Array],
    groups: Sequence[str],
    *,
    parts: int,
    seed: int,
    fit: "Callable[[Sequence[Array]], Distances] | None" = None,
) -> Array:
    """Distance of every good image to a fit that never saw it nor any image of its group.

    Args:
        stages: (n, channels) a stage.
        groups: n group names; a group is held out as a whole.
        parts: number of turns, at most the number of groups.
        seed: of the order in which groups are dealt to the turns.
        fit: learns from some of the images; None fits Gaussians.

    Returns:
        float64 (n,).

    Raises:
        InputError: fewer than two groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        raise InputError(
            "Choosing a threshold needs good training images of at least 2 different parts, and "
            f"there is {len(names)}."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    turn_of = {names[index]: place % parts for place, index in enumerate(order.tolist())}
    turns = np.array([turn_of[group] for group in groups])
    distances = np.zeros(len(groups))
    for turn in np.unique(turns):
        out = turns == turn
        model = (fit or Gaussians.fit)([features[~out] for features in stages])
        distances[out] = model.distances([features[out] for features in stages])
    return distances
