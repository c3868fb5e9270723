"""Score maps that another program wrote: found by image id or stem, checked one by one."""

import tokenize
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import Dataset, ImageReadError, InputError, read_mask_raw
from annotations.errors import shortened
from evaluation.external_regions import MAX_SCORE

_SUFFIXES: Final = (".png", ".tif", ".tiff", ".npy")


def map_files(folder: Path, dataset: Dataset, notes: list[str]) -> dict[str, Path]:
    """The map of each test image that has one.

    Names are compared whole, so that an id may hold any character that a file system takes; in
    upper or lower case as they are, but in one Unicode form, since macOS changes that.

    Args:
        folder: maps named by image id, in folders, or by stem.
        dataset: whose images these are.
        notes: gets a sentence for maps of no test image.

    Raises:
        InputError: no folder, no map, or two of one image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} should be a folder of score maps, and is a file.")
    ids = {}
    for image_id in dataset.split.test_ids:
        for name in (image_id, dataset.by_id[image_id].stem):
            ids[unicodedata.normalize("NFC", name)] = image_id
    found: dict[str, Path] = {}
    others = 0
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix
        if suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix().removesuffix(suffix)
        owner = ids.get(unicodedata.normalize("NFC", name))
        if owner is None or not path.resolve().is_relative_to(root):
            others += 1
            continue
        if found.setdefault(owner, path) != path:
            raise InputError(f"{found[owner]} and {path} are maps of one image. Remove one.")
    if not found:
        first = dataset.split.test_ids[0]
        raise InputError(
            f"{folder} holds no map of a test image: expected, for instance, {first}.png or "
            f"{dataset.by_id[first].stem}.tiff."
        )
    if others:
        notes.append(f"{others} maps of images that are not test images were left out")
    return found


def read_map(path: Path, dataset: Dataset, image_id: str) -> npt.NDArray[np.float64]:
    """A score map, float64 (H, W).

    Raises:
        ImageReadError: it cannot be read.
        InputError: of another size or kind than its image, or with scores that are no numbers.
    """
    expected = dataset.by_id[image_id].image_hw
    array = _npy(path) if path.suffix.lower() == ".npy" else read_mask_raw(path)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[:, :, 0]
    if array.shape != expected or array.dtype.kind not in "fiu":
        raise InputError(
            f"The score map {path} is {array.dtype} {'×'.join(map(str, array.shape))}, the image "
            f"{image_id} {expected[0]}×{expected[1]} (height×width). Maps are evaluated at the "
            "size of their image: resize the scores, not the truth."
        )
    values = np.asarray(array, np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"The score map {path} holds NaN or infinity. Predict it again.")
    if np.abs(values).max() > MAX_SCORE:
        raise InputError(
            f"The score map {path} holds scores beyond {MAX_SCORE:g}, which no float32 map can "
            "hold. Scale the scores."
        )
    return values


def _npy(path: Path) -> npt.NDArray[np.generic]:
    try:
        # Only the header is read here, and never a pickle.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy reads the header as Python's own text, with what that may raise.
    except (
        ValueError, OSError, EOFError, OverflowError, TypeError, KeyError, SyntaxError,
        RecursionError, MemoryError, tokenize.TokenError,
    ) as error:  # fmt: skip
        why = shortened(error)
        raise ImageReadError(f"The score map {path} cannot be read ({why}).") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ImageReadError(
            f"The score map {path} cannot be read (it is an archive of arrays, .npz). Save the one "
            "array with `numpy.save`."
        )
    return array


def map_shift(maps: Mapping[str, Path], dataset: Dataset, notes: list[str]) -> float:
    """What must be added to all maps for no score to be below 0."""
    lowest = min((float(read_map(p, dataset, i).min()) for i, p in maps.items()), default=0.0)
    if lowest >= 0:
        return 0.0
    notes.append(f"pixel scores below 0 occur; all were raised by {-lowest:g}")
    return -lowest
