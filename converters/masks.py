"""Ground-truth masks as they come, and class-index masks as we write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from annotations import Dataset, ImageReadError, InputError, Sample, read_mask_raw, write_png
from annotations.dataset import MASKS_FOLDER
from annotations.images import ImageHeader, read_image_header
from annotations.regions import BoolMask
from annotations.samples import safe_name

_JPEG_SUFFIXES: Final = (".jpg", ".jpeg")
_TIFF_SUFFIXES: Final = (".tif", ".tiff")
_JPEG_NOISE: Final = 32
"""A JPEG mask without a brighter pixel is empty: compression alone makes such values."""


@dataclass(frozen=True, slots=True)
class MaskPixels:
    """A mask's values, upright as its image is displayed.

    Attributes:
        values: uint8 or uint16 (H, W).
        turned: True where the mask was drawn on the image as stored, and was turned with it.
        assumed_upright: True where the image is turned by EXIF and the mask's size does not tell
            which way it was drawn; it is then taken to be drawn on the image as displayed.
    """

    values: npt.NDArray[Any]
    turned: bool
    assumed_upright: bool


@dataclass(frozen=True, slots=True)
class BinaryMask:
    """A mask, cut to inside and outside.

    Attributes:
        inside: bool (H, W).
        n_ambiguous: pixels that were neither zero nor the top of the range.
    """

    inside: BoolMask
    n_ambiguous: int


def read_mask_pixels(
    path: Path, *, header: ImageHeader, image_path: Path, indices: bool = False
) -> MaskPixels:
    """Read a mask's values and turn them as the image is turned.

    Several channels become one: the largest colour value of a pixel; where alpha varies, colour
    times alpha, or alpha alone under one colour.

    Args:
        path: the mask.
        header: of the image.
        image_path: for messages.
        indices: True for class-index masks: a palette's indices are read, and not its colours.

    Raises:
        InputError: another size than the image's, values of more than 16 bits, or colours or JPEG
            where indices are expected.
        ImageReadError: the mask cannot be read.
    """
    own = read_image_header(path)
    if header.image_hw not in (own.image_hw, own.stored_hw) and own.stored_hw != header.stored_hw:
        # Before a pixel is decoded: a small file can claim any size.
        raise _other_size(path, own.image_hw, image_path, header.image_hw)
    raw = _read_indices(path, own) if indices else read_mask_raw(path, own)
    values = _one_channel(raw, path, indices=indices)
    if not indices and own.is_palette and not values.any():
        # A palette of black alone: the indices are all that is left of the mask.
        values = _palette_indices(path)
    if values.dtype not in (np.uint8, np.uint16):
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
    return MaskPixels(values, turned, unclear)


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
        return BinaryMask(values != 0, 0)
    # `>` at the lower half is `>=` at the middle, without leaving the mask's 8 or 16 bits.
    inside = values > limit // 2
    if top <= limit // 2 and not (lossy and top < _JPEG_NOISE):
        raise InputError(
            f"The mask {path} holds values from {int(values.min())} to {top}, and half of its "
            f"range is {limit // 2 + 1}: nothing would be left. Say from which value on a pixel "
            "is inside (--mask-threshold); for a mask of class numbers use --layout class-masks."
        )
    return BinaryMask(inside, n_set - int(np.count_nonzero(values == limit)))


def classes_in(
    values: npt.NDArray[Any],
    path: Path,
    class_of_value: Mapping[int, str] | None,
    *,
    names_from: Path | None = None,
) -> dict[int, str]:
    """Class by value for the values that a class-index mask holds; 0 is background.

    Raises:
        InputError: a value without a class.
    """
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=1))
    found = [int(value) for value in present if value]
    if class_of_value is None:
        return {value: f"class_{value}" for value in found}
    unknown = [value for value in found if value not in class_of_value]
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in sorted(class_of_value.items())[:8])
        raise InputError(
            f"The mask {path} holds the value(s) {', '.join(map(str, unknown[:8]))}, which have no "
            f"class in {names_from or '--classes'} (known: {known}). Add the class there - a "
            "border or void value too, and then leave it out with --ignore CLASS - or mend the "
            "mask."
        )
    return {value: class_of_value[value] for value in found}


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
            f"The mask {path} cannot be read: {error}. Restore it from the source."
        ) from error


def _one_channel(raw: npt.NDArray[Any], path: Path, *, indices: bool) -> npt.NDArray[Any]:
    if raw.ndim == 2:
        return raw
    colours = raw[..., :3]
    if indices:
        if (colours != colours[..., :1]).any():
            raise InputError(
                f"The class-index mask {path} holds colours, and not class numbers. Export it as "
                "one 8-bit channel, or with a palette."
            )
        return np.ascontiguousarray(colours[..., 0])
    brightest = np.ascontiguousarray(colours.max(axis=2))
    if raw.shape[2] != 4:
        return brightest
    alpha = np.ascontiguousarray(raw[..., 3])
    low, high = int(alpha.min()), int(alpha.max())
    if low == high:
        return brightest
    if (colours == colours[0, 0]).all():
        return alpha
    full = int(np.iinfo(alpha.dtype).max)
    visible = brightest.astype(np.uint64) * alpha.astype(np.uint64)
    return ((visible + full // 2) // full).astype(raw.dtype)


def write_class_masks(dataset: Dataset, samples: list[Sample], folder: Path) -> int:
    """Write `masks/<defect_type>/<stem>.png` for the defective images.

    Returns:
        How many were written.
    """
    defective = [sample for sample in samples if sample.is_defective]
    for sample in defective:
        mask = dataset.truths[sample.image_id].class_index_mask()
        write_png(folder / mask_file_name(sample), mask, compression=1)
    return len(defective)


def mask_file_name(sample: Sample) -> Path:
    """Where a defective image's class-index mask stands, relative to the dataset."""
    name = sample.image_id.removeprefix(f"{sample.defect_type}/")
    return MASKS_FOLDER / safe_name(sample.defect_type) / f"{safe_name(name)}.png"
