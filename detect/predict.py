"""Predicting with a trained YOLO detector."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from annotations import InputError, Prediction, Regions
from detect.config import DetectConfig
from detect.ultralytics_setup import import_yolo
from training import fold_folder, read_run_config, resolve_device

MIN_SCORE = 0.001


class BoxPredictor:
    """A YOLO checkpoint that looks at one image at a time."""

    def __init__(self, weights: Path, *, image_size: int, max_detections: int, device: str) -> None:
        """Open a checkpoint of our own training.

        Raises:
            InputError: there is no such file.
        """
        if not weights.is_file():
            raise InputError(f"The trained weights {weights} are missing. Train this fold again.")
        self._model: Any = import_yolo()(str(weights))
        self._options = {
            "imgsz": image_size,
            "conf": MIN_SCORE,
            "iou": 0.6,
            "max_det": max_detections,
            "device": device,
            "verbose": False,
        }

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Boxes of one image, uint8 (H, W, 3); the image's score is its best box's, 0 without."""
        image_hw = (int(image_rgb.shape[0]), int(image_rgb.shape[1]))
        image_bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
        result = self._model.predict(image_bgr, **self._options)[0]
        boxes = result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4)
        height, width = image_hw
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        scores = result.boxes.conf.cpu().numpy().astype(np.float32)
        regions = Regions(
            boxes_xyxy=boxes,
            masks=None,
            labels=result.boxes.cls.cpu().numpy().astype(np.int64),
            scores=scores,
            image_hw=image_hw,
        )
        best = float(scores.max()) if len(scores) else 0.0
        return Prediction(image_id=image_id, image_score=best, regions=regions)


def load_box_predictor(run: Path, fold: int, *, device: str = "auto") -> BoxPredictor:
    """Open one fold of a finished detector run.

    Raises:
        InputError: not a detector run, or that fold has no weights.
    """
    document = read_run_config(run)
    config = DetectConfig(**document["config"])
    return BoxPredictor(
        fold_folder(run, fold) / "best.pt",
        image_size=config.image_size,
        max_detections=config.max_detections,
        device=str(resolve_device(device)),
    )
