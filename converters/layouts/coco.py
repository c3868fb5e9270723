"""Reading COCO JSON: polygons, compressed and plain RLE, `iscrowd` (Lin et al., ECCV 2014).

SRC is a JSON file, or a folder with any number of them, wherever they lie: `annotations/*.json`,
`<side>/_annotations.coco.json`, one a batch or one an image. Images are looked for beside the
file, in `images/` there or one folder up, in `images/<what follows instances_>`, and by their
name. Words train, val or test in the names of files and folders are the sides. An image without
an annotation is good; the type of the others is the class that covers most of them.

What other tools write is understood and counted: ids as text, one flat list for a polygon, a box
in place of a polygon, sizes that are missing, root categories of Roboflow, files of captions.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from converters.dialects import read_json_text, shown, whole_id
from converters.inventory import SourceFiles
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    SourceImage,
    add_unlabeled,
    labeled_image,
    sort_images,
)
from converters.names import side_of_file, side_of_folders

ROBOFLOW: Final = "_annotations.coco.json"
CROWD_AS_DEFECT: Final = "iscrowd regions, counted as defects (as asked for)"
NO_SIZE: Final = "images without a size in the label file; the picture's is taken"
_MAX_SIDE: Final = 1_000_000
_HEAD_BYTES: Final = 1 << 16


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a path looks like COCO; None where it does not. Looks at names and first bytes."""
    del options
    for path in files.labels(".json")[:50]:
        if _looks_like_coco(path):
            return f"{path.name} holds images, annotations and categories"
    return None


def _looks_like_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            file.seek(max(0, path.stat().st_size - _HEAD_BYTES))
            head += file.read()
    except OSError:
        return False
    keys = [key in head for key in (b'"images"', b'"annotations"', b'"categories"')]
    return sum(keys) >= 2


