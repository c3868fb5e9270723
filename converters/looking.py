"""What only the whole set tells: options without effect, inverted or coded masks, bits in use."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from annotations import GOOD, InputError, UsageError
from annotations.image_headers import read_bits
from annotations.images import largest_value
from converters.facts import ImageFacts
from converters.layouts.source import BinaryMasks, Found, IndexMasks, SourceImage
from converters.names import means_good
from converters.read_options import ReadOptions
from converters.report import ConversionReport, ConvertOptions

MAX_CLASSES: Final = 255
"""Class-index masks have 8 bits, and 0 is background."""
_DEPTHS: Final = (8, 10, 12, 14, 16)
_FULL: Final = frozenset({1, 255, 65535})
"""Values that all mean `inside`, whichever tool wrote the mask."""
_MAY_BE_DEEP: Final = frozenset({".png", ".tif", ".tiff", ".jp2"})
_MOSTLY: Final = 0.5


def require_few_classes(names: Collection[str], listed: Collection[str] | None = None) -> None:
    """Refuse more classes than a class-index mask can hold.

    Raises:
        InputError: more than `MAX_CLASSES`.
    """
    n = max(len({name for name in some if name != GOOD}) for some in (names, listed or ()))
    if n > MAX_CLASSES:
        raise InputError(
            f"The source has {n} classes; {MAX_CLASSES} can be told apart. Join some of them "
            "(--map-class OLD=NEW, or --one-class NAME)."
        )


def settle_pixels(found: Found, options: ConvertOptions, report: ConversionReport) -> ReadOptions:
    """Decide how many bits the values of 16-bit images have: as told, or as the set uses.

    Raises:
        ImageReadError: an image that cannot be read.
        UsageError: --bit-depth where no image has 16 bits.
    """
    read = options.read
    deep = [
        image.image_path
        for image in found.images
        if image.image_path.suffix.lower() in _MAY_BE_DEEP and read_bits(image.image_path) == 16
    ]
    if not deep:
        if options.find.shared:
            return replace(read, bit_depth=None)
        if read.bit_depth is not None:
            raise UsageError(
                f"--bit-depth {read.bit_depth} would have no effect: no image of {report.source} "
                "has 16 bits. Leave it out."
            )
        return read
    if read.bit_depth is None:
        top = max(largest_value(path) for path in deep)
        depth = next(d for d in _DEPTHS if top < 1 << d)
        report.notes.append(
            f"{len(deep)} images of 16 bits use values up to {top}: they are read as {depth} bits, "
            "here and in prediction (--bit-depth says otherwise)"
        )
        return replace(read, bit_depth=depth)
    return read


def require_effect(found: Found, facts: Sequence[ImageFacts], options: ConvertOptions) -> None:
    """Refuse what a person said that nothing in the source answers to.

    Raises:
        UsageError: names the near ones.
    """
    read = options.read
    seen = {image.defect_type for image in found.images} | set(found.class_names or ())
    seen |= {name for one in facts for name in one.seen}
    _require_names("--map-class", read.map_class, seen)
    mapped = {read.map_class.get(name, name) for name in seen}
    _require_names("--ignore", read.ignore, mapped)
    folders = {part for image in found.images for part in image.relative.split("/")[:-1]}
    for name in options.find.good:
        if not any(
            one.casefold() == name.casefold() or (means_good(one, (name,)) and not means_good(one))
            for one in mapped | folders | found.said
        ):
            raise UsageError(_no_such("--good", name, seen | folders))
    has_masks = any(isinstance(i.truth, BinaryMasks | IndexMasks) for i in found.images)
    idle = [
        flag
        for flag, value in (
            ("--mask-threshold", read.mask_threshold),
            ("--mask-values", read.mask_values),
            ("--invert-masks", read.invert_masks),
        )
        if value
    ]
    if idle and not has_masks:
        raise UsageError(
            f"{' and '.join(idle)} would have no effect: the source has labels, and no masks. "
            "Leave it out."
        )


def _require_names(flag: str, wanted: Collection[str], seen: Collection[str]) -> None:
    for name in wanted:
        if name not in seen:
            raise UsageError(_no_such(flag, name, seen))


def _no_such(flag: str, name: str, seen: Collection[str]) -> str:
    names = sorted(one for one in seen if one != GOOD)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"{flag} names the class {name[:60]!r}, which does not occur.{hint} There are "
        f"{', '.join(names[:12]) or 'none'}{' …' if len(names) > 12 else ''}."
    )


def _order(name: str) -> list[int]:
    return [int(part) for part in name.split(":")]


def require_one_label(
    images: Sequence[SourceImage], facts: Sequence[ImageFacts], report: ConversionReport
) -> None:
    """Refuse equal image files of which one is good and another defective by its image label.

    Where the defective one has a mask or boxes, which somebody drew on it, they are counted.

    Raises:
        InputError: names pairs of files.
    """
    good = {
        one.sha256: image
        for image, one in zip(images, facts, strict=True)
        if one.defect_type == GOOD
    }
    both = [
        (f"{good[one.sha256].relative} and {image.relative}", image.truth is None)
        for image, one in zip(images, facts, strict=True)
        if one.defect_type != GOOD and one.sha256 in good
    ]
    if both:
        report.counts["defective images whose equal file is filed as good"] += len(both)
    pairs = [pair for pair, by_image_label in both if by_image_label]
    if pairs:
        raise InputError(
            f"{len(pairs)} images are good and defective at once, as equal files have both labels: "
            f"{', '.join(pairs[:5])}{' …' if len(pairs) > 5 else ''}. Look at them, and remove the "
            "file whose label is wrong."
        )


def look_at_masks(
    images: Sequence[SourceImage], facts: Sequence[ImageFacts], options: ConvertOptions
) -> None:
    """Ask where the masks of a set, seen together, look inverted or coded.

    Raises:
        InputError: most masks are mostly inside, or masks of two levels have other levels each.
    """
    read = options.read
    covered = [one.share for one in facts if one.share]
    mostly = sum(share > _MOSTLY for share in covered)
    if read.invert_masks is None and mostly > _MOSTLY * len(covered):
        example = next(
            i.mask_path for i, f in zip(images, facts, strict=True) if f.share and f.share > _MOSTLY
        )
        raise InputError(
            f"In {mostly} of {len(covered)} masks that are not empty, most of the image is inside "
            f"({example}): they look inverted. Say so (--invert-masks), or that they are right "
            "(--no-invert-masks)."
        )
    levels = {one.level for one in facts if one.level is not None}
    if read.mask_threshold is None and len(levels - _FULL) + bool(levels & _FULL) > 1:
        names = sorted(
            (":".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in levels), key=_order
        )
        listed = ", ".join(names[:8])
        raise InputError(
            f"The masks have one level each, but not the same: {listed}. Levels that differ from "
            "mask to mask look like classes. Say what they mean (--mask-values "
            f"{','.join(f'{name}=NAME' for name in names[:3])}), or that every level "
            "is a defect (--mask-threshold 1)."
        )
