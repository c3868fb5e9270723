"""Environment variables that the libraries below read when they are imported."""

import os
from pathlib import Path


def _caches() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def quiet_environment() -> None:
    """Keep the libraries below from talking to the network or to the user."""
    for name, value in (
        ("NO_ALBUMENTATIONS_UPDATE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "4"),
        ("HF_HUB_ETAG_TIMEOUT", "4"),
        ("TOKENIZERS_PARALLELISM", "false"),
        # As `training.weights.cache_folder`, which cannot be imported before torch may be.
        ("MPLCONFIGDIR", str(_caches() / "defectune" / "matplotlib")),
    ):
        os.environ.setdefault(name, value)
