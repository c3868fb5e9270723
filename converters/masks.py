"""Ground-truth masks as they come, and class-index masks as we write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from annotations import Dataset, ImageReadError, InputError, Sample, read_mask_raw, write_png
from annotations.dataset import MASKS_FOLDER
from annotations.errors import shortened
from annotations.image_headers import ImageHeader, read_image_header
from annotations.regions import BoolMask
from annotations.samples import safe_name
from converters.matlab import read_matlab_mask

BACKGROUND: Final = "background"
IGNORE: Final = "ignore"
"""What class-index masks may call a value that is no class."""
_JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jfif")
_TIFF_SUFFIXES: Final = (".tif", ".tiff")
_MATLAB: Final = ".mat"
_MOST_CODES: Final = 32
"""A mask of more flat levels is soft, and not coded."""
_CODED_SHARE: Final = 0.9
_JPEG_NOISE: Final = 32
"""A JPEG mask without a brighter pixel is empty: compression alone makes such values."""


@dataclass(frozen=True, slots=True)
class MaskPixels:
    """A mask's values, upright as its image is displayed.

    Attributes:
        values: uint8 or uint16 (H, W); for colors uint32, `packed` from red, green and blue.
        turned: True where the mask was drawn on the image as stored, and was turned with it.
        assumed_upright: True where the image is turned by EXIF and the mask's size does not tell
            which way it was drawn; it is then taken to be drawn on the image as displayed.
        color: red, green and blue of the one color beside black that a binary mask holds, where
            it is no gray; None otherwise.
    """

    values: npt.NDArray[Any]
    turned: bool
    assumed_upright: bool
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class BinaryMask:
    """A mask, cut to inside and outside.

    Attributes:
        inside: bool (H, W).
        n_ambiguous: pixels that were neither zero nor the top of the range.
        n_lost: pixels of 8-connected regions of which no pixel reached half of the range.
        level: the one value beside 0; None for several or none.
    """

    inside: BoolMask
    n_ambiguous: int
    n_lost: int = 0
    level: int | None = None


Kind = Literal["binary", "indices", "colors"]


def packed(red: int, green: int, blue: int) -> int:
    """A color as one number."""
    return red << 16 | green << 8 | blue


def read_mask_pixels(
    path: Path,
    *,
    header: ImageHeader,
    image_path: Path,
    kind: Kind = "binary",
    may_be_coded: bool = False,
) -> MaskPixels:
    """Read a mask's values and turn them as the image is turned.

    Several channels become one: the largest color value of a pixel; where alpha varies, color
    times alpha, or alpha alone under one color.

    Args:
        path: the mask.
        header: of the image.
        image_path: for messages.
        kind: `indices` for class-index masks: a palette's indices are read, and not its colors;
            `colors` for masks whose colors name classes.
        may_be_coded: refuse a binary mask whose levels or colors look like classes.

    Raises:
        InputError: another size than the image's, values of more than 16 bits, colors or JPEG
            where indices are expected, or codes where none are.
        ImageReadError: the mask cannot be read.
    """
    indices = kind == "indices"
    if path.suffix.lower() == _MATLAB:
        values = read_matlab_mask(path, header.image_hw, indices=indices)
        if values.shape != header.image_hw:
            raise _other_size(path, (values.shape[0], values.shape[1]), image_path, header.image_hw)
        return MaskPixels(values, turned=False, assumed_upright=False)
    own = read_image_header(path)
    if header.image_hw not in (own.image_hw, own.stored_hw) and own.stored_hw != header.stored_hw:
        # Before a pixel is decoded: a small file can claim any size.
        raise _other_size(path, own.image_hw, image_path, header.image_hw)
    raw = _read_indices(path, own) if indices else read_mask_raw(path, own)
    if may_be_coded and kind == "binary":
        _refuse_codes(_palette_indices(path) if own.is_palette else raw, path)
    values = _packed_colors(raw, path) if kind == "colors" else _one_channel(
        raw, path, indices=indices
    )  # fmt: skip
    if kind == "binary" and own.is_palette and not values.any():
        # A palette of black alone: the indices are all that is left of the mask.
        values = _palette_indices(path)
    if values.dtype not in (np.uint8, np.uint16, np.uint32):
        raise InputError(
            f"The mask {path} holds {values.dtype} values; 8 or 16 bits are expected. Export it "
            "again as an 8-bit PNG."
        )
    own_turn = own.orientation if path.suffix.lower() not in _TIFF_SUFFIXES else 1
    if own_turn != 1:
        values = turn_upright(values, own_turn)
    turned = False
    as_stored = values.shape == header.stored_hw != header.image_hw
    if as_stored and own.orientation == 1:
        values, turned = turn_upright(values, header.orientation), True
    if values.shape != header.image_hw:
        raise _other_size(path, (raw.shape[0], raw.shape[1]), image_path, header.image_hw)
    unclear = (
        header.orientation != 1 and own.orientation == 1 and header.image_hw == header.stored_hw
    )
    return MaskPixels(values, turned, unclear, _one_color(raw) if kind == "binary" else None)


def _one_color(raw: npt.NDArray[Any]) -> tuple[int, int, int] | None:
    """The only color beside black, where there is one and it is no gray."""
    if raw.ndim != 3 or raw.dtype != np.uint8:
        return None
    bgr = raw[..., :3]
    inside = bgr.any(axis=2)
    if not inside.any():
        return None
    first = bgr[np.unravel_index(int(inside.argmax()), inside.shape)]
    blue, green, red = (int(v) for v in first)
    if blue == green == red or (bgr[inside] != first).any():
        return None
    return red, green, blue


def _other_size(
    path: Path, mask_hw: tuple[int, int], image_path: Path, image_hw: tuple[int, int]
) -> InputError:
    return InputError(
        f"The mask {path} is {mask_hw[1]}×{mask_hw[0]} pixels, but its image {image_path} is "
        f"{image_hw[1]}×{image_hw[0]}. They must have one size: export the mask again."
    )


def turn_upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn an array (H, W, …) as a viewer turns an image of this EXIF orientation (1 to 8)."""
    match orientation:
        case 2:
            values = values[:, ::-1]
        case 3:
            values = values[::-1, ::-1]
        case 4:
            values = values[::-1]
        case 5:
            values = values.swapaxes(0, 1)
        case 6:
            values = np.rot90(values, -1)
        case 7:
            values = values[::-1, ::-1].swapaxes(0, 1)
        case 8:
            values = np.rot90(values)
    return np.ascontiguousarray(values)


