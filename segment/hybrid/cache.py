"""Features of images on disk: computed once, and shared by the folds and runs of a dataset."""

import hashlib
import math
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from annotations import TrainingError
from segment.hybrid.features import FrozenFeatures

FORMAT_VERSION: Final = 2
"""Of the cached features; others are never read."""
CACHE_FOLDER: Final = ".features"
"""Of a dataset; may be removed at any time. With a dot, since `check` takes a strange folder for
one that another program might read labels from."""


class FeatureCache:
    """One memory-mapped .npy of float16 for each image that a frozen network has seen.

    A file is written beside its place and moved there whole. Its name is a digest of the network
    and of every pixel, so that it fits whoever asks, and its header holds how many numbers there
    are: a file of another version, or one that was cut off, is never used.
    """

    def __init__(self, folder: Path, network: FrozenFeatures, *, encoder: str) -> None:
        """Take a folder, made when first needed, and the network with its name."""
        self._folder, self._network = folder, network
        state = hashlib.sha256(f"{FORMAT_VERSION} {encoder} {network.strides}".encode())
        for value in network.state_dict().values():
            state.update(value.cpu().numpy().tobytes())
        self._key = state.digest()

    def path(self, planes: npt.NDArray[np.float32]) -> Path:
        """Where the features of a normalized image float32 (3, h, w) stand."""
        digest = hashlib.sha256(self._key)
        digest.update(str(planes.shape).encode())
        digest.update(np.ascontiguousarray(planes).data)
        return self._folder / f"{digest.hexdigest()[:40]}.npy"

    def read(self, path: Path, hw: tuple[int, int]) -> list[torch.Tensor] | None:
        """Levels float32 (channels, h, w) of a view whose own size is `hw`; None where there is
        no whole file of it."""
        try:
            flat = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if flat.dtype != np.float16 or flat.shape != (self._network.size(hw),):
            return None
        tensor = torch.from_numpy(flat.astype(np.float32))
        levels, start = [], 0
        for shape in self._network.shapes(hw):
            count = math.prod(shape)
            levels.append(tensor[start : start + count].view(shape))
            start += count
        return levels

    def write(self, path: Path, levels: Sequence[torch.Tensor]) -> None:
        """Keep levels (channels, h, w) of one view.

        Raises:
            TrainingError: the disk is full or cannot be written to.
        """
        flat = torch.cat([level.flatten() for level in levels]).cpu().numpy()
        # Beyond half precision's range lies no feature that means anything.
        limit = float(np.finfo(np.float16).max)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.save(file, np.clip(flat, -limit, limit).astype(np.float16))
            partial.replace(path)
        except OSError as error:
            raise TrainingError(
                f"Features could not be kept in {self._folder} ({error.strerror}). Make room on "
                "that disk, or lower what may be kept with --set cache_gb=N; with 0 nothing is "
                "kept, and training takes several times as long."
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def trim(self, gigabytes: float, *, kept: Collection[Path]) -> None:
        """Remove the files that were used longest ago until so many GB (1e9 bytes) are left.

        Args:
            gigabytes: what may be left.
            kept: files in use, which stay.
        """
        files = []
        for path in self._folder.glob("*.npy"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            files.append((path not in kept, status.st_mtime_ns, path, status.st_size))
        left = float(sum(size for *_, size in files))
        for unused, _, path, size in sorted(files):
            if left <= gigabytes * 1e9:
                return
            if unused:
                path.unlink(missing_ok=True)
                left -= size


def views_that_fit(sizes: Sequence[int], wanted: int, gigabytes: float) -> int:
    """How many views of all images fit into a number of GB: `wanted`, halves of it, or 0.

    Args:
        sizes: numbers in the features of one view of each image, two bytes each.
        wanted: 1, 2, 4 or 8.
        gigabytes: 1e9 bytes each.
    """
    views = wanted
    while views and 2 * views * sum(sizes) > gigabytes * 1e9:
        views //= 2
    return views
