"""Reading: from source images to labels, image by image.

Of an image only its header is read; of its mask the pixels, and what stays in memory is the RLE.
So the proof that nothing was lost is made here, while the mask is at hand: the RLE texts, decoded
by pycocotools alone, must give the mask back bit for bit. Whoever writes the texts to a file only
has to show that they stand there unchanged.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from annotations import GOOD, InputError, mask_to_regions, rle_area
from annotations.image_headers import ImageHeader
from annotations.images import check_image_header, plain_png, sha256_of
from annotations.regions import BoolMask, CocoRle
from converters.facts import (
    AMBIGUOUS,
    ASSUMED,
    BOXES,
    IGNORED,
    IGNORED_BY_OPTION,
    IGNORED_BY_SOURCE,
    LOST,
    MAPPED_TO_GOOD,
    MERGED,
    MIXED,
    PADDED,
    REMOVED_PIXELS,
    REMOVED_REGIONS,
    TURNED,
    ImageFacts,
    Reading,
    Region,
)
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
    reading = Reading(Counter())
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
    reading: Reading,
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
    reading: Reading,
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
