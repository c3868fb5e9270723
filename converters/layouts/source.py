"""What every layout reader yields: source images, each with the way to read its truth."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from annotations import GOOD, InputError
from converters.dialects import shown
from converters.inventory import SourceFiles
from converters.names import means_good, side_of_folders

MASK_SUFFIX: Final = "_mask"
DEFECT: Final = "defect"
"""The class of regions that nothing names."""


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
        class_of_value: class by pixel value, or by color (red, green, blue); None where nobody
            wrote it down: `class_<value>`. `background` and `ignore` are no classes.
        names_from: the file that says so, for messages.
    """

    paths: tuple[Path, ...]
    class_of_value: Mapping[int | tuple[int, int, int], str] | None = None
    names_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One region as a label file gives it.

    Attributes:
        class_name: its class.
        kind: of `data`.
        data: for `rle` the counts (text or list of numbers) and the size; for `polygons` lists
            x1, y1, x2, y2, … in pixels; for `box` x1, y1, x2, y2 in pixels, half-open; for
            `ellipse` cx, cy, rx, ry in pixels and the turn in degrees, clockwise; for `mask` a
            dict of `left` and `top` in pixels and one of `png` (bytes of an image, non-zero or
            opaque inside), `row_runs` (outside, inside, … along the rows) and `brush` (see
            `converters.shapes.decode_brush`), the latter two with `height` and `width`.
        ignore: neither a defect nor background (COCO's `iscrowd`).
        box_xyxy: a box that the file gives beside the data; used where that is no region.
        where: file and place in it, for messages.
    """

    class_name: str
    kind: Literal["rle", "polygons", "box", "ellipse", "mask"]
    data: Any
    ignore: bool
    where: str
    box_xyxy: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Shapes:
    """Ready regions.

    Attributes:
        shapes: of one image.
        image_hw: the image's size as the file states it, or None.
        counts: what was read leniently, by what it was.
    """

    shapes: tuple[Shape, ...]
    image_hw: tuple[int, int] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


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
        source: camera or line, where the layout says so; else empty.
        date: when it was taken, as the layout says it; else empty.
    """

    image_id: str
    image_path: Path
    defect_type: str
    source_split: str
    relative: str
    truth: Truth | None = None
    type_from_regions: bool = False
    group: str | None = None
    source: str = ""
    date: str = ""

    @property
    def mask_path(self) -> Path | None:
        """The mask file as delivered, or the folder of several; None without mask files."""
        if isinstance(self.truth, BinaryMasks | IndexMasks) and self.truth.paths:
            paths = self.truth.paths
            return paths[0] if len(paths) == 1 else paths[0].parent
        return None


@dataclass(slots=True)
class Found:
    """What a layout found in a source.

    Attributes:
        images: sorted by id.
        class_names: in the source's own order, where it has one.
        notes: what was decided or guessed, for the report.
        counts: what was read leniently, by what it was.
        used: files that were read beside images and masks: labels, lists, tables.
        passed_over: files and folders that are left out on purpose, and why.
        leftover_labels: labels that belong to nothing, as place and reason.
        said: labels of images as the source has them, good ones too.
        idle: options that the layout does not look at, where several sources share them.
    """

    images: list[SourceImage] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    used: set[Path] = field(default_factory=set)
    passed_over: dict[Path, str] = field(default_factory=dict)
    leftover_labels: list[tuple[str, str]] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    idle: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FindOptions:
    """What a person says about the source.

    Attributes:
        images: pattern of image files (see `converters.layouts.pairs`).
        masks: pattern of mask files.
        good: class names that mean good, besides those that `converters.names` knows.
        no_mask_is_good: take an image without mask or label for a good one.
        classes: class names of the values 1, 2, … of class-index masks, or of YOLO's numbers.
        crowd_is_defect: count COCO's `iscrowd` and VOC's `difficult` regions as defects.
        good_only: every image is good.
        missing_masks: what is done with a defective image without a mask: `refuse` it, or keep
            the `image-label`.
        batch: the source is a part of a set, for one that stands: a side, or all good images, may
            miss.
        shared: the source is one of several, and what is said need not have an effect in each.
    """

    images: str | None = None
    masks: str | None = None
    good: tuple[str, ...] = ()
    no_mask_is_good: bool = False
    classes: tuple[str, ...] = ()
    crowd_is_defect: bool = False
    good_only: bool = False
    missing_masks: Literal["refuse", "image-label"] = "refuse"
    batch: bool = False
    shared: bool = False

    @property
    def masks_may_miss(self) -> bool:
        """Whether a defective image without a mask is taken by its image label."""
        return self.missing_masks == "image-label"

    def is_good(self, name: str) -> bool:
        """True for a class name that means a good image, `MT_Free` as well as `free`."""
        return means_good(name, self.good)


def without_mask(found: Found, kind: str) -> None:
    """Count a defective image that has an image label and no mask."""
    found.counts[f"defective images without a mask, known by their image label ({kind})"] += 1


HOW_WITHOUT_MASK: Final = (
    "or convert with --missing-masks image-label: such images are then known to be defective, and "
    "not where"
)


def distinct_stems(paths: Sequence[Path]) -> list[Path]:
    """Images of one folder.

    Raises:
        InputError: two images of one stem.
    """
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise InputError(
                f"{stems[path.stem]} and {path} have one stem, so that their masks and labels "
                "cannot be told apart. Rename or remove one of them."
            )
        stems[path.stem] = path
    return list(stems.values())


def id_of(files: SourceFiles, path: Path) -> str:
    """The relative path without its suffix and without a leading `images/`, with `/`."""
    relative = path.relative_to(files.root).with_suffix("").as_posix()
    head, _, rest = relative.partition("/")
    return rest if head.casefold() == "images" and rest else relative


def labeled_image(
    files: SourceFiles,
    path: Path,
    truth: "Truth | None",
    *,
    side: str = "",
    defect_type: str = GOOD,
    group: str | None = None,
) -> SourceImage:
    """A source image whose labels tell its type.

    Args:
        files: of the source.
        path: the image.
        truth: its labels; None for an image that is good without any.
        side: where the source says it beside the folders' names.
        defect_type: what the image is called without any region.
        group: physical part, where the source says so.
    """
    return SourceImage(
        image_id=id_of(files, path),
        image_path=path,
        defect_type=defect_type,
        source_split=side or side_of_folders(files.folders(path)),
        relative=files.relative(path),
        truth=truth,
        type_from_regions=True,
        group=group,
    )


def add_unlabeled(files: SourceFiles, found: Found, options: FindOptions) -> None:
    """Take images that no label speaks of for good ones, where a person said so.

    Otherwise they stay unused, and are counted and named as every unused file is. Of a single label
    file only what it names is the source.
    """
    if not options.no_mask_is_good or files.single is not None:
        return
    known = {image.image_path for image in found.images} | found.used
    more = [path for path in files.images if path not in known]
    found.images += [labeled_image(files, path, None) for path in more]
    if more:
        found.notes.append(f"{len(more)} images have no label and count as good (as asked for)")


def sort_images(found: Found) -> Found:
    """Sort by id; two images that differ in their suffix alone keep it in their ids."""
    found.images.sort(key=lambda image: (image.image_id, image.relative))
    same = Counter(image.image_id for image in found.images)
    if max(same.values(), default=1) > 1:
        found.images = [
            replace(image, image_id=f"{image.image_id}{image.image_path.suffix}")
            if same[image.image_id] > 1
            else image
            for image in found.images
        ]
        found.images.sort(key=lambda image: image.image_id)
        for one, other in zip(found.images, found.images[1:], strict=False):
            if one.image_id == other.image_id:
                raise InputError(
                    f"{one.image_path} and {other.image_path} would both be called "
                    f"{shown(one.image_id)}. Rename or remove one of them."
                )
        n = sum(count for count in same.values() if count > 1)
        found.notes.append(f"{n} images differ in their suffix alone, which their ids then keep")
    return found


def settle_sides(found: Found) -> None:
    """Decide which side of the source is for testing: `test`; else `val`; else none has sides."""
    sides = {image.source_split for image in found.images}
    if "test" in sides and len(sides) > 1:
        rename = {"": "train"}
    elif "val" in sides and len(sides) > 1:
        rename = {"val": "test", "": "train"}
        found.notes.append("the source has no test side; its validation side is the test side")
    else:
        rename = dict.fromkeys(("train", "val", "test"), "")
    found.images = [
        replace(image, source_split=rename.get(image.source_split, image.source_split))
        if image.source_split in rename
        else image
        for image in found.images
    ]
    named = Counter(image.source_split for image in found.images if image.source_split)
    if named:
        first = {i.source_split: i.relative for i in reversed(found.images)}
        found.notes.append(
            "sides of the source: "
            + ", ".join(
                f"{named[side]} {side} (such as {first[side]})"
                for side in ("train", "val", "test")
                if named[side]
            )
        )
