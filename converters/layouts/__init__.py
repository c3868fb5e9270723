"""Source layouts, one file each, and the choice among them."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from annotations import LayoutError, UsageError
from converters.inventory import SourceFiles
from converters.layouts import (
    class_folders,
    class_masks,
    coco,
    cvat,
    dagm,
    deeppcb,
    label_studio,
    labelme,
    lists,
    mvtec,
    pairs,
    real_iad,
    rle_table,
    supervisely,
    visa,
    voc,
    yolo,
)
from converters.layouts.source import FindOptions, Found, SourceImage
from converters.layouts.unknown import advice

__all__ = [
    "LAYOUTS",
    "FindOptions",
    "Found",
    "SourceImage",
    "check_options",
    "find_images",
    "takes_unlabeled",
]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout.

    Attributes:
        recognize: says why a source has this layout, or None. Looks at names and first
            bytes only.
        find: lists the images and how their truth is read.
        uses: what of `FindOptions` it looks at, beside `good`.
        needs: what a source must have, as a text.
    """

    recognize: Callable[[SourceFiles, FindOptions], str | None]
    find: Callable[[SourceFiles, FindOptions], Found]
    uses: frozenset[str]
    needs: str


def _layout(module: object, needs: str, *uses: str) -> Layout:
    return Layout(module.recognize, module.find, frozenset(uses), needs)  # type: ignore[attr-defined]


_UNLABELED: Final = "no_mask_is_good"
_MISSING: Final = "masks_may_miss"
_PATTERNS: Final = ("images", "masks", _UNLABELED)
# In the order in which `auto` asks them: from what can hardly be anything else to what fits much.
_REGISTRY: Final[dict[str, Layout]] = {
    "mvtec": _layout(mvtec, mvtec.EXPECTED, _MISSING),
    "visa": _layout(visa, "image_anno.csv", _MISSING),
    "deeppcb": _layout(deeppcb, "pairs such as 00041000_temp.jpg and _test.jpg", "classes"),
    "dagm": _layout(dagm, "Train/Label/0576_label.PNG, or Class1_def/labels.txt"),
    "real-iad": _layout(real_iad, "a JSON with image_path and anomaly_class"),
    "supervisely": _layout(supervisely, "img and ann with a .json an image", _UNLABELED),
    "labelme": _layout(labelme, "a .json an image with shapes and imagePath", _UNLABELED),
    "label-studio": _layout(label_studio, "a JSON list of tasks", _UNLABELED),
    "cvat": _layout(cvat, "an XML with <annotations>", _UNLABELED),
    "voc": _layout(voc, "an .xml an image with <annotation>", _UNLABELED, "crowd_is_defect"),
    "coco": _layout(
        coco, "a JSON with images, annotations and categories", _UNLABELED, "crowd_is_defect"
    ),
    "rle-table": _layout(
        rle_table, "a CSV with a column EncodedPixels", "classes", _UNLABELED
    ),
    "class-masks": _layout(
        class_masks, "masks and classes.txt, or SegmentationClass and labelmap.txt", "classes",
        *_PATTERNS,
    ),
    "yolo": _layout(yolo, "data.yaml, or images and .txt labels of their names", "classes"),
    "pairs": _layout(pairs, "images with masks of their names", *_PATTERNS, _MISSING),
    "list": _layout(lists, "a CSV, TSV or JSON with the columns path and label"),
    "class-folders": _layout(
        class_folders, "folders that name the class, such as OK and NG", "good_only"
    ),
}  # fmt: skip
# The same folders under another name, so that a person finds the set's own name in the list.
_ALIASES: Final = {
    "mpdd": "mvtec", "btad": "mvtec", "severstal": "rle-table", "neu-det": "voc",
    "roboflow": "coco", "labelimg": "voc",
}  # fmt: skip
LAYOUTS: Final = ("auto", *_REGISTRY, *_ALIASES)
_FLAGS: Final = {
    "images": "--images",
    "masks": "--masks",
    "classes": "--classes",
    "no_mask_is_good": "--no-mask-is-good",
    "crowd_is_defect": "--crowd-is-defect",
    "good_only": "--good-only",
    "masks_may_miss": "--missing-masks",
}
_OF_PATTERNS: Final = "pairs"
_OF_GOOD: Final = "class-folders"


def check_options(layout: str) -> None:
    """Refuse an unknown layout before anything is read.

    Raises:
        UsageError: near names are given.
    """
    if layout not in LAYOUTS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"Unknown layout {layout!r}.{hint} Known are {', '.join(LAYOUTS)}.")


def takes_unlabeled(layout: str) -> bool:
    """Whether a person can say of a layout's unlabeled images that they are good.

    Args:
        layout: as `find_images` names it, with or without the reason.
    """
    name = layout.split(":")[0]
    return _UNLABELED in _REGISTRY[_ALIASES.get(name, name)].uses


def find_images(files: SourceFiles, layout: str, options: FindOptions) -> tuple[Found, str]:
    """Find the images of a source.

    Args:
        files: of the source.
        layout: one of `LAYOUTS`.
        options: what the person says about the source.

    Returns:
        What was found, and the layout with the reason for it.

    Raises:
        UsageError: an unknown layout, or an option that the layout does not use.
        LayoutError: the source does not have the layout, or for `auto` none that is known.
        InputError: what a layout refuses.
    """
    check_options(layout)
    if layout != "auto":
        name, reason = _ALIASES.get(layout, layout), "as asked for"
        shown = layout
    else:
        name, reason = _recognized(files, options)
        shown = name
    chosen = _REGISTRY[name]
    idle = [
        flag for key, flag in _FLAGS.items() if getattr(options, key) and key not in chosen.uses
    ]
    if idle and not options.shared:
        users = [n for n, one in _REGISTRY.items() if all(
            k in one.uses for k, f in _FLAGS.items() if f in idle)]  # fmt: skip
        raise UsageError(
            f"{' and '.join(idle)} would have no effect: {files.root} is read as {shown} "
            f"({reason}), which does not use {'it' if len(idle) == 1 else 'them'}"
            f"{'; ' + ', '.join(users) + ' would' if users else ''}. Leave it out, or say "
            "--layout."
        )
    found = chosen.find(files, options)
    found.idle = frozenset(idle)
    return found, f"{shown}: {reason}"


def _recognized(files: SourceFiles, options: FindOptions) -> tuple[str, str]:
    if options.images or options.masks:
        return _OF_PATTERNS, "patterns were given"
    if options.good_only:
        return _OF_GOOD, "every image is good, as asked for"
    for name, candidate in _REGISTRY.items():
        reason = candidate.recognize(files, options)
        if reason is not None:
            return name, reason
    missed = {name: one.needs for name, one in _REGISTRY.items()}
    raise LayoutError(advice(files, missed))
