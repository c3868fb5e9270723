"""Predicting with a trained segmenter."""

from pathlib import Path

import torch

from annotations.run_files import IMAGE_SCORE_FILE, TILES_FILE
from inference.masks import MaskScorer
from inference.score_stack import ScoreStack, read_stack
from inference.tiling import read_tiles
from segment.config import SegmentConfig
from segment.network import build_network
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


class _Probabilities(torch.nn.Module):
    """Logits as class probabilities."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(batch)
        return logits.float().softmax(dim=1)


class MaskPredictor(MaskScorer):
    """A network that looks at one image at a time and answers at the image's own size."""

    def __init__(
        self,
        network: torch.nn.Module,
        config: SegmentConfig,
        *,
        device: torch.device,
        region_threshold: float = 0.5,
        min_area_fraction: float | None = None,
        tiles: int = 1,
        stack: ScoreStack | None = None,
    ) -> None:
        """Take a trained network; `region_threshold` cuts its probabilities into regions, of
        which those below `min_area_fraction` of the image are left out. With more than one of
        `tiles` along its longer side, an image is looked at through overlapping windows. `stack`
        weighs the map's statistics for the image's score; without it a quantile is taken."""
        least = config.min_area_fraction if min_area_fraction is None else min_area_fraction
        super().__init__(
            TorchNetwork(_Probabilities(network), device, channels_last=True),
            image_size=config.image_size,
            views=config.views,
            tiles=tiles,
            region_threshold=region_threshold,
            min_area_fraction=least,
            stack=stack,
        )


def load_mask_predictor(run: Path, fold: int, *, device: str = "auto") -> MaskPredictor:
    """Open one fold of a finished segmenter run, with its region threshold.

    Raises:
        InputError: not a segmenter run, or that fold has not finished.
    """
    config = stored_config(run, SegmentConfig)
    n_classes = len(read_run_config(run)["class_names"])
    path = trained_weights(run, fold)
    network = build_network(config, n_classes, pretrained=False)
    load_into(network, path)
    thresholds = run_thresholds(run, fold)
    return MaskPredictor(
        network,
        config,
        device=resolve_device(device),
        region_threshold=thresholds.region_threshold,
        min_area_fraction=thresholds.min_area_fraction,
        tiles=read_tiles(fold_folder(run, fold) / TILES_FILE),
        stack=read_stack(fold_folder(run, fold) / IMAGE_SCORE_FILE),
    ).group_by(thresholds)
