"""Predicting with a trained YOLO detector."""

import copy
from pathlib import Path
from typing import Any

import torch

from annotations.run_files import TILES_FILE
from detect.config import DetectConfig
from detect.network import load_detector
from inference.boxes import BoxScorer
from inference.tiling import read_tiles
from inference.views import Views
from training import fold_folder, resolve_device, stored_config
from training.torch_network import TorchNetwork


class _Answer(torch.nn.Module):
    """ultralytics' network, batch normalization folded into its convolutions."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        # A copy, since folding cannot be undone, and the caller may go on with the network.
        self.network = copy.deepcopy(network).float().eval().fuse(verbose=False)
        for layer in self.network.modules():
            if hasattr(layer, "dynamic") and hasattr(layer, "export"):
                # Anchors follow every image's own sides, in a traced graph too.
                layer.dynamic, layer.export = True, True

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer = self.network(images)
        found: torch.Tensor = answer[0] if isinstance(answer, tuple | list) else answer
        return found


class BoxPredictor(BoxScorer):
    """A YOLO detector that looks at one image at a time."""

    def __init__(
        self,
        network: Any,
        *,
        image_size: int,
        max_detections: int,
        device: str,
        tiles: int = 1,
        views: Views = 1,
    ) -> None:
        """Take a trained network.

        Args:
            network: ultralytics' module, see `detect.network`.
            image_size: side in pixels that the network looks at.
            max_detections: boxes kept per image.
            device: as torch names it.
            tiles: along an image's longer side.
            views: copies of an image for test-time augmentation, turned and mirrored.
        """
        super().__init__(
            TorchNetwork(_Answer(network), torch.device(device)),
            image_size=image_size,
            max_detections=max_detections,
            tiles=tiles,
            views=views,
        )


def load_box_predictor(run: Path, fold: int, *, device: str = "auto") -> BoxPredictor:
    """Open one fold of a finished detector run.

    Raises:
        InputError: not a detector run, or that fold has no weights.
    """
    config = stored_config(run, DetectConfig)
    folder = fold_folder(run, fold)
    return BoxPredictor(
        load_detector(folder),
        image_size=config.image_size,
        max_detections=config.max_detections,
        device=str(resolve_device(device)),
        views=config.views,
        tiles=read_tiles(folder / TILES_FILE),
    )
