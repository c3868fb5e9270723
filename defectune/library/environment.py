"""Environment variables that the libraries below read when they are imported."""

import os
import sys
from pathlib import Path
from typing import Final

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
"""How the libraries below are told with how many threads to compute, before they are imported."""


def quiet_environment() -> None:
    """Keep the libraries below from talking to the network or to the user."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for name, value in (
        ("NO_ALBUMENTATIONS_UPDATE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "4"),
        ("HF_HUB_ETAG_TIMEOUT", "4"),
        ("TOKENIZERS_PARALLELISM", "false"),
        # As `training.weights.cache_folder`, which cannot be imported before torch may be.
        ("MPLCONFIGDIR", str(caches / "defectune" / "matplotlib")),
    ):
        os.environ.setdefault(name, value)


def use_threads(threads: int) -> None:
    """Let OpenCV, and torch where it is imported already, compute with so many threads.

    A torch that is imported later takes OMP_NUM_THREADS, which the engines set; importing it here
    would take seconds in every worker.
    """
    import cv2

    cv2.setNumThreads(threads)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
