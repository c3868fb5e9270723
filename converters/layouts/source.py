"""What every layout reader yields: source images, each with the way to read its truth."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from annotations import GOOD, InputError, LayoutError
from annotations.images import is_image_path

MASK_SUFFIX: Final = "_mask"
MAX_FILES: Final = 2_000_000
"""A source with more files is refused: SRC is probably not what was meant."""
GOOD_NAMES: Final = frozenset({GOOD, "ok", "normal", "free", "defect_free", "no_defect"})
"""Class names that mean a good image, in any case, where a layout takes classes from names."""


@dataclass(frozen=True, slots=True)
class BinaryMasks:
    """Mask files that say inside or outside, all of one class.

    Attributes:
        paths: one or several files; every file's regions are kept apart.
        class_name: of all of them.
        any_value: True where the set defines every non-zero value as inside.
    """

    paths: tuple[Path, ...]
    class_name: str
    any_value: bool = False


@dataclass(frozen=True, slots=True)
class IndexMasks:
    """Mask files whose pixel values name the class; 0 is background.

    Attributes:
        paths: one or several files.
        class_of_value: class by pixel value; None where nobody wrote it down: `class_<value>`.
        names_from: the file that says so, for messages.
    """

    paths: tuple[Path, ...]
    class_of_value: Mapping[int, str] | None = None
    names_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One region as a label file gives it.

    Attributes:
        class_name: its class.
        kind: of `data`.
        data: for `rle` the counts (text or list of numbers) and the size; for `polygons` lists
            x1, y1, x2, y2, … in pixels; for `box` x1, y1, x2, y2 in pixels, half-open.
        ignore: neither a defect nor background (COCO's `iscrowd`).
        where: file and place in it, for messages.
    """

    class_name: str
    kind: Literal["rle", "polygons", "box"]
    data: Any
    ignore: bool
    where: str


@dataclass(frozen=True, slots=True)
class Shapes:
    """Ready regions.

    Attributes:
        shapes: of one image.
        image_hw: the image's size as the file states it, or None.
    """

    shapes: tuple[Shape, ...]
    image_hw: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class YoloLabels:
    """A YOLO label file, read when its image is.

    Attributes:
        path: the label file.
        class_names: by class number; None where nobody wrote them down: `class_<number>`.
    """

    path: Path
    class_names: tuple[str, ...] | None