def side_of_label_file(files: SourceFiles, path: Path) -> str:
    """The side that a label file's name speaks of: instances_train2017.json."""
    if path.name == ROBOFLOW:
        return side_of_folders(reversed(files.folders(path)))
    return side_of_file(path.stem) or side_of_folders(reversed(files.folders(path)))


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and their regions.

    Raises:
        LayoutError: no COCO file.
        InputError: malformed, an image that is missing or on two sides, or an annotation of an
            unknown image or category.
    """
    found = Found()
    names: list[str] = []
    by_path: dict[Path, SourceImage] = {}
    read: list[Path] = []
    for path in files.labels(".json"):
        document: Any = read_json_text(path, what="COCO labels", counts=found.counts)
        if not isinstance(document, dict) or not isinstance(document.get("images"), list):
            if files.single is not None or len(files.labels(".json")) == 1:
                raise InputError(_no_coco(path, "it has no list of images"))
            continue
        if _is_captions(document):
            found.passed_over[path] = "captions, and no regions"
            continue
        read.append(path)
        found.used.add(path)
        names += [n for n in _read_file(path, document, files, options, found, by_path)
                  if n not in names]  # fmt: skip
    if not read:
        raise LayoutError(
            f"{files.root} does not have the COCO layout: expected a JSON file with images, "
            "annotations and categories, or a folder with such files."
        )
    found.images = list(by_path.values())
    found.class_names = tuple(names)
    if len(read) > 1:
        found.notes.append(
            f"{len(read)} label files: {', '.join(p.name for p in read[:6])}"
            f"{' …' if len(read) > 6 else ''}"
        )
    add_unlabeled(files, found, options)
    return sort_images(found)


def _is_captions(document: dict[str, Any]) -> bool:
    annotations = document.get("annotations")
    return (
        isinstance(annotations, list)
        and bool(annotations)
        and all(isinstance(a, dict) and "caption" in a and "bbox" not in a for a in annotations)
    )


def _no_coco(path: Path, why: str) -> str:
    return (
        f"{path} is no COCO file ({why}). Expected images (id, file_name, width, height), "
        "annotations (image_id, category_id, segmentation or bbox) and categories (id, name)."
    )


def _read_file(
    path: Path,
    document: dict[str, Any],
    files: SourceFiles,
    options: FindOptions,
    found: Found,
    by_path: dict[Path, SourceImage],
) -> list[str]:
    counts = found.counts
    try:
        listed = document.get("categories") or []
        categories = {whole_id(c["id"], counts): str(c["name"]) for c in listed}
        if len(categories) != len(listed):
            raise ValueError("one category id twice")
        entries = document["images"]
        images = {whole_id(entry["id"], counts): entry for entry in entries}
        if len(images) != len(entries):
            raise ValueError("one image id twice")
        shapes: dict[int | str, list[Shape]] = {number: [] for number in images}
        for place, annotation in enumerate(document.get("annotations") or []):
            where = f"{path}, annotation {shown(annotation.get('id', place))}"
            image_id = whole_id(annotation["image_id"], counts)
            category = whole_id(annotation["category_id"], counts)
            if image_id not in images or category not in categories:
                raise InputError(
                    f"{where} is of image {shown(image_id)} and category {shown(category)}, and "
                    "one of them is not in the file. Mend or remove the annotation."
                )
            shape = _shape(annotation, categories[category], where, counts)
            if shape.ignore and options.crowd_is_defect:
                counts[CROWD_AS_DEFECT] += 1
                shape = replace(shape, ignore=False)
            shapes[image_id].append(shape)
        side = side_of_label_file(files, path)
        bases = _bases(files, path)
        for number, entry in images.items():
            name = entry["file_name"]
            if not isinstance(name, str):
                raise TypeError(f"file_name is {shown(name)}")
            image = files.resolve(name, named_by=path, bases=bases, counts=counts)
            made = labeled_image(
                files,
                image,
                Shapes(tuple(shapes[number]), _stated_hw(entry, counts)),
                side=side,
                defect_type=GOOD if shapes[number] else _own(entry, "defect_type") or GOOD,
                group=_own(entry, "group"),
            )
            _add(by_path, made, path, counts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(_no_coco(path, f"{type(error).__name__}: {str(error)[:200]}")) from error
    used = {shape.class_name for some in shapes.values() for shape in some}
    parents = {str(c.get("supercategory")) for c in listed if isinstance(c, dict)}
    # Roboflow adds a root that every class hangs on and no annotation has.
    roots = {n for n in categories.values() if n in parents and n not in used}
    if roots and len(roots) < len(categories):
        counts["root categories without an annotation, left out"] += len(roots)
    else:
        roots = set()
    return [n for n in categories.values() if n not in roots and not options.is_good(n)]


def _add(
    by_path: dict[Path, SourceImage], made: SourceImage, path: Path, counts: Counter[str]
) -> None:
    """Add an image, or its labels to those that another file has of it."""
    before = by_path.get(made.image_path)
    if before is None:
        by_path[made.image_path] = made
        return
    if before.source_split != made.source_split:
        raise InputError(
            f"{path} lists {made.image_path} under {made.source_split or 'no side'}, another file "
            f"under {before.source_split or 'no side'}. An image cannot be on two sides: remove "
            "it from one."
        )
    old, new = before.truth, made.truth
    if not isinstance(old, Shapes) or not isinstance(new, Shapes):
        raise TypeError("labels of another layout")
    counts["images that several entries label, put together"] += 1
    by_path[made.image_path] = replace(
        before,
        truth=Shapes(old.shapes + new.shapes, old.image_hw or new.image_hw),
        group=before.group or made.group,
    )


def _bases(files: SourceFiles, path: Path) -> list[Path]:
    """Folders that a label file's names may start from, the likeliest first."""
    beside, above = path.parent, path.parent.parent
    bases = [beside]
    places = [beside, files.root]
    if above.is_relative_to(files.root):
        places.insert(1, above)
    words = path.stem.split("_", 1)
    for place in places:
        images = files.child(place, "images", "img", "JPEGImages", "data")
        for folder in (images, place):
            if folder is None or not folder.is_dir():
                continue
            for name in (words[-1], side_of_file(path.stem)):
                inner = files.child(folder, name) if name else None
                if inner is not None and inner.is_dir():
                    bases.append(inner)
            bases.append(folder)
    return list(dict.fromkeys(bases))


