"""Reading images and masks: the header where that is enough, the pixels where they are needed."""

import hashlib
import os
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from annotations.errors import ImageReadError
from annotations.files import write_bytes_atomic

IMAGE_SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2",
)  # fmt: skip
MAX_PIXELS: Final = 178_000_000
"""Larger images are refused from their header: a small file can claim any size."""
_EVERYWHERE: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Formats that every trainer reads; others are kept as PNG in a dataset."""
_BY_PILLOW: Final = frozenset({".gif", ".jp2"})
_JPEG_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".jfif", ".jpe"})
_EXIF_ORIENTATION: Final = 0x0112
_TAIL_BYTES: Final = 4096
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_EXIF_BYTES: Final = 1 << 20
_ROTATED_BY_90: Final = frozenset({5, 6, 7, 8})


def is_image_path(path: Path) -> bool:
    """True for a name that ends as a readable image does (any case) and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image's header says.

    Attributes:
        image_hw: height and width in pixels as `read_image_rgb` returns them.
        stored_hw: height and width as the file stores them, before turning upright.
        orientation: EXIF orientation, 1 (upright) to 8.
        is_palette: True where pixels are indices into a palette.
        bits: of a value; 16 for what may hold 10 or 12.
        fault: why the pixels cannot be taken for an image's, or empty.
        padding: zero bytes after a JPEG's end, as cameras and copying tools leave them; known to
            `check_image_header` alone.
        must_be_remade: True where a dataset keeps the image as an 8-bit PNG: values of more than
            8 bits, or a format that not every trainer reads.
    """

    image_hw: tuple[int, int]
    stored_hw: tuple[int, int]
    orientation: int
    is_palette: bool
    bits: int = 8
    fault: str = ""
    must_be_remade: bool = False
    padding: int = 0


def read_image_header(path: Path) -> ImageHeader:
    """Read an image's header; no pixel is decoded.

    Raises:
        ImageReadError: no image header, an empty file, or more than `MAX_PIXELS` pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                width, height = image.size
                orientation = _orientation(path, image)
                is_palette = image.mode in ("P", "PA")
                turned_by_pillow = image.format == "TIFF"
                bits = 16 if image.mode.startswith("I;16") or _png_bits(path) == 16 else 8
                fault = _fault(path, image)
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"{path} claims far too many pixels; up to {MAX_PIXELS:,} are read. Cut the image into "
            "smaller ones, or remove the file."
        ) from error
    except Exception as error:  # whatever a damaged file makes Pillow stumble over
        tiff = _tiff_fault(path) if path.suffix.lower() in (".tif", ".tiff") else ""
        raise ImageReadError(_unreadable(path, tiff or str(error))) from error
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ImageReadError(
            f"{path} claims {width}×{height} pixels; between 1 and {MAX_PIXELS:,} are read. "
            "Cut the image into smaller ones, or remove the file."
        )
    first, second = (height, width), (width, height)
    if orientation not in _ROTATED_BY_90:
        image_hw, stored_hw = first, first
    elif turned_by_pillow:
        image_hw, stored_hw = first, second
    else:
        image_hw, stored_hw = second, first
    remade = bits > 8 or path.suffix.lower() not in _EVERYWHERE
    return ImageHeader(image_hw, stored_hw, orientation, is_palette, bits, fault, remade)


def _png_bits(path: Path) -> int | None:
    """Bits of a value as a PNG's header says, since Pillow shows 16-bit colors as 8-bit ones;
    None for another format."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[24] if len(head) == 25 and head.startswith(_PNG_SIGNATURE) else None


def read_bits(path: Path) -> int:
    """Bits of a value, 8 or 16, without more of the header than that needs.

    Raises:
        ImageReadError: as `read_image_header`.
    """
    try:
        bits = _png_bits(path)
    except OSError as error:
        raise ImageReadError(_unreadable(path, str(error))) from error
    if bits is not None:
        return 16 if bits == 16 else 8
    return read_image_header(path).bits


def _fault(path: Path, image: Image.Image) -> str:
    """Why an image's pixels cannot be read as gray or RGB values, or empty."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        return f"it has {frames} pages or frames, and nobody can tell which one is meant"
    if image.mode in ("I", "F"):
        bits = "32-bit floating-point" if image.mode == "F" else "32-bit"
        return f"it holds {bits} values, such as heights, and no gray levels or colors"
    if image.mode == "CMYK":
        return "it has 4 bands"
    return _tiff_fault(path) if image.format == "TIFF" else ""


_TIFF_TYPES: Final = {1: "B", 3: "H", 4: "I"}


def _tiff_fault(path: Path) -> str:
    """Why a TIFF's bands or samples are not those of an image, from its first directory."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            order = {b"II*\0": "<", b"MM\0*": ">"}[head[:4]]
            file.seek(struct.unpack(f"{order}I", head[4:])[0])
            tags: dict[int, int] = {}
            for _ in range(struct.unpack(f"{order}H", file.read(2))[0]):
                tag, kind, count, value = struct.unpack(f"{order}HHI4s", file.read(12))
                letter = _TIFF_TYPES.get(kind)
                if letter is not None and count * struct.calcsize(letter) <= 4:
                    tags[tag] = struct.unpack_from(f"{order}{letter}", value)[0]
    except (OSError, KeyError, struct.error):
        return ""
    bands, extra, kind = tags.get(277, 1), tags.get(338), tags.get(339, 1)
    if kind == 3:
        return "it holds floating-point values, such as heights, and no gray levels or colors"
    # One band beside gray or colors is alpha where the file says so.
    if bands > 4 or (bands in (2, 4) and extra not in (1, 2)):
        return f"it has {bands} bands, and gray or RGB is expected"
    return ""


def _orientation(path: Path, image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow would decode the whole image to look behind its pixels.
        exif = Image.Exif()
        exif.load(_exif_of_png(path))
    else:
        exif = image.getexif()
    value = exif.get(_EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif_of_png(path: Path) -> bytes:
    """The content of a PNG's eXIf chunk, wherever it stands; empty without one."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf" and length <= _MAX_EXIF_BYTES:
                return file.read(length)
            file.seek(length + 4, 1)
    return b""


def read_image_hw(path: Path) -> tuple[int, int]:
    """Height and width in pixels as `read_image_rgb` returns them, from the header alone.

    Raises:
        ImageReadError: no image header, an empty file, or more than `MAX_PIXELS` pixels.
    """
    return read_image_header(path).image_hw


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


def _decode(path: Path, flags: int, header: ImageHeader | None = None) -> npt.NDArray[np.generic]:
    # The header first: what is too large is refused before any pixel is decoded.
    expected_hw = (header or read_image_header(path)).image_hw
    data = np.fromfile(path, dtype=np.uint8)
    _require_end_marker(path, _end_of(path, data))
    _require_whole_chunks(path, data)
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
        raise ImageReadError(_unreadable(path, "the JPEG stops before its end marker"))
    if suffix == ".png" and b"IEND" not in tail:
        raise ImageReadError(_unreadable(path, "the PNG stops before its end chunk"))


def _require_whole_chunks(path: Path, data: npt.NDArray[np.uint8]) -> None:
    """Refuse a PNG with a chunk that reaches beyond the file.

    OpenCV makes room for as much as a chunk claims, up to 2 GB, before it reads it.
    """
    if data[:8].tobytes() != _PNG_SIGNATURE:
        return
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8].tobytes())
        place += 12 + length
        if place > len(data):
            raise ImageReadError(_unreadable(path, "one of its chunks reaches beyond the file"))
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
        raise ImageReadError(_unreadable(path, str(error))) from error


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
