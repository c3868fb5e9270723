"""Reading LabelMe: one JSON an image, beside it or in a folder of its own.

    a.jpg
    a.json      {"imagePath": "a.jpg", "shapes": [{"label", "shape_type", "points"}], …}

Shapes are polygons, rectangles, circles, lines and masks (labelme 5: a PNG of the box, in base64).
Points are in pixels from the image's upper left corner. A point is no region.
"""

import base64
import binascii
import math
from pathlib import Path
from typing import Any

from annotations import InputError, LayoutError
from converters.dialects import read_json_text, shown
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


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like LabelMe; None where it does not."""
    del options
    for path in files.labels(".json")[:50]:
        if _is_labelme(path):
            return f"{files.relative(path)} holds shapes and imagePath"
    return None


def _is_labelme(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1 << 16)
        file.seek(max(0, path.stat().st_size - (1 << 14)))
        head += file.read()
    return b'"shapes"' in head and (b'"imagePath"' in head or b'"shape_type"' in head)


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and their shapes.

    Raises:
        LayoutError: no LabelMe file.
        InputError: a malformed file, or an image that is missing.
    """
    found = Found()
    seen: dict[Path, Path] = {}
    for path in files.labels(".json"):
        if not _is_labelme(path):
            continue
        document: Any = read_json_text(path, what="LabelMe's labels", counts=found.counts)
        found.used.add(path)
        try:
            name = document["imagePath"]
            if not isinstance(name, str):
                raise TypeError(f"imagePath is {shown(name)}")
            bases = [path.parent, path.parent.parent, files.root]
            bases = [base for base in bases if base.is_relative_to(files.root)]
            try:
                image = files.resolve(name, named_by=path, bases=bases, counts=found.counts)
            except InputError:
                beside = [p for p in files.images_of(path.parent) if p.stem == path.stem]
                if len(beside) != 1:
                    raise
                image = beside[0]
                found.counts["images found by their label file's name"] += 1
            shapes = []
            for number, entry in enumerate(document["shapes"]):
                where = f"{path}, shape {number}"
                shape = shape_of(entry, where)
                if shape is None:
                    reason = f"shapes that are no region ({shown(entry.get('shape_type'))})"
                    found.leftover_labels.append((where, reason))
                else:
                    shapes.append(shape)
            stated = (document.get("imageHeight"), document.get("imageWidth"))
            sized = all(isinstance(n, int) and n > 0 for n in stated)
            truth = Shapes(tuple(shapes), (int(stated[0]), int(stated[1])) if sized else None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path} is no LabelMe file ({type(error).__name__}: {str(error)[:200]}). Mend or "
                "remove it."
            ) from error
        if image in seen:
            raise InputError(f"{seen[image]} and {path} are both labels of {image}. Remove one.")
        seen[image] = path
        found.images.append(labeled_image(files, image, truth))
    if not found.images:
        raise LayoutError(
            f"{files.root} does not have the LabelMe layout: expected .json files with shapes and "
            "imagePath."
        )
    add_unlabeled(files, found, options)
    return sort_images(found)


def shape_of(entry: Any, where: str) -> Shape | None:
    """A region of a shape; None for a point and what is unknown.

    Raises:
        ValueError, TypeError, KeyError: malformed.
    """
    name = str(entry["label"])
    points = [(float(x), float(y)) for x, y in entry["points"]]
    kind = entry.get("shape_type") or "polygon"
    if not points:
        raise ValueError(f"{where} has no points")
    if kind in ("polygon", "line", "linestrip", "rotation", "oriented_rectangle"):
        if kind in ("line", "linestrip"):
            points = [*points, *reversed(points)]
        return Shape(name, "polygons", [flat(points)], ignore=False, where=where)
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points[0], points[-1] if len(points) == 2 else points[2]
        box = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
        return Shape(name, "box", box, ignore=False, where=where)
    if kind == "circle":
        (x1, y1), (x2, y2) = points[0], points[1]
        radius = math.hypot(x2 - x1, y2 - y1)
        return Shape(name, "ellipse", [x1, y1, radius, radius, 0.0], ignore=False, where=where)
    if kind == "mask":
        try:
            png = base64.b64decode(entry["mask"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"{where} has a mask that is not base64") from error
        data = {"png": png, "left": round(points[0][0]), "top": round(points[0][1])}
        return Shape(name, "mask", data, ignore=False, where=where)
    return None


def flat(points: list[tuple[float, float]]) -> list[float]:
    """x1, y1, x2, y2, … of points."""
    return [number for point in points for number in point]
