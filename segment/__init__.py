"""Segmenters: configuration, fine-tuning, prediction."""

from annotations.scoring.masks import SegmentPredictor
from segment.config import SegmentConfig
from segment.hybrid.config import HybridConfig
from segment.predict import MaskPredictor, load_mask_predictor, load_segmenter
from segment.train import train_segmenter

CONFIGS = {"unet": SegmentConfig, "hybrid": HybridConfig}
"""Settings by method."""

__all__ = [
    "CONFIGS",
    "HybridConfig",
    "MaskPredictor",
    "SegmentConfig",
    "SegmentPredictor",
    "load_mask_predictor",
    "load_segmenter",
    "train_segmenter",
]
