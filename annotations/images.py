"""Reading images and masks, and writing PNGs; damaged and truncated files are refused."""

import hashlib
import os
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from annotations.errors import ImageReadError
from annotations.files import write_bytes_atomic
from annotations.image_headers import (
    MAX_PIXELS,
    PNG_SIGNATURE,
    ImageHeader,
    read_image_header,
    unreadable,
)

IMAGE_SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2",
)  # fmt: skip
_BY_PILLOW: Final = frozenset({".gif", ".jp2"})
_JPEG_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".jfif", ".jpe"})
_TAIL_BYTES: Final = 4096


def is_image_path(path: Path) -> bool:
    """True for a name that ends as a readable image does (any case) and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_image_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read an image's header, and refuse a truncated file, without decoding its pixels.

    Raises:
        ImageReadError: unreadable, truncated, empty, too large, or with pixels that are no gray
            or RGB values (floating point, other bands, several pages).
    """
    header = read_image_header(path)
    if header.image_hw[0] * header.image_hw[1] > max_pixels:
        raise ImageReadError(
            f"{path} has {header.image_hw[1]}×{header.image_hw[0]} pixels; up to {max_pixels:,} "
            "are read. Cut the image into smaller ones, or raise --max-pixels."
        )
    _require_pixels(path, header)
    tail, padding = _tail_of(path)
    _require_end_marker(path, tail)
    return replace(header, padding=padding) if padding else header


def _tail_of(path: Path) -> tuple[bytes, int]:
    """The last bytes of a file, and how many zeros follow them; zeros count for a JPEG alone."""
    is_jpeg = path.suffix.lower() in _JPEG_SUFFIXES
    padding = 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while True:
            file.seek(max(0, end - _TAIL_BYTES))
            tail = file.read(end - file.tell())
            kept = tail.rstrip(b"\0") if is_jpeg else tail
            padding += len(tail) - len(kept)
            end -= len(tail)
            if kept or not end:
                break
        if len(kept) < len(tail):
            # As many bytes as of a file without padding are looked through.
            place = end + len(kept)
            file.seek(max(0, place - _TAIL_BYTES))
            kept = file.read(place - file.tell())
    return kept, padding


def check_image_file(path: Path) -> tuple[int, int]:
    """Height and width in pixels of a file that passes `check_image_header`.

    Raises:
        ImageReadError: unreadable, truncated, empty or too large.
    """
    return check_image_header(path).image_hw


def _decode(path: Path, flags: int, header: ImageHeader | None = None) -> npt.NDArray[np.generic]:
    # The header first: what is too large is refused before any pixel is decoded.
    expected_hw = (header or read_image_header(path)).image_hw
    data = np.fromfile(path, dtype=np.uint8)
    _require_end_marker(path, _end_of(path, data))
    _require_whole_chunks(path, data)
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageReadError(unreadable(path, error.err)) from error
    if image is None:
        raise ImageReadError(unreadable(path, "its pixels cannot be decoded"))
    if image.shape[:2] != expected_hw and image.shape[1::-1] != expected_hw:
        raise ImageReadError(
            unreadable(path, f"header says {expected_hw}, pixels {image.shape[:2]}")
        )
    return image


def _end_of(path: Path, data: npt.NDArray[np.uint8]) -> bytes:
    """The last bytes of a file's content, zeros after a JPEG's end left out."""
    tail = data[-_TAIL_BYTES:].tobytes()
    if path.suffix.lower() not in _JPEG_SUFFIXES or not tail.endswith(b"\0"):
        return tail
    return data.tobytes().rstrip(b"\0")[-_TAIL_BYTES:]


def _require_end_marker(path: Path, tail: bytes) -> None:
    # OpenCV paints the missing part of a truncated JPEG or PNG gray and says nothing.
    suffix = path.suffix.lower()
    if suffix in _JPEG_SUFFIXES and b"\xff\xd9" not in tail:
        raise ImageReadError(unreadable(path, "the JPEG stops before its end marker"))
    if suffix == ".png" and b"IEND" not in tail:
        raise ImageReadError(unreadable(path, "the PNG stops before its end chunk"))


