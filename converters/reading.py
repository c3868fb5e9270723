"""Reading: from source images to labels, image by image.

Of an image only its header is read; of its mask the pixels, and what stays in memory is the RLE.
So the proof that nothing was lost is made here, while the mask is at hand: the RLE texts, decoded
by pycocotools alone, must give the mask back bit for bit. Whoever writes the texts to a file only
has to show that they stand there unchanged.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from annotations import GOOD, InputError, Regions, mask_to_regions, rle_area
from annotations.images import (
    ImageHeader,
    check_image_header,
    plain_png,
    sha256_of,
)
from annotations.regions import BoolMask, CocoRle, boxes_of_masks
from converters.layouts.source import (
    BinaryMasks,
    IndexMasks,
    Shape,
    Shapes,
    SourceImage,
    YoloLabels,
)
from converters.layouts.yolo import shapes_of_labels
from converters.masks import (
    BACKGROUND,
    IGNORE,
    MaskPixels,
    classes_in,
    cut_mask,
    read_mask_pixels,
    turn_upright,
)
from converters.merging import merge_near
from converters.read_options import ReadOptions
from converters.shapes import box_of, is_clipped, shape_rle, turn_rle, union_rle

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
class _Reading:
    """What is gathered while the truth of one image is read."""

    counts: Counter[str]
    seen: set[str] = field(default_factory=set)
    exact: bool | None = None
    level: int | tuple[int, int, int] | None = None
    share: float | None = None


def read_one(image: SourceImage, options: ReadOptions) -> ImageFacts:
    """Read one image's header and its truth.

    Raises:
        InputError: a truth that does not fit the image, or cannot be understood.
        ImageReadError: a file that cannot be read.
    """
    header = check_image_header(image.image_path, max_pixels=options.max_pixels)
    remade = header.must_be_remade
    if remade:
        png = plain_png(image.image_path, bit_depth=options.bit_depth)
        digest = hashlib.sha256(png).hexdigest()
    else:
        digest = sha256_of(image.image_path)
    reading = _Reading(Counter())
    if header.padding:
        reading.counts[PADDED] += 1
    if image.truth is None:
        regions: list[Region] = []
    elif isinstance(image.truth, BinaryMasks | IndexMasks):
        regions = _from_masks(image, image.truth, header, options, reading)
    else:
        shapes = image.truth
        if isinstance(shapes, YoloLabels):
            shapes = shapes_of_labels(shapes, header.image_hw)
        reading.counts.update(shapes.counts)
        regions = _from_shapes(image, shapes, header, options, reading)
    defect_type, left_out = _type_of(image, regions, options)
    regions = _apply(regions, options, reading.counts)
    return ImageFacts(
        image_hw=header.image_hw,
        sha256=digest,
        defect_type=defect_type,
        regions=tuple(regions),
        exact=reading.exact,
        counts=reading.counts or None,
        left_out=left_out,
        seen=frozenset(reading.seen),
        level=reading.level,
        share=reading.share,
        remade=remade,
    )


def _type_of(
    image: SourceImage, regions: list[Region], options: ReadOptions
) -> tuple[str, str | None]:
    """The image's type, and why it must be left out, if it must."""
    filed, filed_ignored = options.final_name(image.defect_type)
    defects = [region for region in regions if not region.ignored and region.name != GOOD]
    mapped_away = image.defect_type != GOOD and filed == GOOD
    if defects and image.defect_type == GOOD and not image.type_from_regions:
        raise InputError(
            f"{image.image_path} is filed under good, but {image.mask_path or 'its labels'} marks "
            f"{sum(rle_area(r.rle) for r in defects)} pixels as a defect. Move the image to its "
            "defect class, or empty the mask."
        )
    if defects and (image.type_from_regions or mapped_away or filed_ignored):
        areas: Counter[str] = Counter()
        for region in defects:
            areas[region.name] += rle_area(region.rle)
        return max(sorted(areas), key=lambda name: areas[name]), None
    if filed_ignored:
        return GOOD, IGNORED_BY_OPTION
    if not defects and any(region.ignored for region in regions):
        by_option = all(region.by_option for region in regions if region.ignored)
        return GOOD, IGNORED_BY_OPTION if by_option else IGNORED_BY_SOURCE
    return filed, None


