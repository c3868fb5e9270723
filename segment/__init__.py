"""Segmenters: configuration, fine-tuning, prediction."""

from typing import TYPE_CHECKING

from annotations.lazy import lazy_names

if TYPE_CHECKING:
    from inference.masks import SegmentPredictor
    from segment.config import JoinedConfig, SegmentConfig
    from segment.hybrid.config import HybridConfig
    from segment.opening import load_segmenter
    from segment.predict import MaskPredictor, load_mask_predictor
    from segment.train import train_segmenter

__all__ = [
    "HybridConfig",
    "JoinedConfig",
    "MaskPredictor",
    "SegmentConfig",
    "SegmentPredictor",
    "load_mask_predictor",
    "load_segmenter",
    "train_segmenter",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "HybridConfig": "segment.hybrid.config",
        "JoinedConfig": "segment.config",
        "MaskPredictor": "segment.predict",
        "SegmentConfig": "segment.config",
        "SegmentPredictor": "inference.masks",
        "load_mask_predictor": "segment.predict",
        "load_segmenter": "segment.opening",
        "train_segmenter": "segment.train",
    },
)
