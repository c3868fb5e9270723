"""What stays of an image and its truth once they were read, and the names of what is counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from annotations import Regions
from annotations.regions import CocoRle, boxes_of_masks
from converters.masks import IGNORE

PADDED: Final = "JPEG images with zeros after their end"
AMBIGUOUS: Final = "gray mask pixels"
REMOVED_REGIONS: Final = "regions below the minimum area, removed"
REMOVED_PIXELS: Final = "pixels of regions below the minimum area, removed"
MERGED: Final = "regions merged into a near one"
IGNORED: Final = "regions to be ignored (iscrowd = 1)"
MAPPED_TO_GOOD: Final = "regions of classes mapped to good, removed"
TURNED: Final = "masks turned upright with their EXIF-rotated image"
LOST: Final = "pixels of regions wholly below half of the range, left out"
IGNORED_BY_OPTION: Final = "it holds nothing but regions to be ignored, as asked for"
IGNORED_BY_SOURCE: Final = (
    "it holds nothing but regions that the source ignores (iscrowd, difficult)"
)
BOXES: Final = "regions known as boxes alone; nothing is said of their pixels"
MIXED: Final = (
    "masks in images that have boxes without masks, too; they count as boxes, since not all pixels "
    "of these images are known"
)
ASSUMED: Final = "masks of EXIF-rotated images, taken as drawn on the image as displayed"


@dataclass(frozen=True, slots=True)
class Region:
    """One region with its class by name.

    Attributes:
        name: class in the dataset.
        rle: its mask.
        box_xyxy: its box, where the source gives one of its own; None: the mask's.
        ignored: neither defect nor background.
        by_option: True where a person asked for that, and not the source alone.
        box_only: True where the source knows no more than a box; `rle` is then the filled box,
            which serves to measure and to merge, and is no truth.
    """

    name: str
    rle: CocoRle
    box_xyxy: tuple[float, float, float, float] | None
    ignored: bool
    by_option: bool = False
    box_only: bool = False


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """All that stays of an image and its truth.

    Attributes:
        image_hw: of the image.
        sha256: of its file.
        defect_type: `good` or the class, after the options.
        regions: from top to bottom as cut.
        exact: whether the RLE gave the mask back bit for bit; None without a mask.
        counts: by what was counted; None for nothing.
        left_out: why the image cannot be part of the dataset, or None.
        seen: class names as the source has them.
        level: the one value that its binary mask has beside 0; None for several or none.
        share: part of the image that its binary masks cover; None without one.
        remade: True where the dataset holds the image as an 8-bit PNG, and `sha256` is of that.
    """

    image_hw: tuple[int, int]
    sha256: str
    defect_type: str
    regions: tuple[Region, ...]
    exact: bool | None
    counts: Counter[str] | None
    left_out: str | None = None
    seen: frozenset[str] = frozenset()
    level: int | tuple[int, int, int] | None = None
    share: float | None = None
    remade: bool = False


@dataclass(slots=True)
class Reading:
    """What is gathered while the truth of one image is read."""

    counts: Counter[str]
    seen: set[str] = field(default_factory=set)
    exact: bool | None = None
    level: int | tuple[int, int, int] | None = None
    share: float | None = None


def regions_of(facts: ImageFacts, class_names: Sequence[str], *, ignored: bool) -> Regions:
    """An image's regions, or those to be ignored, with labels into `class_names`.

    Where one of them is known as a box alone, none has a mask: not all of the image's pixels are
    known then.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    chosen = [region for region in facts.regions if region.ignored == ignored]
    if not chosen:
        return Regions.empty(facts.image_hw)
    boxes = boxes_of_masks([region.rle for region in chosen])
    for index, region in enumerate(chosen):
        if region.box_xyxy is not None:
            boxes[index] = region.box_xyxy
    # Of ignored boxes the pixels are disregarded, all of them: that is no truth about pixels.
    boxes_alone = not ignored and any(region.box_only for region in chosen)
    return Regions(
        boxes_xyxy=boxes,
        masks=None if boxes_alone else tuple(region.rle for region in chosen),
        labels=np.array([label_of[r.name] if r.name != IGNORE else 0 for r in chosen], np.int64),
        scores=None,
        image_hw=facts.image_hw,
    )
