"""What an image's header says: its size, depth and orientation, before any pixel is decoded."""

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from annotations.errors import ImageReadError

MAX_PIXELS: Final = 178_000_000
"""Larger images are refused from their header: a small file can claim any size."""
_EVERYWHERE: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Formats that every trainer reads; others are kept as PNG in a dataset."""
_EXIF_ORIENTATION: Final = 0x0112
_MAX_EXIF_BYTES: Final = 1 << 20
_ROTATED_BY_90: Final = frozenset({5, 6, 7, 8})
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


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
        raise ImageReadError(unreadable(path, tiff or str(error))) from error
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
    return head[24] if len(head) == 25 and head.startswith(PNG_SIGNATURE) else None


def read_bits(path: Path) -> int:
    """Bits of a value, 8 or 16, without more of the header than that needs.

    Raises:
        ImageReadError: as `read_image_header`.
    """
    try:
        bits = _png_bits(path)
    except OSError as error:
        raise ImageReadError(unreadable(path, str(error))) from error
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


def unreadable(path: Path, why: str) -> str:
    """The message about a file that cannot be read as an image."""
    if not path.exists():
        return f"There is no image {path}. Check the name, or restore the file."
    size = path.stat().st_size
    if size == 0:
        return f"The image {path} is empty (zero bytes). Restore it from the source, or remove it."
    return (
        f"The image {path} ({size:,} bytes) cannot be read: {why}. It may be truncated or of "
        "another format than its name says. Restore it from the source, or remove it."
    )