def _require_whole_chunks(path: Path, data: npt.NDArray[np.uint8]) -> None:
    """Refuse a PNG with a chunk that reaches beyond the file.

    OpenCV makes room for as much as a chunk claims, up to 2 GB, before it reads it.
    """
    if data[:8].tobytes() != PNG_SIGNATURE:
        return
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8].tobytes())
        place += 12 + length
        if place > len(data):
            raise ImageReadError(unreadable(path, "one of its chunks reaches beyond the file"))
        if kind == b"IEND":
            return


def _require_pixels(path: Path, header: ImageHeader) -> None:
    if header.fault:
        raise ImageReadError(
            f"The image {path} cannot be used: {header.fault}. Save it as an 8-bit or 16-bit gray "
            "or RGB image."
        )


def read_image_rgb(path: Path, *, bit_depth: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an image as RGB, turned upright by its EXIF orientation.

    Args:
        path: the file.
        bit_depth: of the values of a 16-bit image, 8 to 16: a 12-bit camera's stand in 16 bits.
            None is 16. Larger values are taken for the largest.

    Returns:
        uint8 (H, W, 3). Gray images get three equal channels; alpha is dropped.

    Raises:
        ImageReadError: unreadable, truncated, empty, too large, or with pixels that are no gray
            or RGB values (floating point, other bands, several pages).
    """
    header = read_image_header(path)
    _require_pixels(path, header)
    if path.suffix.lower() in _BY_PILLOW:
        return _by_pillow(path)
    if header.bits == 16 and bit_depth is not None and bit_depth < 16:
        raw = np.asarray(_decode(path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR, header))
        if raw.dtype == np.uint16:
            top = (1 << bit_depth) - 1
            levels = (np.minimum(raw, top).astype(np.uint32) * 255 + top // 2) // top
            image = levels.astype(np.uint8)
        else:
            image = raw.astype(np.uint8)
    else:
        image = np.asarray(_decode(path, cv2.IMREAD_COLOR, header)).astype(np.uint8, copy=False)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _by_pillow(path: Path) -> npt.NDArray[np.uint8]:
    """Formats that not every build of OpenCV reads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"), dtype=np.uint8).copy()
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise ImageReadError(unreadable(path, str(error))) from error


def largest_value(path: Path) -> int:
    """The largest value of a 16-bit image, in any of its channels.

    Raises:
        ImageReadError: as `read_image_rgb`.
    """
    header = read_image_header(path)
    _require_pixels(path, header)
    return int(np.asarray(_decode(path, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR, header)).max())


def plain_png(path: Path, *, bit_depth: int | None = None) -> bytes:
    """An image as an 8-bit RGB PNG, upright: what a dataset keeps of one of another format.

    Raises:
        ImageReadError: as `read_image_rgb`.
    """
    return encode_png(read_image_rgb(path, bit_depth=bit_depth))


def encode_png(image_rgb: npt.NDArray[np.uint8]) -> bytes:
    """An RGB image, uint8 (H, W, 3), as the bytes of a PNG.

    Raises:
        ValueError: OpenCV refuses it.
    """
    bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise ValueError(f"OpenCV could not encode {image_rgb.dtype} {image_rgb.shape} as PNG.")
    return bytes(data.tobytes())


def read_mask_raw(path: Path, header: ImageHeader | None = None) -> npt.NDArray[np.generic]:
    """Read a mask's pixels as they are stored: (H, W) or (H, W, C), any depth.

    Only a TIFF comes turned upright by its orientation; palettes come as colors.

    Args:
        path: the file.
        header: of the file, where it was read already.

    Raises:
        ImageReadError: unreadable, truncated, empty or too large.
    """
    return _decode(path, cv2.IMREAD_UNCHANGED, header)


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
