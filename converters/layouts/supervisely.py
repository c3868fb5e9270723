"""Reading Supervisely projects: a JSON an image in `ann/`, images in `img/`, a folder a dataset.

    meta.json
    ds0/img/a.jpg
    ds0/ann/a.jpg.json      {"size": {"height", "width"}, "objects": [{"classTitle", "geometryType",
                             "points": {"exterior", "interior"}, "bitmap": {"data", "origin"}}]}

A bitmap is a PNG, compressed by zlib, in base64, placed at its origin.
"""

import base64
import binascii
import zlib
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
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

META: Final = "meta.json"
MAX_BITMAP_BYTES: Final = 64 << 20


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like Supervisely; None where it does not."""
    del options
    for path in _label_files(files)[:1]:
        return f"it holds img and ann, with labels such as {files.relative(path)}"
    return None


def _label_files(files: SourceFiles) -> list[Path]:
    if files.single is not None:
        return []
    return [
        path
        for path in files.with_suffix(".json")
        if path.parent.name.casefold() == "ann" and files.child(path.parent.parent, "img")
    ]


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and their objects.

    Raises:
        LayoutError: no img and ann.
        InputError: a malformed file.
    """
    found = Found()
    labels = _label_files(files)
    if not labels:
        raise LayoutError(
            f"{files.root} does not have Supervisely's layout: expected ds0/img and ds0/ann with a "
            ".json for every image."
        )
    for path in files.with_suffix(".json"):
        if path.name == META:
            found.passed_over[path] = "Supervisely's list of classes"
    pairs, without = files.pair(list(files.images), labels)
    found.leftover_labels += [(str(path), "label files without an image") for path in without]
    found.used |= {*labels}
    for image, path in pairs.items():
        document: Any = read_json_text(path, what="Supervisely's labels", counts=found.counts)
        shapes: list[Shape] = []
        kind = GOOD
        try:
            for number, entry in enumerate(document["objects"]):
                where = f"{path}, object {number}"
                shape = shape_of(entry, where)
                if shape is None:
                    reason = f"shapes that are no region ({shown(entry.get('geometryType'))})"
                    found.leftover_labels.append((where, reason))
                else:
                    shapes.append(shape)
            for tag in document.get("tags") or []:
                kind = str(tag["name"]) if isinstance(tag, dict) and not shapes else kind
            stated = (int(document["size"]["height"]), int(document["size"]["width"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path} is no file of Supervisely's ({type(error).__name__}: "
                f"{str(error)[:200]}). Export the project again."
            ) from error
        truth = Shapes(tuple(shapes), stated if min(stated) > 0 else None)
        if options.is_good(kind):
            kind = GOOD
        found.images.append(labeled_image(files, image, truth, defect_type=kind))
    add_unlabeled(files, found, options)
    return sort_images(found)


def shape_of(entry: Any, where: str) -> Shape | None:
    """A region of an object; None for a point and what is unknown.

    Raises:
        ValueError, TypeError, KeyError: malformed.
    """
    name = str(entry["classTitle"])
    kind = entry.get("geometryType") or ("bitmap" if entry.get("bitmap") else "polygon")
    if kind == "bitmap":
        x, y = entry["bitmap"]["origin"]
        png = _unpacked(str(entry["bitmap"]["data"]), where)
        data = {"png": png, "left": int(x), "top": int(y)}
        return Shape(name, "mask", data, ignore=False, where=where)
    if kind not in ("polygon", "rectangle", "line"):
        return None
    outer = [(float(x), float(y)) for x, y in entry["points"]["exterior"]]
    holes = [[float(v) for p in hole for v in p] for hole in entry["points"].get("interior") or []]
    if kind == "rectangle":
        (x1, y1), (x2, y2) = outer
        # Both corners are pixels that belong to the rectangle.
        box = [min(x1, x2), min(y1, y2), max(x1, x2) + 1, max(y1, y2) + 1]
        return Shape(name, "box", box, ignore=False, where=where)
    if kind == "line":
        outer = [*outer, *reversed(outer)]
    flat = [v for point in outer for v in point]
    if holes:
        data_holes = {"outer": flat, "holes": holes}
        return Shape(name, "polygons", data_holes, ignore=False, where=where)
    return Shape(name, "polygons", [flat], ignore=False, where=where)


def _unpacked(text: str, where: str) -> bytes:
    try:
        packed = base64.b64decode(text, validate=True)
        unpacking = zlib.decompressobj()
        png = unpacking.decompress(packed, MAX_BITMAP_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"{where} has a bitmap that cannot be unpacked") from error
    if unpacking.unconsumed_tail:
        raise ValueError(f"{where} has a bitmap of more than {MAX_BITMAP_BYTES:,} bytes")
    return png
