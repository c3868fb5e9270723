"""Seeds and devices."""

import random

import numpy as np
import torch

from annotations import UsageError


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask torch for the same result twice."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002 - libraries below us use the global one
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda:0`, `mps` or a GPU's number into a device that is there.

    Raises:
        UsageError: an unknown name, or a device that this machine lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdecimal() else name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r}; use auto, cpu, or cuda:0.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"The device {name!r} is not there: this machine has {torch.cuda.device_count()} "
            "GPUs that torch can use. Use --device cpu; `defectune doctor` says more."
        )
    return device
