"""Reading Pascal VOC boxes (Everingham et al., IJCV 2010): one XML an image.

    Annotations/<name>.xml
    JPEGImages/<filename>
    ImageSets/Main/train.txt, val.txt, test.txt      names, where there are sides

VOC counts pixels from 1 and boxes include both ends: `xmin` 1 and `xmax` 1 is the first pixel.
`difficult` boxes are to be ignored.
"""

from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from annotations import GOOD, InputError, LayoutError
from annotations.files import inside
from annotations.images import IMAGE_SUFFIXES
from converters.layouts.source import FindOptions, Found, Shape, Shapes, SourceImage, sort_images

MAX_XML_BYTES: Final = 16 << 20
_IMAGES: Final = "JPEGImages"


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like VOC; None where it does not."""
    del options
    if (source / "Annotations").is_dir() and (source / _IMAGES).is_dir():
        return f"it holds Annotations and {_IMAGES}"
    return None


def find(source: Path, options: FindOptions) -> Found:
    """Find images and boxes.

    Raises:
        LayoutError: no VOC layout.
        InputError: a malformed XML, or an image that is missing or lies outside.
    """
    if recognise(source, options) is None:
        raise LayoutError(
            f"{source} does not have the VOC layout: expected the folders Annotations and "
            f"{_IMAGES}."
        )
    found = Found()
    sides: dict[str, str] = {}
    for side in ("train", "val", "test"):
        path = source / "ImageSets" / "Main" / f"{side}.txt"
        if path.is_file() and path.stat().st_size <= MAX_XML_BYTES:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.strip() and sides.setdefault(line.split()[0], side) != side:
                    raise InputError(f"{path}: {line.split()[0]} stands on two sides.")
    for path in sorted((source / "Annotations").rglob("*.xml")):
        if not path.is_file():
            found.skipped["not a file (.xml)"] += 1
            continue
        found.images.append(_read_file(path, source, sides))
    if not found.images:
        raise InputError(f"{source / 'Annotations'} holds no .xml file.")
    return sort_images(found)


def _read_file(path: Path, source: Path, sides: dict[str, str]) -> SourceImage:
    if path.stat().st_size > MAX_XML_BYTES:
        raise InputError(f"{path} is larger than {MAX_XML_BYTES:,} bytes.")
    data = path.read_bytes()
    # Entities multiply, and no VOC file has any.
    if b"<!DOCTYPE" in data.upper() or b"<!ENTITY" in data.upper():
        raise InputError(f"{path} holds a document type, which is not read. Remove it.")
    try:
        # Without a document type, and of a bounded size, nothing in it can multiply.
        root = ElementTree.fromstring(data)  # noqa: S314
        name = _text(root, "filename", path)
        size = root.find("size")
        stated = None
        if size is not None:
            stated = (int(_text(size, "height", path)), int(_text(size, "width", path)))
        shapes = []
        for number, entry in enumerate(root.findall("object")):
            box = entry.find("bndbox")
            if box is None:
                raise ValueError("an object without bndbox")
            x1, y1, x2, y2 = (
                float(_text(box, key, path)) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            ignore = (entry.findtext("difficult") or "0").strip() == "1"
            where = f"{path}, object {number}"
            data_xyxy = [x1 - 1, y1 - 1, x2, y2]
            shapes.append(Shape(_text(entry, "name", path), "box", data_xyxy, ignore, where))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path} is no VOC file ({error}). Mend or remove it.") from error
    folder = source / _IMAGES
    image = inside(folder, name, source=path)
    if not image.is_file():
        stem = path.relative_to(source / "Annotations").with_suffix("")
        others = [folder / f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES]
        image = next((other for other in others if other.is_file()), image)
    if not image.is_file():
        raise InputError(f"{path} names the image {image}, which does not exist.")
    relative = image.relative_to(folder).with_suffix("").as_posix()
    return SourceImage(
        image_id=relative,
        image_path=image,
        defect_type=GOOD,
        source_split=sides.get(relative, ""),
        relative=image.relative_to(source).as_posix(),
        truth=Shapes(tuple(shapes), stated if stated and min(stated) > 0 else None),
        type_from_regions=True,
    )


def _text(element: ElementTree.Element, key: str, path: Path) -> str:
    value = element.findtext(key)
    if value is None or not value.strip():
        raise InputError(f"{path} has no {key}. Mend or remove it.")
    return value.strip()