def cut_mask(
    values: npt.NDArray[Any], path: Path, *, threshold: int | None = None, any_value: bool = False
) -> BinaryMask:
    """Cut a mask into inside and outside.

    A mask of two levels, 0 and any other, is taken as it is (but not a JPEG, which holds noise).
    Otherwise a pixel is inside where its value is at least half of the range: 255, or 65535 where
    a 16-bit mask goes above 255.

    Args:
        values: uint8 or uint16 (H, W).
        path: for messages, and to know a JPEG.
        threshold: a pixel is inside where its value is at least this; overrules the rest.
        any_value: every non-zero value is inside.

    Raises:
        InputError: the mask is not empty, and yet nothing reaches half of the range.
    """
    n_set = cv2.countNonZero(values)
    if not n_set:
        return BinaryMask(np.zeros(values.shape, np.bool_), 0)
    top = int(values.max())
    limit = 255 if values.dtype == np.uint8 or top <= 255 else 65535
    if threshold is not None:
        inside = values >= threshold
        return BinaryMask(inside, n_set - int(np.count_nonzero(values == limit)))
    lossy = path.suffix.lower() in _JPEG_SUFFIXES
    n_top = int(np.count_nonzero(values == top))
    if any_value or (n_top == n_set and not lossy):
        return BinaryMask(values != 0, 0, level=None if any_value else top)
    # `>` at the lower half is `>=` at the middle, without leaving the mask's 8 or 16 bits.
    inside = values > limit // 2
    if top <= limit // 2 and not (lossy and top < _JPEG_NOISE):
        raise InputError(
            f"The mask {path} holds values from {int(values.min())} to {top}, and half of its "
            f"range is {limit // 2 + 1}: nothing would be left. Say from which value on a pixel "
            "is inside (--mask-threshold); for a mask of class numbers use --layout class-masks."
        )
    lost = 0 if lossy else _pixels_of_lost_regions(values, inside)
    return BinaryMask(inside, n_set - int(np.count_nonzero(values == limit)), lost)