def _own(entry: Any, key: str) -> str | None:
    """What this program itself wrote beside COCO's keys, if it did."""
    ours = entry.get("defectune")
    value = ours.get(key) if isinstance(ours, dict) else None
    if not isinstance(value, str) or not value:
        return None
    value.encode()  # a lone surrogate is a ValueError here, and not at the end of all work
    return value


def _stated_hw(entry: Any, counts: Counter[str]) -> tuple[int, int] | None:
    """The size that the file states; None where it states none, or 0."""
    sides = []
    for key in ("height", "width"):
        value = entry.get(key)
        if value in (None, 0, "", "0"):
            counts[NO_SIZE] += 1
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError(f"an image side of {shown(value)}")
        number = float(value)
        if not number.is_integer() or not 1 <= number <= _MAX_SIDE:
            raise ValueError(f"an image side of {shown(value)}")
        sides.append(int(number))
    return sides[0], sides[1]


def _shape(annotation: Any, class_name: str, where: str, counts: Counter[str]) -> Shape:
    ignore = annotation.get("iscrowd", 0) not in (0, False, None, "0", 0.0)
    segmentation = annotation.get("segmentation")
    box = _box(annotation.get("bbox"), where)
    if isinstance(segmentation, dict):
        return Shape(class_name, "rle", segmentation, ignore, where, box)
    polygons = _polygons(segmentation, where, counts)
    whole = [p for p in polygons if len(p) >= 6]
    if polygons and (whole or box is None):
        if len(whole) < len(polygons) and whole:
            counts["parts of polygons with fewer than three points, left out"] += 1
        return Shape(class_name, "polygons", whole or polygons, ignore, where, box)
    if polygons:
        counts["polygons of fewer than three points; the box beside them is taken"] += 1
    if box is None:
        raise ValueError(f"{where} has neither a segmentation nor a bbox")
    return Shape(class_name, "box", list(box), ignore, where)


def _box(value: Any, where: str) -> tuple[float, float, float, float] | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox of {where} is not [x, y, width, height]")
    x, y, width, height = (float(v) for v in value)
    return x, y, x + width, y + height


def _polygons(value: Any, where: str, counts: Counter[str]) -> list[list[Any]]:
    """Polygons as lists x1, y1, x2, y2, …, however deep the file nests them."""
    if value in (None, [], ""):
        return []
    if not isinstance(value, list):
        raise TypeError(f"the segmentation of {where} is {shown(value)}")
    if all(_is_number(v) for v in value):
        counts["segmentations as one flat list, read as one polygon"] += 1
        return [value]
    result: list[list[Any]] = []
    for part in value:
        if not isinstance(part, list):
            raise TypeError(f"the segmentation of {where} holds {shown(part)}")
        if not part:
            continue
        if all(_is_number(v) for v in part):
            result.append(part)
        elif all(isinstance(p, list) and len(p) == 2 and all(map(_is_number, p)) for p in part):
            counts["polygons as lists of points"] += 1
            result.append([number for point in part for number in point])
        else:
            deeper = _polygons(part, where, counts) if _depth_is_bounded(part) else None
            if deeper is None:
                raise TypeError(f"the segmentation of {where} is nested too deeply")
            result += deeper
    if (
        value
        and all(_is_number(v) for p in value if isinstance(p, list) for v in p)
        and all(isinstance(p, list) and len(p) == 2 for p in value)
    ):
        # [[x, y], [x, y], …]: one polygon as a list of points.
        counts["polygons as lists of points"] += 1
        return [[number for point in value for number in point]]
    return result


def _depth_is_bounded(value: Any, levels: int = 4) -> bool:
    if not isinstance(value, list):
        return True
    return levels > 0 and all(_depth_is_bounded(v, levels - 1) for v in value[:1000])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
