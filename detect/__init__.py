"""The YOLO detector: configuration, fine-tuning, prediction."""

from typing import TYPE_CHECKING

from annotations.lazy import lazy_names

if TYPE_CHECKING:
    from detect.config import DetectConfig
    from detect.predict import BoxPredictor, load_box_predictor
    from detect.train import train_detector

__all__ = ["BoxPredictor", "DetectConfig", "load_box_predictor", "train_detector"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BoxPredictor": "detect.predict",
        "DetectConfig": "detect.config",
        "load_box_predictor": "detect.predict",
        "train_detector": "detect.train",
    },
)