def _from_masks(
    image: SourceImage,
    truth: BinaryMasks | IndexMasks,
    header: ImageHeader,
    options: ReadOptions,
    reading: _Reading,
) -> list[Region]:
    regions: list[Region] = []
    reading.exact = True
    if options.mask_values:
        truth = IndexMasks(truth.paths, options.mask_values, None)
    covered = 0
    for path in truth.paths:
        coded = isinstance(truth, IndexMasks)
        colors = coded and any(isinstance(v, tuple) for v in truth.class_of_value or ())  # type: ignore[union-attr]
        pixels = read_mask_pixels(
            path,
            header=header,
            image_path=image.image_path,
            kind="colors" if colors else "indices" if coded else "binary",
            may_be_coded=options.mask_threshold is None
            and not (isinstance(truth, BinaryMasks) and truth.any_value),
        )
        _count_turns(pixels, reading.counts)
        layers: list[tuple[str, BoolMask]]
        if isinstance(truth, BinaryMasks):
            cut = cut_mask(
                pixels.values,
                path,
                threshold=options.mask_threshold,
                any_value=truth.any_value,
            )
            inside = ~cut.inside if options.invert_masks else cut.inside
            if cut.n_ambiguous:
                reading.counts[AMBIGUOUS] += cut.n_ambiguous
            if cut.n_lost:
                reading.counts[LOST] += cut.n_lost
            reading.level = cut.level if pixels.color is None else pixels.color
            covered += int(np.count_nonzero(inside))
            layers = [(truth.class_name, inside)]
        else:
            layers = _layers(pixels, path, truth, options)
        for name, inside in layers:
            reading.seen.add(name)
            final, ignored = options.final_name(name)
            ignored = ignored or name == IGNORE
            cut_out = mask_to_regions(inside)
            rles = list(cut_out.masks or ())
            reading.exact = reading.exact and gives_back(rles, inside)
            regions += [Region(final, rle, None, ignored, by_option=True) for rle in rles]
    if isinstance(truth, BinaryMasks):
        reading.share = covered / (header.image_hw[0] * header.image_hw[1])
    return regions


def _layers(
    pixels: MaskPixels, path: Path, truth: IndexMasks, options: ReadOptions
) -> list[tuple[str, BoolMask]]:
    """One mask for every class of the dataset; values of one class are cut together."""
    by_value = classes_in(pixels.values, path, truth.class_of_value, names_from=truth.names_from)
    values_of: dict[tuple[str, bool], list[int]] = {}
    source_name: dict[tuple[str, bool], str] = {}
    for value, name in by_value.items():
        if name == BACKGROUND:
            continue
        key = options.final_name(name)
        values_of.setdefault(key, []).append(value)
        source_name.setdefault(key, name)
    return [
        (
            source_name[key],
            pixels.values == values[0] if len(values) == 1 else np.isin(pixels.values, values),
        )
        for key, values in values_of.items()
    ]


def _count_turns(pixels: MaskPixels, counts: Counter[str]) -> None:
    if pixels.turned:
        counts[TURNED] += 1
    if pixels.assumed_upright:
        counts[ASSUMED] += 1


def gives_back(rles: Sequence[CocoRle], mask: BoolMask) -> bool:
    """Whether pycocotools alone decodes these RLEs to the mask, bit for bit."""
    if not rles:
        return not mask.any()
    encoded = [{**rle, "counts": rle["counts"].encode("ascii")} for rle in rles]
    union = encoded[0] if len(encoded) == 1 else coco_mask.merge(encoded)
    # All of the mask lies in its bounding rectangle: equal there, and as many pixels in all.
    x, y, wide, high = cv2.boundingRect(mask.view(np.uint8))
    window = np.s_[y : y + high, x : x + wide]
    same = np.array_equal(coco_mask.decode(union)[window], mask.view(np.uint8)[window])
    return same and int(coco_mask.area(union)) == cv2.countNonZero(mask.view(np.uint8))


