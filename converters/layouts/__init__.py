"""Source layouts, one file each, and the choice among them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from annotations import LayoutError, UsageError
from converters.layouts import btad, class_masks, coco, mvtec, pairs, visa, voc, yolo
from converters.layouts.source import FindOptions, Found, SourceImage

__all__ = ["LAYOUTS", "FindOptions", "Found", "SourceImage", "find_images"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout.

    Attributes:
        recognise: says in words why a source has this layout, or None. Looks at names only.
        find: lists the images and how their truth is read.
    """

    recognise: Callable[[Path, FindOptions], str | None]
    find: Callable[[Path, FindOptions], Found]


# In the order in which `auto` asks them: from what can hardly be anything else to what fits much.
_REGISTRY: Final[dict[str, Layout]] = {
    "mvtec": Layout(mvtec.recognise, mvtec.find),
    "btad": Layout(btad.recognise, btad.find),
    "visa": Layout(visa.recognise, visa.find),
    "voc": Layout(voc.recognise, voc.find),
    "yolo": Layout(yolo.recognise, yolo.find),
    "class-masks": Layout(class_masks.recognise, class_masks.find),
    "coco": Layout(coco.recognise, coco.find),
    "pairs": Layout(pairs.recognise, pairs.find),
}
# The same folders under another name, so that a person finds the set's own name in the list.
_ALIASES: Final = {"mpdd": "mvtec"}
LAYOUTS: Final = ("auto", *_REGISTRY, *_ALIASES)


def find_images(source: Path, layout: str, options: FindOptions) -> tuple[Found, str]:
    """Find the images of a source.

    Args:
        source: a folder, or a label file for the layouts that have one.
        layout: one of `LAYOUTS`.
        options: what the person says about the source.

    Returns:
        What was found, and the layout with the reason for it.

    Raises:
        UsageError: an unknown layout.
        LayoutError: the source does not have the layout, or for `auto` none that is known.
        InputError: what a layout refuses.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"Unknown layout {layout!r}; known are {', '.join(LAYOUTS)}.")
    if layout != "auto":
        return _REGISTRY[_ALIASES.get(layout, layout)].find(source, options), (
            f"{layout}: as asked for"
        )
    if not source.exists():
        raise LayoutError(f"There is no folder {source}. Check the path.")
    for name, candidate in _REGISTRY.items():
        reason = candidate.recognise(source, options)
        if reason is not None:
            return candidate.find(source, options), f"{name}: {reason}"
    # No layout: the most common one says best what was expected.
    raise LayoutError(mvtec.not_this_layout(source, mvtec.MVTEC_AD))
