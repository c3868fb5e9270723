"""Masks in MATLAB files: a matrix of the image's size, or the ground truth of a segmentation set.

    a.mat       mask, 480 x 320                     non-zero is inside, or numbers are classes
    a.mat       groundTruth.Segmentation            as CrackForest has it: 1 is background

Files of MATLAB 7.3 are HDF5, which SciPy does not read; they are refused with what to do.
"""

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations import InputError

MAX_FILE_BYTES: Final = 256 << 20
_SEGMENTATION: Final = "Segmentation"
_HDF5: Final = b"\x89HDF"


def read_matlab_mask(
    path: Path, image_hw: tuple[int, int], *, indices: bool = False
) -> npt.NDArray[Any]:
    """Read a mask.

    Args:
        path: the file.
        image_hw: of its image; a matrix of that size is looked for.
        indices: numbers are classes.

    Returns:
        uint8 or uint16 (H, W); binary masks as 0 and 255.

    Raises:
        InputError: no MATLAB file that can be read, no matrix of the image's size, or several.
    """
    from scipy.io import loadmat

    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith(_HDF5) or b"MATLAB 7.3" in head:
        raise InputError(
            f"{path} is a file of MATLAB 7.3. Save it again in MATLAB with save(..., '-v7'), or as "
            "a PNG."
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes.")
    try:
        _refuse_bomb(path, head)
        variables = loadmat(path, squeeze_me=True, struct_as_record=True)
    except Exception as error:  # SciPy raises whatever its parts raise on a damaged file
        raise InputError(
            f"{path} is no MATLAB file that can be read ({str(error)[:100]}). Save it again, or as "
            "a PNG."
        ) from error
    found: list[tuple[str, npt.NDArray[Any]]] = []
    for name, value in variables.items():
        if not name.startswith("__"):
            _matrices(name, value, image_hw, found, depth=3)
    segmentations = [one for one in found if one[0].endswith(_SEGMENTATION)]
    chosen = segmentations or found
    if len(chosen) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise InputError(
            f"{path} should hold one matrix of {image_hw[0]} rows and {image_hw[1]} columns, the "
            f"mask; of that size it holds {names}."
        )
    values = chosen[0][1]
    if (
        not np.isfinite(values.astype(np.float64)).all()
        or (values < 0).any()
        or values.max() > 65535
    ):
        raise InputError(f"{path}: {chosen[0][0]} holds values that are no mask's.")
    whole = values.astype(np.float64)
    if not indices:
        background = 1 if segmentations else 0
        return np.where(whole > background, 255, 0).astype(np.uint8)
    if (whole != np.round(whole)).any():
        raise InputError(f"{path}: {chosen[0][0]} holds fractions, and no class numbers.")
    return whole.astype(np.uint16)


def _refuse_bomb(path: Path, head: bytes) -> None:
    """Unpack the compressed elements of a version 5 file without keeping them, within a bound."""
    if len(head) < 128 or head[126:128] not in (b"IM", b"MI"):
        return
    order = "<" if head[126:128] == b"IM" else ">"
    total = 0
    with path.open("rb") as file:
        file.seek(128)
        while len(tag := file.read(8)) == 8:
            kind, size = np.frombuffer(tag, f"{order}u4").tolist()
            data = file.read(size)
            if kind == 15:  # miCOMPRESSED
                unpacking = zlib.decompressobj()
                rest = data
                while rest and total <= MAX_FILE_BYTES:
                    total += len(unpacking.decompress(rest, 1 << 24))
                    rest = unpacking.unconsumed_tail
            if total > MAX_FILE_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_FILE_BYTES:,} bytes")


def _matrices(
    name: str,
    value: Any,
    image_hw: tuple[int, int],
    found: list[tuple[str, npt.NDArray[Any]]],
    *,
    depth: int,
) -> None:
    """Matrices of the image's size in a variable, and in the fields of structures."""
    if not isinstance(value, np.ndarray | np.void) or depth == 0:
        return
    if value.dtype.names:
        for field in value.dtype.names:
            inner = value[field]
            if isinstance(inner, np.ndarray) and inner.dtype == object and inner.shape == ():
                inner = inner.item()
            _matrices(f"{name}.{field}", inner, image_hw, found, depth=depth - 1)
    elif value.dtype.kind in "buif" and value.shape == image_hw:
        found.append((name, np.asarray(value)))
