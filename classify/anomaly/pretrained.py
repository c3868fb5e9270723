"""Distance to the good images in the features of a frozen, pretrained network.

Rippel, Mertens, Merhof (ICPR 2020) for the Gaussians, Bergman, Cohen, Hoshen (arXiv:2002.10445)
for the neighbors; see `classify.anomaly.mahalanobis` and `inference.nearest`.
"""

from collections.abc import Sequence

import numpy as np
import torch

from annotations import InputError, Sample
from annotations.images import read_image_rgb
from classify.anomaly.mahalanobis import Array, Distances, Gaussians, held_out_distances
from classify.anomaly.method import AnomalyMethod
from classify.config import DistanceConfig, PretrainedConfig
from classify.features import FeatureNetwork
from classify.method import Calibration, FoldData
from inference.distances import DistanceScorer
from inference.nearest import NearestGood
from training import Predictor, Reporter
from training.array_files import Arrays


def distance_predictor(network: FeatureNetwork, model: Distances) -> DistanceScorer:
    """Scores one image by its distance to the good ones."""
    mean, deviation = network.backbone.normalization
    return DistanceScorer(
        network.pooled_graph(),
        model,
        image_size=network.image_size,
        mean=mean,
        deviation=deviation,
    )


def fit_distances(stages: Sequence[Array], config: DistanceConfig) -> Distances:
    """What good images look like, by the distance that the settings name."""
    if config.distance == "knn":
        return NearestGood.fit(stages, k=config.neighbors)
    return Gaussians.fit(stages)


def open_distances(arrays: Arrays, config: DistanceConfig) -> Distances:
    """What `Distances.arrays` gave."""
    if config.distance == "knn":
        return NearestGood.from_arrays(arrays)
    return Gaussians.from_arrays(arrays)


def features_of(
    network: FeatureNetwork,
    samples: Sequence[Sample],
    *,
    batch_size: int,
    reporter: Reporter,
    what: str,
) -> list[Array]:
    """Pooled features of samples, one float64 (n, channels) a stage."""
    advance = reporter.track(what, len(samples))
    batches: list[list[Array]] = []
    for start in range(0, len(samples), batch_size):
        images: list[torch.Tensor] = []
        for sample in samples[start : start + batch_size]:
            images.append(network.prepare(read_image_rgb(sample.image_path)))
            advance("")
        batches.append(network(images))
    return [np.concatenate(column) for column in zip(*batches, strict=True)]


class Pretrained(AnomalyMethod[PretrainedConfig]):
    """Frozen features, and a distance."""

    name = "pretrained"
    title = "pretrained features"

    def __init__(self, config: PretrainedConfig, device: torch.device) -> None:
        """Load the network."""
        super().__init__(config, device)
        self.network = FeatureNetwork.of(config, device)
        self._features: list[Array] = []

    def words(self) -> str:
        """The name of the distance, for tables."""
        return {"mahalanobis": "Mahalanobis", "knn": "k nearest neighbors"}[self.config.distance]

    def fit(self, data: FoldData) -> Arrays:
        """Fit to all good images; the threshold comes from fits that leave some out."""
        good = _all_good(data)
        self._features = features_of(
            self.network,
            good,
            batch_size=self.config.batch_size,
            reporter=data.job.reporter,
            what=f"{data.name}: features of good images",
        )
        return fit_distances(self._features, self.config).arrays()

    def calibrate(self, data: FoldData, predictor: Predictor) -> Calibration:
        """Hold every good image out once, in turns, since nothing but a fit depends on it."""
        del predictor
        good = _all_good(data)
        distances = held_out_distances(
            self._features,
            [sample.group for sample in good],
            parts=min(self.config.parts, len({sample.group for sample in good})),
            seed=self.config.seed,
            fit=lambda rows: fit_distances(rows, self.config),
        )
        words = "good training images, each held out once"
        thresholds = self.thresholds(distances.tolist(), words)
        ids = [sample.image_id for sample in good]
        return Calibration(thresholds, dict(zip(ids, distances.tolist(), strict=True)))

    def open(self, learned: Arrays) -> Predictor:
        """Score by distance."""
        return distance_predictor(self.network, open_distances(learned, self.config))


def _all_good(data: FoldData) -> list[Sample]:
    good = sorted([*data.good, *data.held_out], key=lambda s: s.image_id)
    if len(good) < 2:
        raise InputError(
            f"Fold {data.job.fold} of {data.job.dataset.root} has {len(good)} good training "
            "images; at least 2 are needed. A few dozen are usual."
        )
    return good
