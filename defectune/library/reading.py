"""How a source is read: the options that `convert` and `update` share, named here alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, TypedDict, cast

from annotations import UsageError
from annotations.image_headers import MAX_PIXELS
from converters import ConvertOptions, FindOptions, ReadOptions
from defectune.library.arguments import Place, as_path
from defectune.library.options import Option, defaults_of

_HEX: Final = re.compile(r"^#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})$")
_TRIPLE: Final = re.compile(r"^(\d{1,3}):(\d{1,3}):(\d{1,3})$")

_LABELS: Final = Option("Labels", default=False)
_PIXELS: Final = Option("Pixels")
_SOURCE: Final = Option("Source")


class Reading(TypedDict, total=False):
    """How a source is read.

    Attributes:
        layout: Layout of the source. auto finds it out; the others are mvtec (also AD 2, LOCO,
            MPDD and BTAD), visa, real-iad, dagm, deeppcb, coco, yolo, voc, labelme, cvat,
            label-studio, supervisely, rle-table, class-masks, pairs, list (a CSV, TSV or
            JSON of paths and labels) and class-folders (OK and NG, or one folder for each class,
            without masks).
        images: Pattern of the images' paths in the layout pairs, such as "{class}/{name}.jpg".
        masks: Pattern of the masks' paths in the layout pairs, such as "{class}/{name}_mask.png".
        bit_depth: Bits that the values of 16-bit images use, 8 to 16; if not given, as many as
            the dataset uses.
        max_pixels: Refuse images of more pixels than this; 178 million if not given.
        workers: Number of processes that read; one for each core if not given.
        unlabelled: Folder of images that nobody has labelled. They are kept for `predict`, which
            says what to label first; nothing trains on them or counts them.
        good: Name of a class that means good. Can be repeated.
        good_only: Take every image as good. A conversion holds some of them out to test on.
        no_mask_is_good: Take an image without a mask or a label as good.
        missing_masks: What to do with a defective image that has no mask: refuse it, or keep it
            with its image-label, which says that it is defective and not where.
        crowd_is_defect: Take regions marked as crowd (COCO) or difficult (VOC) as defects.
        classes: Names of the source's class numbers, in their order. Can be repeated.
        one_class: Give all defects of the source this one name.
        map_class: Rename a class of the source; the new name good drops it. Can be repeated.
        ignore: Name of a class that is neither defect nor background. Can be repeated.
        allow_leftovers: Go on even where images or labels of the source would be left over.
        group_by: Regular expression on an image's path; what it matches names the physical part.
            An update without it takes the conversion's.
        find_groups: Find photographs of one part by their texture; done by default unless
            `group_by` is given, and by an update as the conversion did.
        mask_threshold: Lowest mask value that is inside a defect; half of the range if not given.
        mask_values: Meaning of mask values or colors: 1=crack,2=dent,255=ignore or #ff0000=crack.
        invert_masks: Say whether dark pixels are inside; refused as unclear if most masks look
            inverted and this is not given.
        min_area: Remove regions of fewer pixels than this, and count them.
        merge_distance: Join regions of one class that are nearer than this many pixels.
        copy: Copy the images in place of linking them.
    """

    layout: Annotated[str, Option("Source", default="auto")]
    images: Annotated[str | None, Option("Source", "PATTERN")]
    masks: Annotated[str | None, Option("Source", "PATTERN")]
    bit_depth: Annotated[int | None, _SOURCE]
    max_pixels: Annotated[int | None, _SOURCE]
    workers: Annotated[int | None, _SOURCE]
    unlabelled: Annotated[Place | None, Option("Source", "FOLDER")]
    good: Annotated[Sequence[str], Option("Labels", "CLASS", default=())]
    good_only: Annotated[bool, _LABELS]
    no_mask_is_good: Annotated[bool, _LABELS]
    missing_masks: Annotated[Literal["refuse", "image-label"], Option("Labels", default="refuse")]
    crowd_is_defect: Annotated[bool, _LABELS]
    classes: Annotated[Sequence[str], Option("Labels", "CLASS", default=())]
    one_class: Annotated[str | None, Option("Labels", "NAME")]
    map_class: Annotated[Mapping[str, str] | Sequence[str], Option("Labels", "OLD=NEW", default=())]
    ignore: Annotated[Sequence[str], Option("Labels", "CLASS", default=())]
    allow_leftovers: Annotated[bool, _LABELS]
    group_by: Annotated[str | None, Option("Split", "REGEX")]
    find_groups: Annotated[bool | None, Option("Split")]
    mask_threshold: Annotated[int | None, _PIXELS]
    mask_values: Annotated[
        str | Mapping[int | tuple[int, int, int], str] | None, Option("Pixels", "VALUE=CLASS,…")
    ]
    invert_masks: Annotated[bool | None, _PIXELS]
    min_area: Annotated[int, Option("Pixels", default=0)]
    merge_distance: Annotated[float, Option("Pixels", default=0.0)]
    copy: Annotated[bool, Option("Output", default=False)]


def as_options(given: Reading) -> ConvertOptions:
    """What was said of a source, with defaults for all else.

    Raises:
        UsageError: classes or mask values that are not told as they should be, or an empty path.
    """
    one = cast(Reading, {**defaults_of(Reading), **given})
    return ConvertOptions(
        layout=one["layout"],
        group_by=one["group_by"],
        find_groups=one["find_groups"],
        find=FindOptions(
            images=one["images"],
            masks=one["masks"],
            good=tuple(one["good"]),
            good_only=one["good_only"],
            no_mask_is_good=one["no_mask_is_good"],
            missing_masks=one["missing_masks"],
            classes=tuple(one["classes"]),
            crowd_is_defect=one["crowd_is_defect"],
        ),
        read=ReadOptions(
            mask_threshold=one["mask_threshold"],
            min_area=one["min_area"],
            merge_distance=one["merge_distance"],
            one_class=one["one_class"],
            map_class=parse_class_map(one["map_class"]),
            ignore=tuple(one["ignore"]),
            mask_values=parse_mask_values(one["mask_values"]),
            invert_masks=one["invert_masks"],
            bit_depth=one["bit_depth"],
            max_pixels=MAX_PIXELS if one["max_pixels"] is None else one["max_pixels"],
        ),
        workers=one["workers"],
        copy_images=one["copy"],
        allow_leftovers=one["allow_leftovers"],
        unlabelled=None if one["unlabelled"] is None else as_path(one["unlabelled"], what="folder"),
    )


def parse_mask_values(
    text: str | Mapping[int | tuple[int, int, int], str] | None,
) -> dict[int | tuple[int, int, int], str]:
    """Read --mask-values, or take a mapping as it is.

    Texts are 1=crack,2=dent,255=ignore; colors as #ff0000=crack or 255:0:0=crack.

    Raises:
        UsageError: not of this form, or one value twice.
    """
    if isinstance(text, Mapping):
        return dict(text)
    result: dict[int | tuple[int, int, int], str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        value, sign, name = (word.strip() for word in part.partition("="))
        key: int | tuple[int, int, int] | None = None
        if value.isascii() and value.isdecimal() and len(value) <= 5:
            key = int(value)
        elif (match := _HEX.match(value)) and value.startswith("#"):
            key = (int(match[1], 16), int(match[2], 16), int(match[3], 16))
        elif match := _TRIPLE.match(value):
            key = (int(match[1]), int(match[2]), int(match[3]))
        too_large = isinstance(key, tuple) and max(key) > 255
        if not sign or not name or key is None or key in result or too_large:
            raise UsageError(
                "--mask-values takes VALUE=CLASS, several with commas, each VALUE once: "
                f"1=crack,2=dent,255=ignore or #ff0000=crack; got {part[:60]!r}."
            )
        result[key] = name
    return result


def parse_class_map(
    texts: Sequence[str] | Mapping[str, str], *, option: str = "--map-class"
) -> dict[str, str]:
    """Read --map-class OLD=NEW, or take a mapping as it is.

    Raises:
        UsageError: not of this form, or one class twice.
    """
    if isinstance(texts, Mapping):
        return dict(texts)
    result: dict[str, str] = {}
    for text in texts:
        old, sign, new = text.partition("=")
        if not sign or not old or not new or old in result:
            raise UsageError(f"{option} takes OLD=NEW, each OLD once; got {text!r}.")
        result[old] = new
    return result
