"""Reading images and masks: the header where that is enough, the pixels where they are needed."""

import hashlib
import warnings
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from annotations.errors import ImageReadError
from annotations.files import write_bytes_atomic

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS: Final = 200_000_000
"""Larger images are refused from their header: a small file can claim any size."""
_EXIF_ORIENTATION: Final = 0x0112
_TAIL_BYTES: Final = 4096
_ROTATED_BY_90: Final = frozenset({5, 6, 7, 8})


def is_image_path(path: Path) -> bool:
    """True for a name that ends as a readable image does (any case) and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_image_hw(path: Path) -> tuple[int, int]:
    """Height and width in pixels as `read_image_rgb` returns them, from the header alone.

    Raises:
        ImageReadError: no image header, an empty file, or more than `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (
        OSError,
        UnidentifiedImageError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise ImageReadError(_unreadable(path, str(error))) from error
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ImageReadError(
            f"{path} claims {width}×{height} pixels; between 1 and {MAX_PIXELS:,} are read. "
            "Cut the image into smaller ones, or remove the file."
        )
    return (width, height) if orientation in _ROTATED_BY_90 else (height, width)


def check_image_file(path: Path) -> tuple[int, int]:
    """Read an image's size, and refuse a truncated file, without decoding its pixels.

    Returns:
        Height and width in pixels.

    Raises:
        ImageReadError: unreadable, truncated, empty or too large.
    """
    image_hw = read_image_hw(path)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        _require_end_marker(path, file.read())
    return image_hw


def _unreadable(path: Path, why: str) -> str:
    if not path.exists():
        return f"There is no image {path}. Check the name, or restore the file."
    size = path.stat().st_size
    if size == 0:
        return f"The image {path} is empty (zero bytes). Restore it from the source, or remove it."
    return (
        f"The image {path} ({size:,} bytes) cannot be read: {why}. It may be truncated or of "
        "another format than its name says. Restore it from the source, or remove it."
    )


def _decode(path: Path, flags: int) -> npt.NDArray[np.generic]:
    expected_hw = read_image_hw(path)  # refuses what is too large before any pixel is decoded
    data = np.fromfile(path, dtype=np.uint8)
    _require_end_marker(path, data[-_TAIL_BYTES:].tobytes())
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageReadError(_unreadable(path, error.err)) from error
    if image is None:
        raise ImageReadError(_unreadable(path, "its pixels cannot be decoded"))
    if image.shape[:2] != expected_hw and image.shape[1::-1] != expected_hw:
        raise ImageReadError(
            _unreadable(path, f"header says {expected_hw}, pixels {image.shape[:2]}")
        )
    return image


def _require_end_marker(path: Path, tail: bytes) -> None:
    # OpenCV paints the missing part of a truncated JPEG or PNG grey and says nothing.
    suffix = path.suffix.lower()
    if suffix in {".jpg", ".jpeg"} and b"\xff\xd9" not in tail:
        raise ImageReadError(_unreadable(path, "the JPEG stops before its end marker"))
    if suffix == ".png" and b"IEND" not in tail:
        raise ImageReadError(_unreadable(path, "the PNG stops before its end chunk"))


def read_image_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as RGB, turned upright by its EXIF orientation.

    Returns:
        uint8 (H, W, 3). Grey images get three equal channels; 16-bit images are scaled by the
        full range of their type; alpha is dropped.

    Raises:
        ImageReadError: unreadable, truncated, empty or too large.
    """
    image = _decode(path, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_mask_raw(path: Path) -> npt.NDArray[np.generic]:
    """Read a mask's pixels as they are stored: (H, W) or (H, W, C), any depth.

    Raises:
        ImageReadError: unreadable, truncated, empty or too large.
    """
    return _decode(path, cv2.IMREAD_UNCHANGED)


def write_png(path: Path, image: npt.NDArray[np.generic], *, compression: int = 3) -> None:
    """Write a PNG, whole or not at all.

    Args:
        path: where to; missing folders are made.
        image: uint8 or uint16, (H, W) or RGB (H, W, 3).
        compression: zlib level, 0 to 9.

    Raises:
        ValueError: the array cannot be a PNG.
    """
    array = np.ascontiguousarray(image)
    if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (2, 3):
        raise ValueError(f"A PNG needs uint8 or uint16, got {array.dtype} {array.shape}.")
    if array.ndim == 3:
        array = np.asarray(cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    ok, data = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    if not ok:
        raise ValueError(f"OpenCV could not encode {array.dtype} {array.shape} as PNG.")
    write_bytes_atomic(path, data.tobytes())
