"""Opening a trained segmenter of any method."""

from pathlib import Path

from inference.masks import SegmentPredictor
from segment.hybrid.predict import load_hybrid_predictor
from segment.joined import load_joined
from segment.predict import load_mask_predictor
from training import read_run_config


def load_segmenter(run: Path, fold: int, *, device: str = "auto") -> SegmentPredictor:
    """Open one fold of a finished segmenter run of any method, with its region threshold.

    Raises:
        InputError: not a segmenter run, or that fold has not finished.
    """
    method = read_run_config(run)["config"].get("method")
    if method == "joined":
        return load_joined(run, fold, device=device)
    if method == "hybrid":
        return load_hybrid_predictor(run, fold, device=device)
    return load_mask_predictor(run, fold, device=device)
