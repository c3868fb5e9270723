"""Seeds and devices."""

import ctypes
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from annotations import UsageError
from annotations.errors import shortened

KINDS: Final = ("cpu", "cuda", "mps")


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask torch for the same result twice."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002 - libraries below us use the global one
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of giving it back to the system.

    Training on a CPU frees and asks again for the same large tensors in every step; the system
    clears each page anew, which took two thirds of a step where it was measured. Elsewhere than
    under glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # as malloc.h names them
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, (1 << 31) - 1)


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda:0`, `mps` or a GPU's number into a device that is there.

    Of a list such as `0,1` the first one counts here; see `device_list`.

    Raises:
        UsageError: an unknown name, or a device that this machine lacks.
    """
    if "," in name:
        return device_list(name)[0]
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdecimal() else name)
    except (RuntimeError, ValueError) as error:
        raise _unknown_device(name) from error
    # torch knows kinds that compute nothing (`meta`), or that nothing here was tried on.
    if device.type not in KINDS or (device.type == "mps" and not torch.mps.is_available()):
        raise _unknown_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"The device {name!r} is not there: this machine has {torch.cuda.device_count()} "
            "GPUs that torch can use. Use --device cpu; `defectune doctor` says more."
        )
    return device


def _unknown_device(name: str) -> UsageError:
    return UsageError(f"Unknown device {shortened(name)!r}; use auto, cpu, or cuda:0.")


def device_list(name: str) -> list[torch.device]:
    """Turn `--device` into all devices to train on: `0,1` are two GPUs, `cpu,cpu` two processes.

    Raises:
        UsageError: an unknown or missing device, the same GPU twice, or GPUs beside CPUs.
    """
    devices = [resolve_device(part.strip()) for part in name.split(",")]
    if len({device.type for device in devices}) > 1:
        raise UsageError(f"The devices {name!r} are of different kinds; list GPUs or CPUs.")
    indices = [device.index for device in devices if device.type == "cuda"]
    if len(set(indices)) != len(indices):
        raise UsageError(f"The devices {name!r} name one GPU twice.")
    return devices


def fitting_batch_size(step: Callable[[int], None], batch_size: int) -> int | None:
    """The largest halving of a batch size that fits into memory.

    Args:
        step: does one training step with so many images; raises `torch.OutOfMemoryError`, or a
            RuntimeError that says so, where they do not fit.
        batch_size: that did not fit.

    Returns:
        The batch size, or None where not even one image fits.
    """
    while batch_size > 1:
        batch_size //= 2
        try:
            step(batch_size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            continue
        return batch_size
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch's says that memory has run out."""
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in text
        or "not enough memory" in text
        or "can't allocate memory" in text
    )


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn `auto` into what is fast on a device without harm: `bf16-mixed` or `32-true`."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed"
    capable = device.type == "cpu" and "avx512_bf16" in _cpu_flags()
    return "bf16-mixed" if capable else "32-true"


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())
