"""Reading COCO JSON: polygons, compressed and plain RLE, `iscrowd` (Lin et al., ECCV 2014).

SRC is the JSON file, or a folder with one or several: `annotations/*.json`, `*.json`, or
`<side>/_annotations.coco.json`. Images are looked for beside the file, in `images/` there or one
folder up, and in the folder of the file's side. Names and places with train, val or test in them
are the sides. An image without an annotation is good; the type of the others is the class that
covers most of them.
"""

from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from annotations.files import inside, read_json
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    SourceImage,
    folders_in,
    side_of,
    sort_images,
)

ROBOFLOW: Final = "_annotations.coco.json"
_MAX_SIDE: Final = 1_000_000


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a path looks like COCO; None where it does not. Looks at names alone, and at
    the first bytes of a single file."""
    del options
    files = json_files(source)
    if not files:
        return None
    try:
        with files[0].open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return None
    if not any(key in head for key in (b'"images"', b'"annotations"', b'"categories"')):
        return None
    return f"{files[0].name} holds images, annotations and categories"


def json_files(source: Path) -> list[Path]:
    """The label files of a source, in order; several where they are of several sides."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".json" else []
    if not source.is_dir():
        return []
    by_side = [f / ROBOFLOW for f in folders_in(source) if (f / ROBOFLOW).is_file()]
    if by_side:
        return by_side
    for folder in (source / "annotations", source):
        files = sorted(p for p in folder.glob("*.json") if p.is_file()) if folder.is_dir() else []
        sided = [p for p in files if side_of_file(p)]
        if len(files) == 1:
            return files
        if sided and len({side_of_file(p) for p in sided}) == len(sided):
            return sided
        if files:
            return files[:1]
    return []


def side_of_file(path: Path) -> str:
    """The side that a label file's name speaks of: instances_train2017.json."""
    words = path.stem.replace("-", "_").split("_")
    if path.name == ROBOFLOW:
        words = [path.parent.name]
    return side_of(words)


def find(source: Path, options: FindOptions) -> Found:
    """Find images and their regions.

    Raises:
        LayoutError: no COCO file.
        InputError: malformed, an image that is missing or named twice, a path that leaves the
            folder, or an annotation of an unknown image or category.
    """
    files = json_files(source)
    if not files:
        raise LayoutError(
            f"{source} does not have the COCO layout: expected a JSON file, or a folder with "
            "annotations/*.json."
        )
    found = Found()
    names: list[str] = []
    root = source if source.is_dir() else source.parent
    for path in files:
        names += [n for n in _read_file(path, root, options, found) if n not in names]
    found.class_names = tuple(names)
    if len(files) > 1:
        found.notes.append(f"{len(files)} label files: {', '.join(p.name for p in files)}")
    return sort_images(found)


def _read_file(path: Path, root: Path, options: FindOptions, found: Found) -> list[str]:
    document: Any = read_json(path, what="COCO labels")
    try:
        categories = {_whole(c["id"]): str(c["name"]) for c in document["categories"]}
        if len(categories) != len(document["categories"]):
            raise ValueError("one category id twice")
        images = {_whole(entry["id"]): entry for entry in document["images"]}
        if len(images) != len(document["images"]):
            raise ValueError("one image id twice")
        shapes: dict[int, list[Shape]] = {number: [] for number in images}
        for place, annotation in enumerate(document["annotations"]):
            where = f"{path}, annotation {annotation.get('id', place)}"
            image_id, category = _whole(annotation["image_id"]), _whole(annotation["category_id"])
            if image_id not in images or category not in categories:
                raise InputError(
                    f"{where} is of image {image_id} and category {category}, and one of them is "
                    "not in the file. Mend or remove the annotation."
                )
            shapes[image_id].append(_shape(annotation, categories[category], where))
        side = side_of_file(path)
        for number, entry in images.items():
            image = _image_path(path, root, side, str(entry["file_name"]))
            stated = (_side(entry["height"]), _side(entry["width"]))
            relative = image.relative_to(root.resolve()).as_posix()
            found.images.append(
                SourceImage(
                    image_id=Path(relative.removeprefix("images/")).with_suffix("").as_posix(),
                    image_path=image,
                    defect_type=GOOD if shapes[number] else _own(entry, "defect_type") or GOOD,
                    source_split=side or side_of(relative.split("/")[:-1]),
                    relative=relative,
                    truth=Shapes(tuple(shapes[number]), stated),
                    type_from_regions=True,
                    group=_own(entry, "group"),
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is no COCO file ({type(error).__name__}: {error}). Expected images (id, "
            "file_name, width, height), annotations (image_id, category_id, segmentation or bbox) "
            "and categories (id, name)."
        ) from error
    return [n for n in categories.values() if not options.is_good(n)]


def _own(entry: Any, key: str) -> str | None:
    """What this program itself wrote beside COCO's keys, if it did."""
    ours = entry.get("defectune")
    value = ours.get(key) if isinstance(ours, dict) else None
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"an id is {str(value)[:40]!r}, and not a whole number")
    return value


def _side(value: Any) -> int:
    number = int(value)
    if not 1 <= number <= _MAX_SIDE or number != value:
        raise ValueError(f"an image side of {str(value)[:40]}")
    return number


def _shape(annotation: Any, class_name: str, where: str) -> Shape:
    ignore = annotation.get("iscrowd", 0) not in (0, False, None)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return Shape(class_name, "rle", segmentation, ignore, where)
    if isinstance(segmentation, list) and segmentation:
        return Shape(class_name, "polygons", segmentation, ignore, where)
    box = annotation["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"bbox of {where} is not [x, y, width, height]")
    x, y, width, height = (float(v) for v in box)
    return Shape(class_name, "box", [x, y, x + width, y + height], ignore, where)


def _image_path(path: Path, root: Path, side: str, name: str) -> Path:
    tried = []
    for folder in (
        path.parent,
        path.parent / "images",
        root,
        root / "images",
        root / "images" / side if side else root,
        root / side if side else root,
    ):
        candidate = inside(folder, name, source=path, follow_links=False)
        tried.append(candidate)
        if candidate.is_file():
            resolved_root = root.resolve()
            # The file itself may be a link of the person's own; its place may not lie outside.
            place = candidate.parent.resolve() / candidate.name
            if not place.is_relative_to(resolved_root):
                raise InputError(f"{path} names {name!r}, which leaves {root}. Refused.")
            return place
    raise InputError(
        f"{path} names the image {name!r}, which was not found: looked for "
        f"{', '.join(str(p) for p in dict.fromkeys(tried))}. Put the images there."
    )
