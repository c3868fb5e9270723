"""Opening a trained segmenter of any method."""

from pathlib import Path

from inference.masks import SegmentPredictor
from segment.joined import load_joined, load_single
from training import read_run_config


def load_segmenter(run: Path, fold: int, *, device: str = "auto") -> SegmentPredictor:
    """Open one fold of a finished segmenter run of any method, with its region threshold.

    Raises:
        InputError: not a segmenter run, or that fold has not finished.
    """
    joined = read_run_config(run)["config"].get("method") == "joined"
    return (load_joined if joined else load_single)(run, fold, device=device)
