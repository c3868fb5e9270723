"""The YOLO detector: configuration, fine-tuning, prediction."""

from detect.config import DetectConfig
from detect.predict import BoxPredictor, load_box_predictor
from detect.train import train_detector

__all__ = ["BoxPredictor", "DetectConfig", "load_box_predictor", "train_detector"]
