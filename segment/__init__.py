"""The U-Net segmenter: configuration, fine-tuning, prediction."""

from segment.config import SegmentConfig
from segment.predict import MaskPredictor, load_mask_predictor
from segment.train import train_segmenter

__all__ = ["MaskPredictor", "SegmentConfig", "load_mask_predictor", "train_segmenter"]