def _pixels_of_lost_regions(values: npt.NDArray[Any], inside: BoolMask) -> int:
    """Pixels of the regions of any value that hold no pixel inside."""
    n, regions = cv2.connectedComponents((values != 0).astype(np.uint8), connectivity=8)
    kept = np.bincount(regions[inside], minlength=n) > 0
    sizes = np.bincount(regions.ravel(), minlength=n)
    return int(sizes[1:][~kept[1:]].sum())


def _refuse_codes(raw: npt.NDArray[Any], path: Path) -> None:
    """Refuse a mask whose colors or levels are flat regions: classes, and not soft edges.

    Raises:
        InputError: names the values, and how to say what they mean.
    """
    if path.suffix.lower() in _JPEG_SUFFIXES or raw.dtype != np.uint8:
        return
    colors = raw.ndim == 3 and bool((raw[..., :3] != raw[..., :1]).any())
    values = _packed_colors(raw, path) if colors else _one_channel(raw, path, indices=False)
    levels = flat_levels(values)
    if len(levels) < 2:
        return
    if colors:
        names = [f"{v >> 16}:{v >> 8 & 255}:{v & 255}" for v in levels]
    else:
        names = [str(v) for v in levels]
    example = ",".join(f"{name}=NAME" for name in names[:3])
    raise InputError(
        f"The mask {path} has regions of {len(levels)} {'colors' if colors else 'levels'} "
        f"({', '.join(names[:6])}{' …' if len(names) > 6 else ''}), which look like classes and "
        f"not like soft edges. Say what they mean (--mask-values {example}; `ignore` and "
        "`background` are possible, too), name class numbers with --layout class-masks --classes, "
        "or say from which value on a pixel is a defect (--mask-threshold 1 takes all)."
    )


def flat_levels(values: npt.NDArray[Any]) -> list[int]:
    """The values that form flat regions; none where most pixels are of soft edges.

    Args:
        values: (H, W); 0 is background.

    Returns:
        Sorted values beside 0 that fill a square of 3×3 pixels somewhere, where they make up at
        least nine tenths of all pixels that are not background.
    """
    plain = values if values.dtype == np.uint8 else (values != 0).astype(np.uint8)
    n_set = cv2.countNonZero(plain)
    if not n_set:
        return []
    top = int(values.max())
    if n_set == np.count_nonzero(values == top):  # most masks: no sorting for these
        return [top]
    found, sizes = np.unique(values[values != 0], return_counts=True)
    largest = np.argsort(-sizes, kind="stable")[:_MOST_CODES]
    square = np.ones((3, 3), np.uint8)
    flat: list[int] = []
    total = 0
    for place in largest.tolist():
        if sizes[place] < square.size:
            break
        level = (values == found[place]).astype(np.uint8)
        if cv2.erode(level, square, borderType=cv2.BORDER_CONSTANT, borderValue=0).any():
            flat.append(int(found[place]))
            total += int(sizes[place])
    return sorted(flat) if total >= _CODED_SHARE * n_set else []


