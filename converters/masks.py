"""Ground-truth masks as they come, and class-index masks as we write them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations import Dataset, InputError, Sample, read_mask_raw, write_png
from annotations.dataset import MASKS_FOLDER
from annotations.regions import BoolMask


@dataclass(frozen=True, slots=True)
class BinaryMask:
    """A mask, cut to inside and outside.

    Attributes:
        inside: bool (H, W).
        n_ambiguous: pixels that were neither zero nor the highest value.
        n_levels: different values in the file.
    """

    inside: BoolMask
    n_ambiguous: int
    n_levels: int


def read_binary_mask(path: Path, *, image_hw: tuple[int, int], image_path: Path) -> BinaryMask:
    """Read a mask; a pixel is inside where its value is at least half of the range.

    A mask of two levels, 0 and any other, is taken as it is. Otherwise the range is the type's
    own (255 or 65535): a soft edge is cut at its middle.

    Raises:
        InputError: another size than the image's.
        ImageReadError: the mask cannot be read.
    """
    raw = read_mask_raw(path)
    if raw.shape[:2] != image_hw:
        raise InputError(
            f"The mask {path} is {raw.shape[1]}×{raw.shape[0]} pixels, but its image {image_path} "
            f"is {image_hw[1]}×{image_hw[0]}. They must have one size: export the mask again."
        )
    values = _one_channel(raw)
    if values.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"The mask {path} holds {values.dtype} values; 8 or 16 bits are expected. Export it "
            "again as an 8-bit PNG."
        )
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=2))
    if len(levels) <= 2 and levels[0] == 0:
        return BinaryMask(values > 0, 0, len(levels))
    if len(levels) == 1:
        return BinaryMask(np.ones(values.shape, np.bool_), 0, 1)
    top = int(np.iinfo(values.dtype).max)
    # 2 × value must not overflow the 8 or 16 bits of the mask.
    inside = values > top // 2
    ambiguous = int(np.count_nonzero((values != 0) & (values != top)))
    return BinaryMask(inside, ambiguous, len(levels))


def _one_channel(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if raw.ndim == 2:
        return raw
    # Alpha says how visible a pixel is, and not what it is.
    colours = raw[..., :3] if raw.shape[2] == 4 else raw
    return np.asarray(colours.max(axis=2))


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
    return MASKS_FOLDER / sample.defect_type / f"{sample.image_id.rsplit('/')[-1]}.png"
