"""Reading Label Studio's JSON and JSON-MIN exports. (Its COCO and YOLO exports are those layouts.)

A list of tasks; an image's regions are rectangles, polygons, ellipses, or brush masks in Label
Studio's own run-length code (a bit stream of RGBA values; `decode_brush` follows the format as
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack documents it). Places are given in
percent of the image. Images are named as they were uploaded, with a prefix that may be gone.
"""

import math
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from annotations.images import is_image_path
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

_LABELS: Final = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "labels")
_MAX_SIDE: Final = 100_000


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like Label Studio; None where it does not."""
    del options
    for path in files.labels(".json")[:50]:
        with path.open("rb") as file:
            head = file.read(1 << 16)
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[") and (
            b'"original_width"' in head or (b'"annotations"' in head and b'"data"' in head)
        ):
            return f"{files.relative(path)} holds Label Studio's tasks"
    return None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and their regions.

    Raises:
        LayoutError: no such JSON.
        InputError: a malformed task, or an image that is missing.
    """
    found = Found()
    seen: dict[Path, str] = {}
    for path in files.labels(".json"):
        tasks: Any = read_json_text(path, what="Label Studio's tasks", counts=found.counts)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            continue
        found.used.add(path)
        for place, task in enumerate(tasks):
            where = f"{path}, task {shown(task.get('id', place))}"
            try:
                _read_task(task, path, where, files, found, seen)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise InputError(
                    f"{where}: {type(error).__name__}: {str(error)[:200]}. Export again."
                ) from error
    if not found.images:
        raise LayoutError(
            f"{files.root} does not have Label Studio's layout: expected its JSON or JSON-MIN "
            "export, a list of tasks."
        )
    add_unlabeled(files, found, options)
    return sort_images(found)


def _read_task(
    task: dict[str, Any],
    path: Path,
    where: str,
    files: SourceFiles,
    found: Found,
    seen: dict[Path, str],
) -> None:
    results, labeled = _results(task, where, found)
    image = _image(task, path, where, files, found)
    if image in seen:
        raise InputError(f"{where} and {seen[image]} both label {image}. Remove one of them.")
    seen[image] = where
    if not labeled:
        # Nobody has looked at it: it stays unused, and is counted as such.
        return
    shapes: list[Shape] = []
    kind = GOOD
    for number, result in enumerate(results):
        place = f"{where}, region {number}"
        value = result.get("value", result)
        if "choices" in value:
            chosen = value["choices"]
            kind = str(chosen[0] if isinstance(chosen, list) else chosen)
            continue
        names = next((value[key] for key in _LABELS if value.get(key)), None)
        if names is None:
            if result.get("type") in ("rectangle", "polygon", "ellipse", "brush"):
                continue  # the same region stands in the list again with its label
            found.leftover_labels.append((place, "regions without a label"))
            continue
        name = str(names[0] if isinstance(names, list) else names)
        hw = (_side(result, value, "original_height"), _side(result, value, "original_width"))
        shape = _shape(value, name, hw, place)
        if shape is None:
            found.leftover_labels.append((place, "shapes that are no region"))
        else:
            shapes.append(shape)
    sizes = {
        (_side(r, value, "original_height"), _side(r, value, "original_width"))
        for r in results
        if "original_height" in {**(value := r.get("value", r)), **r}
    }
    stated = sizes.pop() if len(sizes) == 1 else None
    truth = Shapes(tuple(shapes), stated)
    found.images.append(labeled_image(files, image, truth, defect_type=kind))


def _results(task: dict[str, Any], where: str, found: Found) -> tuple[list[Any], bool]:
    """The regions of a task, and whether a person has annotated it."""
    if "annotations" not in task and "completions" not in task:
        # JSON-MIN: the regions stand in the task itself, under the name of the control.
        lists = [v for v in task.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        return [r for one in lists for r in one if "original_width" in r], True
    annotations = task.get("annotations", task.get("completions")) or []
    whole = [a for a in annotations if not a.get("was_canceled")]
    for number in range(1, len(whole)):
        reason = "a second person's annotations of one task"
        found.leftover_labels.append((f"{where}, annotation {number}", reason))
    return (list(whole[0].get("result") or []), True) if whole else ([], False)


def _image(task: dict[str, Any], path: Path, where: str, files: SourceFiles, found: Found) -> Path:
    data = task.get("data")
    texts = [v for v in (data if isinstance(data, dict) else task).values() if isinstance(v, str)]
    names = [text for text in texts if is_image_path(Path(text.split("?d=")[-1]))]
    if isinstance(task.get("file_upload"), str):
        names.append(task["file_upload"])
    if not names:
        raise InputError(f"{where} names no image.")
    first: InputError | None = None
    for name in names:
        last = name.replace("\\", "/").rsplit("/", 1)[-1]
        for text in (name, last, last.partition("-")[2]):
            if not text:
                continue
            try:
                bases = [path.parent, files.root]
                return files.resolve(text, named_by=path, bases=bases, counts=found.counts)
            except InputError as error:
                first = first or error
    raise first or InputError(f"{where} names no image.")


def _side(result: Any, value: Any, key: str) -> int:
    number = result.get(key, value.get(key) if isinstance(value, dict) else None)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{key} is {shown(number)}")
    if not 1 <= number <= _MAX_SIDE or int(number) != number:
        raise ValueError(f"{key} is {shown(number)}")
    return int(number)


def _shape(value: Any, name: str, hw: tuple[int, int], where: str) -> Shape | None:
    height, width = hw
    if "points" in value:
        points = [[float(x) * width / 100, float(y) * height / 100] for x, y in value["points"]]
        flat = [number for point in points for number in point]
        return Shape(name, "polygons", [flat], ignore=False, where=where)
    if "rle" in value:
        data = {"brush": bytes(value["rle"]), "left": 0, "top": 0, "height": height, "width": width}
        return Shape(name, "mask", data, ignore=False, where=where)
    turn = float(value.get("rotation") or 0)
    if "radiusX" in value:
        cx, cy = float(value["x"]) * width / 100, float(value["y"]) * height / 100
        rx, ry = float(value["radiusX"]) * width / 100, float(value["radiusY"]) * height / 100
        return Shape(name, "ellipse", [cx, cy, rx, ry, turn], ignore=False, where=where)
    if "width" in value:
        x1, y1 = float(value["x"]) * width / 100, float(value["y"]) * height / 100
        w, h = float(value["width"]) * width / 100, float(value["height"]) * height / 100
        if turn == 0:
            box = [_snap(x1), _snap(y1), _snap(x1 + w), _snap(y1 + h)]
            return Shape(name, "box", box, ignore=False, where=where)
        # Label Studio turns about the upper left corner, clockwise.
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        corners = ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))
        data_xy = [v for x, y in corners for v in (x1 + x * cos - y * sin, y1 + x * sin + y * cos)]
        return Shape(name, "polygons", [data_xy], ignore=False, where=where)
    return None


def _snap(value: float) -> float:
    """An edge that lies a hair beside a whole pixel, for want of decimals, on it."""
    return float(round(value)) if abs(value - round(value)) < 1e-4 else value