def _packed_colors(raw: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Colors as numbers: uint32 (H, W); gray masks as if they had three equal channels.

    Raises:
        InputError: a JPEG, or values of more than 8 bits.
    """
    if path.suffix.lower() in _JPEG_SUFFIXES:
        raise InputError(
            f"The mask {path} is a JPEG, which does not keep colors that name classes. Export it "
            "as PNG."
        )
    if raw.dtype != np.uint8:
        raise InputError(
            f"The mask {path} holds {raw.dtype} values; colors of 8 bits are expected. Export it "
            "as an 8-bit PNG."
        )
    colors = raw if raw.ndim == 3 else raw[..., None].repeat(3, axis=2)
    blue, green, red = (colors[..., k].astype(np.uint32) for k in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def classes_in(
    values: npt.NDArray[Any],
    path: Path,
    class_of_value: Mapping[int | tuple[int, int, int], str] | None,
    *,
    names_from: Path | None = None,
) -> dict[int, str]:
    """Class by value for the values that a class-index mask holds.

    Args:
        values: (H, W); uint32 are colors (see `packed`).
        path: for messages.
        class_of_value: class by value or color; None: every value but 0 is `class_<value>`.
            0 and black are background where nothing is said of them.
        names_from: the file that names the classes, for messages.

    Raises:
        InputError: a value without a class.
    """
    colors = values.dtype == np.uint32
    found = [int(value) for value in np.unique(values)]
    if class_of_value is None:
        return {value: f"class_{value}" for value in found if value}
    known = {
        (packed(*(key if isinstance(key, tuple) else (key, key, key))) if colors else key): name
        for key, name in class_of_value.items()
    }
    unknown = [value for value in found if value and value not in known]
    if unknown:

        def text(value: Any) -> str:
            return f"{value >> 16}:{value >> 8 & 255}:{value & 255}" if colors else str(value)

        listed = ", ".join(f"{text(v)} {name}" for v, name in list(known.items())[:8])
        pairs = [f"{text(value)}={name}" for value, name in known.items() if value]
        pairs += [f"{text(value)}=NAME" for value in unknown[:-1]]
        way = ",".join([*pairs, f"{text(unknown[-1])}=ignore"])
        raise InputError(
            f"The mask {path} holds the value(s) {', '.join(map(text, unknown[:8]))}, which have "
            f"no class in {names_from or '--classes or --mask-values'} (known: {listed}). Name "
            f"every value (--mask-values '{way}', where `ignore` stands for a border or void that "
            "is neither defect nor background), or mend the mask."
        )
    return {value: known[value] for value in found if value in known}


def _read_indices(path: Path, own: ImageHeader) -> npt.NDArray[Any]:
    if path.suffix.lower() in _JPEG_SUFFIXES:
        raise InputError(
            f"The class-index mask {path} is a JPEG, which does not keep class numbers. Export it "
            "as PNG."
        )
    return _palette_indices(path) if own.is_palette else read_mask_raw(path, own)


def _palette_indices(path: Path) -> npt.NDArray[Any]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.getchannel(0) if image.mode == "PA" else image)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageReadError(
            f"The mask {path} cannot be read: {shortened(error)}. Restore it from the source."
        ) from error


def _one_channel(raw: npt.NDArray[Any], path: Path, *, indices: bool) -> npt.NDArray[Any]:
    if raw.ndim == 2:
        return raw
    colors = raw[..., :3]
    if indices:
        if (colors != colors[..., :1]).any():
            raise InputError(
                f"The class-index mask {path} holds colors, and not class numbers. Export it as "
                "one 8-bit channel, or with a palette."
            )
        return np.ascontiguousarray(colors[..., 0])
    brightest = np.ascontiguousarray(colors.max(axis=2))
    if raw.shape[2] != 4:
        return brightest
    alpha = np.ascontiguousarray(raw[..., 3])
    low, high = int(alpha.min()), int(alpha.max())
    if low == high:
        return brightest
    if (colors == colors[0, 0]).all():
        return alpha
    full = int(np.iinfo(alpha.dtype).max)
    visible = brightest.astype(np.uint64) * alpha.astype(np.uint64)
    return ((visible + full // 2) // full).astype(raw.dtype)


def write_class_masks(dataset: Dataset, samples: list[Sample], folder: Path) -> int:
    """Write `masks/<defect_type>/<stem>.png` for the defective images whose pixels are known.

    Returns:
        How many were written.
    """
    defective = [s for s in samples if s.is_defective and dataset.strengths[s.image_id] == "masks"]
    for sample in defective:
        mask = dataset.truths[sample.image_id].class_index_mask()
        write_png(folder / mask_file_name(sample), mask, compression=1)
    return len(defective)


def mask_file_name(sample: Sample) -> Path:
    """Where a defective image's class-index mask stands, relative to the dataset."""
    name = sample.image_id.removeprefix(f"{sample.defect_type}/")
    return MASKS_FOLDER / safe_name(sample.defect_type) / f"{safe_name(name)}.png"