Truth = BinaryMasks | IndexMasks | Shapes | YoloLabels


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that a layout found.

    Attributes:
        image_id: unique within the dataset.
        image_path: the image.
        defect_type: `good` or a class, as the source files the image.
        source_split: `train`, `val`, `test`; empty where the source has no sides.
        relative: path relative to the source, with `/`, as --group-by sees it.
        truth: how its regions are read; None for an image that is good without a mask.
        type_from_regions: True where the largest region class is the image's type, and
            `defect_type` only what it is called without any region.
        group: physical part, where the layout itself says so.
    """

    image_id: str
    image_path: Path
    defect_type: str
    source_split: str
    relative: str
    truth: Truth | None = None
    type_from_regions: bool = False
    group: str | None = None

    @property
    def mask_path(self) -> Path | None:
        """The mask file as delivered, or the folder of several; None without mask files."""
        if isinstance(self.truth, BinaryMasks | IndexMasks) and self.truth.paths:
            paths = self.truth.paths
            return paths[0] if len(paths) == 1 else paths[0].parent
        return None


@dataclass(slots=True)
class Found:
    """What a layout found in a folder.

    Attributes:
        images: sorted by id.
        skipped: how many files were passed over, by reason.
        class_names: in the source's own order, where it has one.
        notes: what was decided or guessed, for the report.
    """

    images: list[SourceImage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    class_names: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FindOptions:
    """What a person says about the source.

    Attributes:
        images: pattern of image files (see `converters.layouts.pairs`).
        masks: pattern of mask files.
        good: class names that mean good, besides `GOOD_NAMES`.
        no_mask_is_good: take an image without mask and class for a good one.
        classes: class names of the values 1, 2, … of class-index masks.
    """

    images: str | None = None
    masks: str | None = None
    good: tuple[str, ...] = ()
    no_mask_is_good: bool = False
    classes: tuple[str, ...] = ()

    def is_good(self, name: str) -> bool:
        """True for a class name that means a good image, `MT_Free` as well as `free`."""
        folded = name.casefold()
        named = {*GOOD_NAMES, *(other.casefold() for other in self.good)}
        return folded in named or folded.replace("-", "_").rpartition("_")[2] in GOOD_NAMES


def require_folder(source: Path, *, what: str) -> None:
    """Refuse what is not a folder.

    Raises:
        LayoutError: it does not exist, or is a file.
    """
    if not source.exists():
        raise LayoutError(f"There is no folder {source}. Check the path.")
    if not source.is_dir():
        raise LayoutError(f"{source} is a file; expected {what}.")


def folders_in(parent: Path) -> list[Path]:
    """Folders in a folder, by name, without hidden ones; none where there is no such folder."""
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def images_in(folder: Path, found: Found) -> Iterator[Path]:
    """Images of one folder, by name; what is passed over is counted.

    Raises:
        InputError: two images of one stem.
    """
    stems: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found.skipped["folder inside an image folder"] += 1
        elif not is_image_path(path):
            skip(found, path)
        elif path.stem in stems:
            raise InputError(
                f"{stems[path.stem]} and {path} have one stem, so that their masks and labels "
                "cannot be told apart. Rename or remove one of them."
            )
        else:
            stems[path.stem] = path
            yield path


def skip(found: Found, path: Path) -> None:
    """Count a file that is no image."""
    found.skipped[f"not an image ({path.suffix.lower() or 'no suffix'})"] += 1


def walk_files(source: Path) -> Iterator[Path]:
    """All files under a folder in sorted order, hidden ones left out.

    Links to folders are followed, each folder once: a loop of links ends.

    Raises:
        InputError: more than `MAX_FILES` files.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    # Folders still to be read, the first in order last; no recursion, so that depth is no limit.
    waiting = [source]
    while waiting:
        folder = waiting.pop()
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        inner: list[Path] = []
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    inner.append(folder / entry.name)
                    continue
                if not entry.is_file():
                    continue
            except OSError:  # a link that leads to itself is no file
                continue
            count += 1
            if count > MAX_FILES:
                raise InputError(
                    f"{source} holds more than {MAX_FILES:,} files. Give the folder of one "
                    "dataset as SRC."
                )
            yield folder / entry.name
        waiting.extend(reversed(inner))


def id_of(source: Path, path: Path) -> str:
    """The relative path without its suffix, with `/`."""
    return path.relative_to(source).with_suffix("").as_posix()


def sort_images(found: Found) -> Found:
    """Sort by id.

    Raises:
        InputError: two images of one id, that is of one path but for the suffix.
    """
    found.images.sort(key=lambda image: image.image_id)
    for one, other in zip(found.images, found.images[1:], strict=False):
        if one.image_id == other.image_id:
            raise InputError(
                f"{one.image_path} and {other.image_path} would both be called "
                f"{one.image_id!r}. Rename or remove one of them."
            )
    return found


def settle_sides(found: Found) -> None:
    """Decide which side of the source judges: `test`; else `val`; else none has sides."""
    sides = {image.source_split for image in found.images}
    if "test" in sides:
        rename = {"": "train"}
    elif "val" in sides and len(sides) > 1:
        rename = {"val": "test", "": "train"}
        found.notes.append("the source has no test side; its validation side judges")
    else:
        rename = {"train": "", "val": ""}
    found.images = [_with_side(image, rename) for image in found.images]


def _with_side(image: SourceImage, rename: Mapping[str, str]) -> SourceImage:
    side = rename.get(image.source_split, image.source_split)
    if side == image.source_split:
        return image
    return SourceImage(
        image.image_id,
        image.image_path,
        image.defect_type,
        side,
        image.relative,
        image.truth,
        image.type_from_regions,
        image.group,
    )


def side_of(words: Iterable[str]) -> str:
    """The side that file or folder names speak of: `train`, `val`, `test`, or empty."""
    for word in words:
        folded = word.casefold()
        for side, starts in (("train", "train"), ("val", "val"), ("test", "test")):
            if folded.startswith(starts):
                return side
    return ""
