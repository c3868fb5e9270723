"""A pretrained network that adapts to good images, and the distance to them.

Reiss, Cohen, Bergman, Hoshen: PANDA: Adapting Pretrained Features for Anomaly Detection and
Segmentation (CVPR 2021), section 3: training pulls the features of good images toward their
center, which stays where the pretrained network puts it; batch normalization keeps its statistics.
Against collapse, where all images become alike, stand two things. Parameters are anchored to the
pretrained ones by their squared distance (Li, Grandvalet, Davoine: Explicit Inductive Bias for
Transfer Learning, ICML 2018), in place of PANDA's elastic weight consolidation, which needs
ImageNet's images. And the epoch is kept that best tells held-out good images from themselves with
a defect drawn on, the pretrained network being a candidate; no real defect is looked at.
"""

import copy
from collections.abc import Sequence
from typing import Final

import lightning as L  # noqa: N812 - its own convention
import numpy as np
import torch

from classify.anomaly.mahalanobis import Array
from classify.anomaly.method import AnomalyMethod
from classify.anomaly.pretrained import distance_predictor, fit_distances, open_distances
from classify.config import FineTunedConfig
from classify.features import FeatureNetwork
from classify.loop import ImageRgb, Item, load_small, train_module
from classify.method import (
    FoldData,
    load_arrays_into,
    need_good,
    state_arrays,
)
from training import Predictor
from training.array_files import Arrays
from training.drawn_defects import draw_defect

_NETWORK: Final = "network/"
_MOST_VALIDATION: Final = 48


class FineTuned(AnomalyMethod[FineTunedConfig]):
    """Features adapted to good images, and a distance."""

    name = "finetuned"
    title = "fine-tuned on good images"

    def __init__(self, config: FineTunedConfig, device: torch.device) -> None:
        """Load the network."""
        super().__init__(config, device)
        self.network = FeatureNetwork.of(config, device)

    def fit(self, data: FoldData) -> Arrays:
        """Adapt the network, then fit the distance to the good images that it learned from."""
        need_good(data)
        config = self.config
        network = FeatureNetwork.of(config, self.device)
        train_images = [
            network.normalize(i) for i in load_small(data.good, config.image_size, data)
        ]
        held_out = load_small(data.held_out, config.image_size, data)[:_MOST_VALIDATION]
        drawn = [_with_defect(image, [config.seed, 6, n]) for n, image in enumerate(held_out)]
        validation = [(network.normalize(i), 0) for i in held_out]
        validation += [(network.normalize(i), 1) for i in drawn]
        module = _Compactness(network, config, train_images)
        before = module.separation([image for image, _ in validation], len(held_out))
        start = copy.deepcopy(module.network.state_dict())
        train_module(
            module,
            lambda _epoch, number: (train_images[number], 0),
            lambda _epoch: range(len(train_images)),
            data,
            config,
            what="fine-tuning",
            epochs=config.epochs,
            validation=validation,
            monitor="separation" if config.keep == "best" else None,
            mode="max",
            shown="tells drawn defects from good by",
        )
        network.backbone.eval().to(self.device)
        after = module.separation([image for image, _ in validation], len(held_out))
        if config.keep == "best" and config.epochs:
            data.job.reporter.say(
                f"Drawn defects stand {before:.2f} deviations from good ones before fine-tuning, "
                f"{after:.2f} in its best epoch"
                + ("." if after > before else "; the pretrained network is kept.")
            )
            if after <= before:
                network.backbone.load_state_dict(start)
        learned = fit_distances(_features(network, train_images, config.batch_size), config)
        return {**learned.arrays(), **state_arrays(network.backbone, _NETWORK)}

    def open(self, learned: Arrays) -> Predictor:
        """Score by distance, through the adapted network."""
        network = FeatureNetwork.of(self.config, self.device, random=True)
        load_arrays_into(network.backbone, learned, _NETWORK)
        network.backbone.eval().to(self.device)
        return distance_predictor(network, open_distances(learned, self.config))


def _features(
    network: FeatureNetwork, images: Sequence[torch.Tensor], batch_size: int
) -> list[Array]:
    batches = [
        network(list(images[start : start + batch_size]))
        for start in range(0, len(images), batch_size)
    ]
    return [np.concatenate(column) for column in zip(*batches, strict=True)]


def _with_defect(image_rgb: ImageRgb, seed: list[int]) -> ImageRgb:
    rng = np.random.default_rng(seed)
    everywhere = np.ones(image_rgb.shape[:2], bool)
    drawn, _ = draw_defect(image_rgb.astype(np.float32), everywhere, rng)
    return np.clip(drawn, 0, 255).astype(np.uint8)


class _Compactness(L.LightningModule):
    """Pulls features to their center, and parameters to where they began."""

    def __init__(
        self,
        features: FeatureNetwork,
        config: FineTunedConfig,
        train_images: Sequence[torch.Tensor],
    ) -> None:
        super().__init__()
        self.network = features.backbone.requires_grad_(True)
        self._features_of = features
        self._config = config
        self._train_images = train_images
        stages = _features(features, train_images, config.batch_size)
        self._centers = [torch.tensor(s.mean(axis=0), dtype=torch.float32) for s in stages]
        # One number a stage, so that no stage counts for its scale alone.
        self._spreads = [max(float(s.var(axis=0).sum()), 1e-12) for s in stages]
        self._start = {n: p.detach().clone() for n, p in self.network.named_parameters()}
        self._seen: list[torch.Tensor] = []
        self._kinds: list[torch.Tensor] = []

    def training_step(self, batch: Item, batch_idx: int) -> torch.Tensor:
        del batch_idx
        # Batch normalization keeps ImageNet's statistics.
        self.network.eval()
        stages = self._features_of.pool(self.network(batch[0]))
        away = [
            ((stage - center.to(stage)) ** 2).sum(dim=1).mean() / spread
            for stage, center, spread in zip(stages, self._centers, self._spreads, strict=True)
        ]
        compactness = torch.stack(away).mean()
        loss = compactness
        if self._config.anchor:
            moved = [
                ((p - self._start[n].to(p)) ** 2).sum() for n, p in self.network.named_parameters()
            ]
            loss = loss + self._config.anchor * torch.stack(moved).sum()
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch[0]))
        self.log("compactness", compactness, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        del batch_idx
        images, kinds = batch
        self._seen.append(images.cpu())
        self._kinds.append(torch.as_tensor(kinds).cpu())

    def on_validation_epoch_end(self) -> None:
        images = list(torch.cat(self._seen))
        n_good = int((torch.cat(self._kinds) == 0).sum())
        self.log("separation", self.separation(images, n_good))
        self._seen, self._kinds = [], []

    def separation(self, images: Sequence[torch.Tensor], n_good: int) -> float:
        """How many deviations drawn defects stand from good images, by the final score."""
        self.network.eval()
        size = self._config.batch_size
        model = fit_distances(_features(self._features_of, self._train_images, size), self._config)
        distances = model.distances(_features(self._features_of, images, size))
        good, drawn = distances[:n_good], distances[n_good:]
        spread = float(np.sqrt((good.var() + drawn.var()) / 2))
        return float((drawn.mean() - good.mean()) / max(spread, 1e-12))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self._config.learning_rate)
