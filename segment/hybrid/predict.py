"""Predicting with a trained hybrid segmenter."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from annotations.run_files import TILES_FILE
from segment.data import resize_for_tiles
from segment.hybrid.config import HybridConfig
from segment.hybrid.features import FrozenFeatures, fitted_hw, resize_to
from segment.hybrid.network import SCALE, Head
from segment.looking import Look, SegmentPredictor
from training import (
    fold_folder,
    load_into,
    read_run_config,
    resolve_device,
    run_thresholds,
    stored_config,
)
from training.tiling import cut_tile, join_tiles, read_tiles, tile_windows
from training.views import map_back, view_of

VIEWS_AT_ONCE: Final = 2


class HybridNetwork(torch.nn.Module):
    """The frozen network and the head, stored together: a run needs nothing else."""

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
        self.features = FrozenFeatures(config.encoder, weights=weights)
        self.head = Head(
            self.features.strides,
            self.features.channels,
            n_classes=n_classes,
            width=config.width,
            map_stride=config.map_stride,
        )


class HybridPredictor(SegmentPredictor):
    """Looks at one image at a time and answers at the image's own size."""

    def __init__(
        self,
        network: HybridNetwork,
        config: HybridConfig,
        *,
        device: torch.device,
        region_threshold: float = 0.5,
        min_area_fraction: float | None = None,
        tiles: int = 1,
    ) -> None:
        """Take a trained network; see `segment.predict.MaskPredictor`."""
        super().__init__(
            region_threshold,
            config.min_area_fraction if min_area_fraction is None else min_area_fraction,
        )
        self._network = network.eval().to(device)
        self._config, self._tiles = config, tiles

    def look(self, image_rgb: npt.NDArray[np.uint8]) -> Look:
        """Probabilities at the map's stride; of tiles, the image's score is the largest one."""
        size = self._config.image_size
        if self._tiles == 1:
            hw = fitted_hw((image_rgb.shape[0], image_rgb.shape[1]), size)
            return Look(*self._views(resize_to(image_rgb, hw)))
        resized = resize_for_tiles(image_rgb, size, self._tiles)
        hw = (resized.shape[0], resized.shape[1])
        windows = tile_windows(hw, size)
        parts, scores = [], []
        for window in windows:
            maps, score = self._views(cut_tile(resized, window, size, reflect=True))
            scores.append(score)
            grown = functional.interpolate(torch.from_numpy(maps)[None], size=(size, size))[0]
            parts.append(grown.numpy())
        return Look(join_tiles(parts, windows, hw), max(scores))

    @torch.inference_mode()
    def _views(self, image_rgb: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], float]:
        """Mean over the views of class probabilities float32 (C + 1, h, w), and of the score."""
        total: npt.NDArray[np.float32] | None = None
        logits = 0.0
        for number in range(self._config.views):
            view = np.ascontiguousarray(view_of(image_rgb, number))
            head = self._network.head
            maps, image_logit = head(head.standardise(self._network.features.of([view])))
            defect = (SCALE * maps[0, 0]).sigmoid()
            types = maps[0, 1:].softmax(dim=0) * defect
            answer = torch.cat((1 - defect[None], types)).cpu().numpy()
            straight = map_back(answer, number)
            total = straight if total is None else total + straight
            logits += float(image_logit[0])
        if total is None:
            raise ValueError("An image has to be looked at once.")
        mean = SCALE * logits / self._config.views
        score = float(torch.tensor(mean, dtype=torch.float64).sigmoid())
        return np.asarray(total / np.float32(self._config.views), np.float32), score


def load_hybrid_predictor(run: Path, fold: int, *, device: str = "auto") -> HybridPredictor:
    """Open one fold of a finished run of a hybrid segmenter, with its region threshold.

    Raises:
        InputError: not such a run, or that fold has not finished.
    """
    from segment.predict import trained_weights

    config = stored_config(run, HybridConfig)
    n_classes = len(read_run_config(run)["class_names"])
    path = trained_weights(run, fold)
    network = HybridNetwork(config, n_classes, weights="none")
    load_into(network, path)
    thresholds = run_thresholds(run, fold)
    return HybridPredictor(
        network,
        config,
        device=resolve_device(device),
        region_threshold=thresholds.region_threshold,
        min_area_fraction=thresholds.min_area_fraction,
        tiles=read_tiles(fold_folder(run, fold) / TILES_FILE),
    )
