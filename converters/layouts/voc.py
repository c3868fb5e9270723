"""Reading Pascal VOC boxes (Everingham et al., IJCV 2010): one XML an image.

    Annotations/<name>.xml
    JPEGImages/<filename>
    ImageSets/Main/train.txt, val.txt, test.txt      names, where there are sides

XML and image are found by path or name whatever their folders are called, in one folder
(labelImg), `train/annotations` and `train/images/<class>` (NEU-DET), or `ANNOTATIONS` and
`IMAGES`. VOC counts pixels from 1 and boxes include both ends: `xmin` 1 and `xmax` 1 is the first
pixel. `difficult` boxes are to be ignored.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from annotations import InputError, LayoutError
from annotations.errors import shortened
from converters.dialects import read_lines, shown
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

MAX_XML_BYTES: Final = 256 << 20
DIFFICULT_AS_DEFECT: Final = "difficult boxes, counted as defects (as asked for)"
_HEAD_BYTES: Final = 1 << 14


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like VOC; None where it does not."""
    del options
    for path in files.labels(".xml")[:50]:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if b"<annotation>" in head.replace(b"<annotation ", b"<annotation>"):
            return f"{files.relative(path)} is an annotation in XML"
    return None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and boxes.

    Raises:
        LayoutError: no XML of VOC's.
        InputError: a malformed XML, an image that is missing, or one that two files label.
    """
    found = Found()
    sides = sides_of_image_sets(files, found)
    seen: dict[Path, Path] = {}
    paths = [path for path in files.labels(".xml") if path not in found.used]
    by_stem = files.pair(list(files.images), paths)[0]
    image_of = {label: image for image, label in by_stem.items()}
    for path in paths:
        root = parse_xml(path)
        if root.tag != "annotation":
            continue
        found.used.add(path)
        image = _read_file(path, root, files, options, found, sides, image_of.get(path))
        if image.image_path in seen:
            raise InputError(
                f"{seen[image.image_path]} and {path} are both labels of {image.image_path}. "
                "Remove one of them."
            )
        seen[image.image_path] = path
        found.images.append(image)
    if not found.images:
        raise LayoutError(
            f"{files.root} does not have the VOC layout: expected .xml files with <annotation>, "
            "in Annotations or beside the images."
        )
    add_unlabeled(files, found, options)
    found.images = [
        replace(i, source_split=_side(sides, files, i) or i.source_split) for i in found.images
    ]
    return sort_images(found)


def sides_of_image_sets(files: SourceFiles, found: Found) -> dict[str, str]:
    """Sides by image name, from ImageSets/<any>/train.txt, val.txt and test.txt.

    Raises:
        InputError: a name on two sides.
    """
    sides: dict[str, str] = {}
    for path in files.with_suffix(".txt"):
        folders = [name.casefold() for name in files.folders(path)]
        if "imagesets" not in folders:
            continue
        found.used.add(path)
        side = side_of_file(path.stem) if len(path.stem.split("_")) == 1 else ""
        if not side:
            # train.txt and val.txt divide; trainval.txt joins, crack_train.txt tells of one class.
            continue
        for line in read_lines(path, counts=found.counts):
            name = line.split()[0].replace("\\", "/")
            if sides.setdefault(name, side) != side:
                raise InputError(f"{path}: {shown(name)} stands on two sides.")
    return sides


def _side(sides: dict[str, str], files: SourceFiles, image: SourceImage) -> str:
    relative = files.relative(image.image_path.with_suffix(""))
    for name in (image.image_id, image.image_path.stem, image.image_path.name, relative):
        if name in sides:
            return sides[name]
    parts = relative.split("/")
    return next((s for n in range(1, len(parts)) if (s := sides.get("/".join(parts[n:])))), "")


def parse_xml(path: Path) -> ElementTree.Element:
    """Read an XML file whose entities cannot multiply.

    Raises:
        InputError: too large, with a document type, or malformed.
    """
    if path.stat().st_size > MAX_XML_BYTES:
        raise InputError(f"{path} is larger than {MAX_XML_BYTES:,} bytes.")
    data = path.read_bytes()
    text = data.decode("utf-16", "ignore").upper() if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    # Entities multiply, and no label file has any.
    if b"<!DOCTYPE" in data.upper() or b"<!ENTITY" in data.upper() or "<!DOCTYPE" in text:
        raise InputError(f"{path} holds a document type, which is not read. Remove it.")
    try:
        # Without a document type, and of a bounded size, nothing in it can multiply.
        return ElementTree.fromstring(data)  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(
            f"{path} is no XML file ({shortened(error)}). Mend or remove it."
        ) from error


def _read_file(
    path: Path,
    root: ElementTree.Element,
    files: SourceFiles,
    options: FindOptions,
    found: Found,
    sides: dict[str, str],
    paired: Path | None,
) -> SourceImage:
    try:
        size = root.find("size")
        stated = None
        if size is not None:
            stated = (int(text_of(size, "height", path)), int(text_of(size, "width", path)))
        shapes = []
        for number, entry in enumerate(root.findall("object")):
            box = entry.find("bndbox")
            if box is None:
                raise ValueError("an object without bndbox")
            x1, y1, x2, y2 = (
                float(text_of(box, key, path)) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            ignore = (entry.findtext("difficult") or "0").strip() == "1"
            if ignore and options.crowd_is_defect:
                ignore = False
                found.counts[DIFFICULT_AS_DEFECT] += 1
            where = f"{path}, object {number}"
            data_xyxy = [x1 - 1, y1 - 1, x2, y2]
            shapes.append(Shape(text_of(entry, "name", path), "box", data_xyxy, ignore, where))
    except (ValueError, LookupError) as error:
        raise InputError(
            f"{path} is no VOC file ({shortened(error)}). Mend or remove it."
        ) from error
    image = paired or _named_image(path, root, files, found)
    side = sides.get(path.stem, "") or side_of_folders(files.folders(path))
    truth = Shapes(tuple(shapes), stated if stated and min(stated) > 0 else None)
    made = labeled_image(files, image, truth, side=side)
    head, _, rest = made.image_id.partition("/")
    return replace(made, image_id=rest) if head.casefold() == "jpegimages" and rest else made


def _named_image(path: Path, root: ElementTree.Element, files: SourceFiles, found: Found) -> Path:
    name = (root.findtext("filename") or "").strip()
    folder = (root.findtext("folder") or "").strip()
    bases = [path.parent, files.root]
    for one in ("JPEGImages", "images", "img"):
        for parent in (path.parent.parent, files.root):
            if parent.is_relative_to(files.root):
                inner = files.child(parent, one)
                if inner is not None:
                    bases.insert(0, inner)
    if folder and "/" not in folder and "\\" not in folder:
        bases += [base / folder for base in list(bases)]
    if not name:
        raise InputError(f"{path} names no image, and no image has its name. Mend or remove it.")
    return files.resolve(name, named_by=path, bases=bases, counts=found.counts)


def text_of(element: ElementTree.Element, key: str, path: Path) -> str:
    """The text of an element inside another.

    Raises:
        InputError: there is none.
    """
    value = element.findtext(key)
    if value is None or not value.strip():
        raise InputError(f"{path} has no {key}. Mend or remove it.")
    return value.strip()