def _from_shapes(
    image: SourceImage,
    truth: Shapes,
    header: ImageHeader,
    options: ReadOptions,
    reading: _Reading,
) -> list[Region]:
    counts = reading.counts
    frame_hw, turn = header.image_hw, None
    if truth.image_hw is not None and truth.image_hw != header.image_hw:
        if truth.image_hw == header.stored_hw:
            frame_hw = header.stored_hw
            turn = partial(turn_upright, orientation=header.orientation)
            counts["images whose labels were turned upright with them"] += 1
        elif truth.image_hw == header.image_hw[::-1]:
            counts["images whose label file states width and height the wrong way round"] += 1
        else:
            height, width = header.image_hw
            raise InputError(
                f"{image.image_path} is {width}×{height} pixels, but its labels were made for "
                f"{truth.image_hw[1]}×{truth.image_hw[0]}. Restore the image, or label it again."
            )
    regions: list[Region] = []
    known: set[tuple[str, str, tuple[float, ...] | None, bool]] = set()
    for shape in truth.shapes:
        reading.seen.add(shape.class_name)
        if shape.kind == "box" and _has_no_size(shape):
            counts["boxes without width or height, dropped"] += 1
            continue
        rle, note = shape_rle(shape, frame_hw)
        if note is not None:
            counts[note] += 1
        if is_clipped(shape, frame_hw):
            counts["shapes clipped to their image"] += 1
        if not rle_area(rle):
            counts["regions without a pixel, dropped"] += 1
            continue
        box = None
        if shape.kind == "box":
            counts[BOXES] += 1
            if turn is None:
                box = _as_box(shape, frame_hw)
        if turn is not None:
            rle = turn_rle(rle, turn)
        name, ignored = options.final_name(shape.class_name)
        key = (shape.class_name, rle["counts"], box, shape.ignore)
        if key in known:
            counts["labels that stand twice, counted once"] += 1
            continue
        known.add(key)
        by_option = ignored and not shape.ignore
        box_only = shape.kind == "box"
        regions.append(Region(name, rle, box, ignored or shape.ignore, by_option, box_only))
    n_masks = sum(not region.box_only for region in regions)
    if n_masks < len(regions) and n_masks:
        counts[MIXED] += n_masks
    return regions


def _has_no_size(shape: Shape) -> bool:
    numbers = shape.data
    return len(numbers) == 4 and (numbers[0] == numbers[2] or numbers[1] == numbers[3])


def _as_box(shape: Shape, image_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in box_of(shape, image_hw))
    return x1, y1, x2, y2


def _apply(regions: list[Region], options: ReadOptions, counts: Counter[str]) -> list[Region]:
    """Drop what is mapped to good, merge what is near, remove what is small."""
    kept = [region for region in regions if region.ignored or region.name != GOOD]
    if len(kept) < len(regions):
        counts[MAPPED_TO_GOOD] += len(regions) - len(kept)
    if options.merge_distance > 0:
        before = len(kept)
        kept = [
            Region(
                kept[members[0]].name,
                union_rle([kept[i].rle for i in members]),
                kept[members[0]].box_xyxy if len(members) == 1 else None,
                kept[members[0]].ignored,
                kept[members[0]].by_option,
                any(kept[i].box_only for i in members),
            )
            for members in merge_near(
                [region.rle for region in kept],
                [(region.name, region.ignored) for region in kept],
                options.merge_distance,
            )
        ]
        if len(kept) < before:
            counts[MERGED] += before - len(kept)
    if options.min_area > 1:
        large = []
        for region in kept:
            area = rle_area(region.rle)
            if area < options.min_area and not region.ignored:
                counts[REMOVED_REGIONS] += 1
                counts[REMOVED_PIXELS] += area
            else:
                large.append(region)
        kept = large
    n_ignored = sum(region.ignored for region in kept)
    if n_ignored:
        counts[IGNORED] += n_ignored
    return kept


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
