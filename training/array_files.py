"""Arrays that a training keeps, in NumPy's own format: nothing is pickled, sizes are bounded."""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from annotations import InputError
from annotations.errors import shortened
from annotations.files import write_bytes_atomic

MOST_MODEL_BYTES: Final = 4 << 30
_SMALL_MODEL_BYTES: Final = 64 << 20
_MOST_UNPACKED: Final = 50
"""Numbers learned from images hardly shrink when packed; what shrinks more is no model."""

Arrays = Mapping[str, npt.NDArray[np.generic]]


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write what was learned as plain arrays (no pickle)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read what `save_arrays` wrote; nothing is unpickled, and sizes are looked at first.

    Raises:
        InputError: missing, damaged, or larger than such a model can be.
    """
    if not path.is_file():
        raise InputError(f"The trained model {path} is missing. Train this fold again.")
    try:
        # Opened here, since a damaged file would stay open otherwise.
        with path.open("rb") as file:
            _check_sizes(file, path.stat().st_size)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile, zlib and NumPy's header parser raise many kinds
        raise damaged_arrays(path, error) from error


def _check_sizes(file: IO[bytes], stored: int) -> None:
    """Refuse what unpacks to far more than it is, or to more than memory should be asked for."""
    total = 0
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            with archive.open(member) as head:
                version = np.lib.format.read_magic(head)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, kind = read(head)
            if kind.hasobject:
                raise ValueError(f"{shortened(member.filename)} holds objects, not numbers")
            total += math.prod(shape) * kind.itemsize
    allowed = min(MOST_MODEL_BYTES, _SMALL_MODEL_BYTES + stored * _MOST_UNPACKED)
    if total > allowed:
        raise ValueError(f"{stored:,} bytes unpack to {total:,}; {allowed:,} are allowed")


def damaged_arrays(path: Path, error: Exception) -> InputError:
    """The error of a file that holds no such model."""
    return InputError(
        f"{path} is damaged ({type(error).__name__}: {shortened(error)}). Train this fold again."
    )
