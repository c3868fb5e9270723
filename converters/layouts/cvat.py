"""Reading CVAT's own XML, `CVAT for images 1.1`: one annotations.xml for all images.

    annotations.xml     <annotations><image name width height><box/><polygon/><mask/>…
    images/<name>       where `Save images` was ticked; anywhere in SRC otherwise

Boxes may be turned; a mask is a run-length code by rows inside its rectangle; a tag labels an image
without a region.
"""

import math
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from annotations import GOOD, InputError, LayoutError
from converters.inventory import SourceFiles
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    add_unlabeled,
    labeled_image,
    sort_images,
)
from converters.layouts.voc import parse_xml
from converters.names import side_of_word

_HEAD_BYTES: Final = 1 << 12


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like CVAT; None where it does not."""
    del options
    for path in files.labels(".xml")[:50]:
        with path.open("rb") as file:
            if b"<annotations" in file.read(_HEAD_BYTES):
                return f"{files.relative(path)} holds CVAT's annotations"
    return None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and their shapes.

    Raises:
        LayoutError: no such XML.
        InputError: a malformed file, a missing image, or annotations of a video.
    """
    found = Found()
    seen: dict[Path, Path] = {}
    for path in files.labels(".xml"):
        root = parse_xml(path)
        if root.tag != "annotations":
            continue
        found.used.add(path)
        if root.find("track") is not None:
            raise InputError(
                f"{path} holds tracks of a video. Export the task from CVAT as `CVAT for images "
                "1.1` or `COCO 1.0`, with its frames saved."
            )
        for entry in root.findall("image"):
            _read_image(path, entry, files, found, seen)
    if not found.images:
        raise LayoutError(
            f"{files.root} does not have CVAT's layout: expected an XML with <annotations> and "
            "<image> in it (export `CVAT for images 1.1`)."
        )
    add_unlabeled(files, found, options)
    return sort_images(found)


def _read_image(
    path: Path,
    entry: ElementTree.Element,
    files: SourceFiles,
    found: Found,
    seen: dict[Path, Path],
) -> None:
    name = entry.get("name", "")
    try:
        images = files.child(path.parent, "images")
        subset = entry.get("subset", "")
        bases = [path.parent, files.root]
        if images is not None:
            bases = [images, images / subset, *bases] if subset else [images, *bases]
        image = files.resolve(name, named_by=path, bases=bases, counts=found.counts)
        if image in seen:
            raise InputError(f"{seen[image]} and {path} both list {image}. Remove one of them.")
        seen[image] = path
        shapes, kind = [], GOOD
        for number, element in enumerate(entry):
            where = f"{path}, image {name!r}, shape {number}"
            if element.tag == "tag":
                kind = element.get("label", GOOD)
                continue
            shape = _shape(element, where)
            if shape is None:
                reason = f"shapes that are no region ({element.tag[:40]})"
                found.leftover_labels.append((where, reason))
            else:
                shapes.append(shape)
        stated = (int(entry.get("height", 0)), int(entry.get("width", 0)))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{path}, image {name[:60]!r}: {type(error).__name__}: {str(error)[:200]}. Export the "
            "task again."
        ) from error
    truth = Shapes(tuple(shapes), stated if min(stated) > 0 else None)
    side = side_of_word(subset)
    found.images.append(labeled_image(files, image, truth, side=side, defect_type=kind or GOOD))


def _shape(element: ElementTree.Element, where: str) -> Shape | None:
    def number(key: str, default: str | None = None) -> float:
        value = element.get(key, default)
        if value is None:
            raise KeyError(key)
        return float(value)

    name = element.get("label", "")
    if element.tag == "box":
        x1, y1, x2, y2 = (number(key) for key in ("xtl", "ytl", "xbr", "ybr"))
        turn = number("rotation", "0")
        if turn == 0:
            return Shape(name, "box", [x1, y1, x2, y2], ignore=False, where=where)
        corners = turned_box(x1, y1, x2, y2, turn)
        return Shape(name, "polygons", [corners], ignore=False, where=where)
    if element.tag in ("polygon", "polyline"):
        pairs = [p.split(",") for p in element.get("points", "").split(";") if p]
        points = [(float(x), float(y)) for x, y in pairs]
        if element.tag == "polyline":
            points = [*points, *reversed(points)]
        data = [v for point in points for v in point]
        return Shape(name, "polygons", [data], ignore=False, where=where)
    if element.tag == "ellipse":
        data = [number(key) for key in ("cx", "cy", "rx", "ry")] + [number("rotation", "0")]
        return Shape(name, "ellipse", data, ignore=False, where=where)
    if element.tag == "mask":
        runs = [int(word) for word in element.get("rle", "").replace(",", " ").split()]
        keys = ("left", "top", "width", "height")
        window = {key: int(number(key)) for key in keys}
        return Shape(name, "mask", {"row_runs": runs, **window}, ignore=False, where=where)
    return None


def turned_box(x1: float, y1: float, x2: float, y2: float, degrees: float) -> list[float]:
    """Corners x, y, … of a box turned clockwise about its center, as pictures are seen."""
    cx, cy, angle = (x1 + x2) / 2, (y1 + y2) / 2, math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    return [
        value
        for x, y in corners
        for value in (
            cx + (x - cx) * cos - (y - cy) * sin,
            cy + (x - cx) * sin + (y - cy) * cos,
        )
    ]
