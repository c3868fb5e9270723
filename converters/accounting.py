"""What became of every file and label of a source: used, passed over for a reason, or left over."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from annotations import InputError
from annotations.images import is_image_path
from converters.inventory import VIDEO_SUFFIXES, SourceFiles, looks_like_label
from converters.layouts.source import BinaryMasks, Found, IndexMasks, YoloLabels

MOST_LEFT_OVER: Final = 0.01
"""Part of the images that may be left over without `--allow-leftovers`."""
_ABOUT: Final = frozenset(
    {"demo", "demos", "docs", "doc", "assets", "figures", "figs", "examples", "example", "preview"}
    | {"previews", "screenshots", "thumbnails", "thumbs", "visualization", "vis", "readme"}
)
"""Folders of pictures that show a set, and are no part of it."""
_NAMED: Final = 8
_KEPT: Final = 10_000


@dataclass(slots=True)
class Leftovers:
    """What nothing in a dataset stands for.

    Attributes:
        images: images that no label or folder speaks of, relative to the source.
        labels: labels of defects that are in no truth, as place and reason.
        skipped: files without images or labels, by reason.
        n_images: of the source, used and left over.
    """

    images: list[str] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    n_images: int = 0

    def to_json(self) -> dict[str, Any]:
        """What conversion.json holds of it."""
        return {
            "images": self.images[:_KEPT],
            "n_images": len(self.images),
            "labels": [{"where": w, "reason": r} for w, r in self.labels[:_KEPT]],
            "n_labels": len(self.labels),
        }


def account(files: SourceFiles, found: Found) -> Leftovers:
    """Sort every file of a source that the layout did not use.

    Where SRC is a single label file, only what it names is the source.
    """
    # What is kept on disk says nothing of the folders of this machine.
    prefix = f"{files.root}{os.sep}"
    labels = [(where.replace(prefix, ""), why) for where, why in found.leftover_labels]
    left = Leftovers(labels=labels, n_images=len(found.images))
    if files.single is not None:
        return left
    used = {image.image_path for image in found.images} | found.used
    for image in found.images:
        truth = image.truth
        if isinstance(truth, BinaryMasks | IndexMasks):
            used.update(truth.paths)
        elif isinstance(truth, YoloLabels):
            used.add(truth.path)
    for path in files.files:
        if path in used:
            continue
        reason = _passed_over(path, found)
        if reason is not None:
            left.skipped[reason] += 1
        elif is_image_path(path):
            left.images.append(files.relative(path))
        elif looks_like_label(path):
            reason = f"label files that are not read ({path.suffix.lower()})"
            left.labels.append((files.relative(path), reason))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            left.skipped[f"videos ({path.suffix.lower()})"] += 1
        else:
            left.skipped[f"not an image ({path.suffix.lower() or 'no suffix'})"] += 1
    left.n_images += len(left.images)
    return left


def _passed_over(path: Path, found: Found) -> str | None:
    if not found.passed_over:
        return None
    for place in (path, *path.parents):
        if place in found.passed_over:
            return found.passed_over[place]
    return None


def require_accounted(left: Leftovers, source: Path, *, how_else: str) -> None:
    """Refuse a conversion that leaves images or labels behind.

    Args:
        left: see `account`.
        source: for the message.
        how_else: what else a person can say of images without a label.

    Raises:
        InputError: more than `MOST_LEFT_OVER` of the images, or any label of a defect.
    """
    parts = []
    if len(left.images) > MOST_LEFT_OVER * max(left.n_images, 1):
        about = [name for name in left.images if _is_about_the_set(name)]
        way = (
            f"{about[0]} and {len(about) - 1} more lie in folders of pictures about the set; they "
            "are no good parts."
            if about
            else how_else
        )
        parts.append(
            f"{len(left.images)} of {left.n_images} images have no label and no folder that says "
            f"what they are: {_some(left.images)}. {way}".rstrip()
        )
    for reason, count in Counter(reason for _, reason in left.labels).items():
        places = [where for where, why in left.labels if why == reason]
        parts.append(f"{count} {reason}: {_some(places)}.")
    if parts:
        raise InputError(
            f"Not everything in {source} would be in the dataset. {' '.join(parts)} Mend or remove "
            "them, or convert without them (--allow-leftovers)."
        )


def _is_about_the_set(name: str) -> bool:
    """True for a picture in a folder such as demo or docs: it shows the set, and is not of it."""
    return any(part.casefold() in _ABOUT for part in name.split("/")[:-1])


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
