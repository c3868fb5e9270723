"""Predicting with a trained hybrid segmenter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from annotations.run_files import TILES_FILE
from inference.base import Batch
from inference.masks import FittedMaskScorer
from inference.tiling import read_noted, read_tiles
from segment.hybrid.cache import FeatureCache
from segment.hybrid.config import HybridConfig
from segment.hybrid.features import FrozenFeatures
from segment.hybrid.image_probe import PROBE_FILE, ImageProbe, read_probe
from segment.hybrid.network import JOINED_FROM, SCALE, Heads
from segment.hybrid.shape import SCORE_RULE, resolved
from segment.trained import trained_weights
from training import (
    fold_folder,
    load_into,
    read_run_config,
    resolve_device,
    run_thresholds,
    stored_config,
)
from training.torch_network import TorchNetwork


class HybridNetwork(torch.nn.Module):
    """The frozen network and its heads, stored together.

    Attributes:
        probe: of the image as a whole, where one is of use; it stands in a file of its own.
        score_rule: 2 takes the mean of the heads' highest places, which in expectation is what one
            head says of an image that it was not trained on, and thresholds come from such scores;
            1 takes the highest place of their mean map, which is lower, as runs before 0.3 do.
    """

    def __init__(self, config: HybridConfig, n_classes: int, *, weights: str) -> None:
        """Make both.

        Args:
            config: settings.
            n_classes: types of defects.
            weights: of the frozen network: `auto`, `none` or a file.

        Raises:
            UsageError, WeightsNotFoundError: see `FrozenFeatures`.
        """
        super().__init__()
        self.features = FrozenFeatures(
            config.encoder, weights=weights, finest=min(JOINED_FROM, config.stride)
        )
        self.probe: ImageProbe | None = None
        self.score_rule = SCORE_RULE
        self.heads = Heads(
            self.features.strides,
            self.features.channels,
            n_classes=n_classes,
            width=config.width,
            map_stride=config.stride,
            heads=config.heads,
        )


RETIRED_BUFFERS: Final = ("heads.memory", "heads.distance_mean", "heads.distance_deviation")
"""That runs of 0.1 hold, empty."""


class _Answer(torch.nn.Module):
    """From normalized images (1, 3, h, w) to probabilities (1, C + 1, h', w') and a logit (1,)."""

    def __init__(self, network: HybridNetwork, only: Sequence[int] | None) -> None:
        super().__init__()
        self.network, self._only = network, only

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.of_levels(self.network.features.levels(batch))

    def of_levels(self, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        heads = self.network.heads
        standardized = heads.standardize(levels)
        each, logits = heads.answers(standardized, self._only)
        maps = each.mean(dim=0)
        defect = (SCALE * maps[:, :1]).sigmoid()
        types = maps[:, 1:].softmax(dim=1) * defect
        # The image's head sees what no single place shows, the map's highest place what the head
        # overlooks: on magnetic tile their mean parts images better than either.
        highest = (each[:, :, 0] if self.network.score_rule > 1 else maps[None, :, 0]).amax((2, 3))
        score = SCALE * (logits.mean(dim=0) + highest.mean(dim=0)) / 2
        # A probe was fitted to images that some heads were not: it is of use to all of them alone.
        if self.network.probe is not None and self._only is None:
            score = self.network.probe(score, standardized)
        return torch.cat((1 - defect, types), dim=1), score


class _KeptFeatures:
    """Answers from features on disk where they are there."""

    def __init__(self, answer: _Answer, cache: FeatureCache, device: torch.device) -> None:
        self._answer, self._cache, self._device = answer.eval().to(device), cache, device

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Sequence[npt.NDArray[np.float32]]:
        hw = (batch.shape[2], batch.shape[3])
        kept = [self._cache.read(self._cache.path(planes), hw) for planes in batch]
        found = [levels for levels in kept if levels is not None]
        if len(found) < len(batch):
            answer = self._answer(torch.from_numpy(batch).to(self._device))
        else:
            columns = [torch.stack(level).to(self._device) for level in zip(*found, strict=True)]
            answer = self._answer.of_levels(columns)
        return [np.asarray(one.float().cpu().numpy(), np.float32) for one in answer]


class HybridPredictor(FittedMaskScorer):
    """Looks at one image at a time and answers at the image's own size.

    Attributes:
        trained: the network with all its heads.
    """

    def __init__(
        self,
        network: HybridNetwork,
        config: HybridConfig,
        *,
        device: torch.device,
        region_threshold: float = 0.5,
        min_area_fraction: float | None = None,
        tiles: int = 1,
        only: Sequence[int] | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        """Take a trained network; see `segment.predict.MaskPredictor`. `only` some heads answer,
        by number; features are read from `cache` where they are there."""
        self.trained = network
        mean, deviation = network.features.backbone.normalization
        least = config.min_area_fraction if min_area_fraction is None else min_area_fraction
        answer = _Answer(network, only)
        super().__init__(
            TorchNetwork(answer, device) if cache is None else _KeptFeatures(answer, cache, device),
            image_size=config.image_size,
            views=config.views,
            tiles=tiles,
            region_threshold=region_threshold,
            min_area_fraction=least,
            mean=mean,
            deviation=deviation,
        )


def load_hybrid_predictor(run: Path, fold: int, *, device: str = "auto") -> HybridPredictor:
    """Open one fold of a finished run of a hybrid segmenter, with its region threshold.

    Raises:
        InputError: not such a run, or that fold has not finished.
    """
    folder = fold_folder(run, fold)
    config = resolved(stored_config(run, HybridConfig), folder / TILES_FILE)
    n_classes = len(read_run_config(run)["class_names"])
    path = trained_weights(run, fold)
    network = HybridNetwork(config, n_classes, weights="none")
    load_into(network, path, without=RETIRED_BUFFERS)
    network.probe = read_probe(folder / PROBE_FILE)
    network.score_rule = read_noted(folder / TILES_FILE, "score_rule", 1, most=SCORE_RULE)
    thresholds = run_thresholds(run, fold)
    return HybridPredictor(
        network,
        config,
        device=resolve_device(device),
        region_threshold=thresholds.region_threshold,
        min_area_fraction=thresholds.min_area_fraction,
        tiles=read_tiles(folder / TILES_FILE),
    ).group_by(thresholds)
