"""Predicting with a trained segmenter."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from annotations import InputError
from annotations.run_files import IMAGE_SCORE_FILE, SEGMENTER_WEIGHTS_FILE, TILES_FILE
from segment.config import SegmentConfig
from segment.data import resize_for_tiles, resize_image, to_tensor
from segment.looking import Look, SegmentPredictor
from segment.network import build_network
from segment.score_stack import ScoreStack, map_statistics, read_stack
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

TILES_AT_ONCE = 8


class MaskPredictor(SegmentPredictor):
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
        super().__init__(
            region_threshold,
            config.min_area_fraction if min_area_fraction is None else min_area_fraction,
        )
        self.stack = stack
        self._tiles = tiles
        self._network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._config = config
        self._device = device

    @torch.inference_mode()
    def probabilities(self, image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Class probabilities float32 (C + 1, h, w) at the size that the network looks at."""
        size = self._config.image_size
        if self._tiles == 1:
            return self._infer([resize_image(image_rgb, size)])[0]
        resized = resize_for_tiles(image_rgb, size, self._tiles)
        hw = (resized.shape[0], resized.shape[1])
        windows = tile_windows(hw, size)
        cut = [cut_tile(resized, window, size, reflect=True) for window in windows]
        parts: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(cut), TILES_AT_ONCE):
            parts += self._infer(cut[start : start + TILES_AT_ONCE])
        return join_tiles(parts, windows, hw)

    def _infer(self, squares: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        views = self._config.views
        total: npt.NDArray[np.float32] | None = None
        for number in range(views):
            seen = [np.ascontiguousarray(view_of(square, number)) for square in squares]
            batch = torch.stack([to_tensor(square) for square in seen])
            batch = batch.to(self._device, memory_format=torch.channels_last)
            answer = self._network(batch).float().softmax(dim=1).cpu().numpy()
            straight = np.stack([map_back(one, number) for one in answer])
            total = straight if total is None else total + straight
        return [] if total is None else list(total / np.float32(views))

    def look(self, image_rgb: npt.NDArray[np.uint8]) -> Look:
        """Probabilities at the network's size, and the score of the map at that size."""
        probabilities = self.probabilities(image_rgb)
        return Look(probabilities, self.image_score(np.asarray(1 - probabilities[0], np.float32)))

    def image_score(self, scores: npt.NDArray[np.float32]) -> float:
        """Of a map (H, W): by the stack, else its 99.9 % quantile, since the largest alone would
        let one pixel decide."""
        if self.stack is not None:
            return self.stack.score(map_statistics(scores))
        return float(np.clip(np.quantile(scores, 0.999), 0.0, 1.0))


def trained_weights(run: Path, fold: int) -> Path:
    """Where the weights of one fold stand.

    Raises:
        InputError: they are missing.
    """
    path = fold_folder(run, fold) / SEGMENTER_WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"The trained weights {path} are missing. Train this fold again.")
    return path


def load_segmenter(run: Path, fold: int, *, device: str = "auto") -> SegmentPredictor:
    """Open one fold of a finished segmenter run of any method, with its region threshold.

    Raises:
        InputError: not a segmenter run, or that fold has not finished.
    """
    if read_run_config(run)["config"].get("method") == "hybrid":
        from segment.hybrid.predict import load_hybrid_predictor

        return load_hybrid_predictor(run, fold, device=device)
    return load_mask_predictor(run, fold, device=device)


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
    )
