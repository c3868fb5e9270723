"""What the hybrid segmenter learns from: images or their tiles, and what is known of each place.

A mask says of every place whether it is a defect. A box says that what lies outside is good, and,
being tight, that each of its rows and columns crosses a defect (Hsu et al., "Weakly Supervised
Instance Segmentation using the Bounding Box Tightness Prior", NeurIPS 2019, section 3.2). An image
label says that some place is a defect.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import Dataset, LabelStrength, Regions, Sample
from annotations.images import read_image_rgb
from inference.images import fitted_hw, resize_to
from inference.tiling import cut_tile, resize_for_tiles, tile_windows
from segment.data import resize_class_mask

COVERED: Final = 0.3
"""A place of the map is a defect from this part on: of a thin crack no place is covered by half."""
MOST_OF_BOX: Final = 0.5
"""A tile knows a box of which it holds at least this part."""
UNKNOWN: Final = 255
"""In a class mask: nobody knows whether this pixel is a defect."""


@dataclass(frozen=True, slots=True)
class Bag:
    """Places of which at least one is a defect.

    Attributes:
        inside: bool (h, w).
        label: the defect's type.
        tight: each row and column of it crosses the defect.
    """

    inside: npt.NDArray[np.bool_]
    label: int
    tight: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole resized image, or a tile of one.

    Attributes:
        image_id: of the image that it is of.
        group: the physical part that the image shows.
        strength: of the image's label.
        image_rgb: uint8 (h, w, 3), sides multiples of 32.
        class_mask: uint8 (h, w), 0 = good, label + 1 inside a defect, `UNKNOWN`.
        boxes_xyxy: float32 (n, 4), boxes of defects in pixels of the piece, where no mask is known.
        box_labels: int64 (n,).
        label: the image's type, where an image label is all that is known; else None.
    """

    image_id: str
    group: str
    strength: LabelStrength
    image_rgb: npt.NDArray[np.uint8]
    class_mask: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    box_labels: npt.NDArray[np.int64]
    label: int | None

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width."""
        return self.class_mask.shape[0], self.class_mask.shape[1]

    @property
    def is_defective(self) -> bool:
        """Whether it shows, or may show, any of a defect."""
        return bool(self.class_mask.any())

    def bags(self, stride: int) -> list[Bag]:
        """What is known of places of the map at a stride, beside the class mask."""
        hw = (self.hw[0] // stride, self.hw[1] // stride)
        if self.label is not None:
            return [Bag(np.ones(hw, bool), self.label, tight=False)]
        found = []
        for box, label in zip(self.boxes_xyxy, self.box_labels.tolist(), strict=True):
            x1, y1 = np.floor(box[:2] / stride).astype(int)
            x2, y2 = np.ceil(box[2:] / stride).astype(int)
            inside = np.zeros(hw, bool)
            inside[y1:y2, x1:x2] = True
            if inside.any():
                found.append(Bag(inside, label, tight=True))
        return found

    def classes(self, stride: int, n_classes: int) -> npt.NDArray[np.uint8]:
        """The class mask uint8 (h / stride, w / stride) at a stride, with `UNKNOWN` in bags."""
        hw = (self.hw[0] // stride, self.hw[1] // stride)
        if self.label is not None:
            return np.full(hw, UNKNOWN, np.uint8)
        known = np.where(self.class_mask == UNKNOWN, 0, self.class_mask).astype(np.uint8)
        classes = resize_class_mask(known, hw, n_classes, covered=COVERED)
        unknown = resize_class_mask(
            (self.class_mask == UNKNOWN).astype(np.uint8), hw, 1, covered=1e-6
        )
        return np.where((unknown > 0) & (classes == 0), UNKNOWN, classes).astype(np.uint8)


def pieces_of(dataset: Dataset, sample: Sample, *, size: int, tiles: int) -> Iterator[Piece]:
    """An image as the network sees it: whole, or in tiles.

    Args:
        dataset: that it is of.
        sample: the image.
        size: longer side of the whole image, or side of a tile, in pixels.
        tiles: along the image's longer side.
    """
    image_rgb = read_image_rgb(sample.image_path)
    if tiles == 1:
        image_rgb = resize_to(image_rgb, fitted_hw(sample.image_hw, size))
    else:
        image_rgb = resize_for_tiles(image_rgb, size, tiles)
    hw = (image_rgb.shape[0], image_rgb.shape[1])
    strength = dataset.strengths[sample.image_id]
    truth = dataset.truths[sample.image_id]
    mask, boxes = _truth_at(truth, strength, hw, n_classes=len(dataset.class_names))
    label = dataset.class_names.index(sample.defect_type) if strength == "image" else None
    labels = truth.labels.astype(np.int64) if strength == "boxes" else np.zeros(0, np.int64)
    if tiles == 1:
        yield Piece(sample.image_id, sample.group, strength, image_rgb, mask, boxes, labels, label)
        return
    for y, x in tile_windows(hw, size):
        kept, inside = _boxes_of_tile(boxes, (y, x), size)
        yield Piece(
            sample.image_id,
            sample.group,
            strength,
            cut_tile(image_rgb, (y, x), size, reflect=True),
            cut_tile(mask, (y, x), size, reflect=False),
            kept,
            labels[inside],
            label,
        )


def _truth_at(
    truth: Regions, strength: LabelStrength, hw: tuple[int, int], *, n_classes: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Class mask and boxes at another size."""
    none = np.zeros((0, 4), np.float32)
    if strength == "masks":
        mask = resize_class_mask(truth.class_index_mask(), hw, n_classes, covered=COVERED)
        return mask, none
    if strength == "image":
        return np.full(hw, UNKNOWN, np.uint8), none
    height, width = truth.image_hw
    scale = np.array([hw[1] / width, hw[0] / height] * 2, np.float32)
    boxes = truth.boxes_xyxy * scale
    mask = np.zeros(hw, np.uint8)
    for x1, y1, x2, y2 in boxes:
        rows = slice(int(np.floor(y1)), int(np.ceil(y2)))
        mask[rows, int(np.floor(x1)) : int(np.ceil(x2))] = UNKNOWN
    return mask, boxes


def _boxes_of_tile(
    boxes_xyxy: npt.NDArray[np.float32], top_left: tuple[int, int], size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Boxes in a tile's own pixels, cut at its edges, and which ones it holds most of."""
    y, x = top_left
    shifted = boxes_xyxy - np.array([x, y, x, y], np.float32)
    cut = np.clip(shifted, 0, size)
    whole = (shifted[:, 2:] - shifted[:, :2]).prod(axis=1)
    held = (cut[:, 2:] - cut[:, :2]).prod(axis=1) >= MOST_OF_BOX * whole
    return cut[held], held
