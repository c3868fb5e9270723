"""Boxes in a CSV, as ultralytics' `to_csv` gives them, made into COCO results."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from annotations import Dataset, InputError
from annotations.errors import shortened
from annotations.prediction_files import read_csv

IMAGE_COLUMNS: Final = (
    "image_id", "image", "file_name", "filename", "file", "path", "image name", "image_name",
)  # fmt: skip
_CORNERS: Final = (
    ("x1", "y1", "x2", "y2"),
    ("box.x1", "box.y1", "box.x2", "box.y2"),
    ("box_x1", "box_y1", "box_x2", "box_y2"),
    ("xmin", "ymin", "xmax", "ymax"),
)


def names_boxes(path: Path) -> bool:
    """True for a table with a column of scores and columns of boxes.

    Raises:
        InputError: no CSV in UTF-8.
    """
    rows = read_csv(path)
    columns = _columns(rows)
    return "confidence" in columns and ("box" in columns or _corner_columns(columns) is not None)


def boxes_of_csv(path: Path, dataset: Dataset, notes: list[str]) -> list[dict[str, Any]]:
    """COCO results of a table of boxes; the mapping is said in `notes`.

    Args:
        path: columns `confidence`, `box` (or x1, y1, x2, y2), `name` or `class` (from 0), and one
            that names the image, which ultralytics leaves to the caller.
        dataset: whose classes these are.
        notes: gets how columns were read.

    Raises:
        InputError: a missing column, an unknown class or a box that cannot be read.
    """
    rows = read_csv(path)
    columns = _columns(rows)
    image = next((columns[name] for name in IMAGE_COLUMNS if name in columns), None)
    corners = _corner_columns(columns)
    if image is None or "confidence" not in columns or (corners is None and "box" not in columns):
        raise InputError(
            f"{path} has the columns {', '.join(columns) or 'none'}; expected are confidence, box "
            "(or x1, y1, x2, y2), name or class, and one of "
            f"{', '.join(IMAGE_COLUMNS[:5])}, which names the image. ultralytics' `to_csv` "
            "writes none: add it from each result's `path`."
        )
    by_name = "name" in columns and any(row[columns["name"]] for row in rows)
    if not by_name and "class" not in columns:
        raise InputError(f"{path} has neither a column `name` nor `class` for the defect type.")
    of_class = columns["name"] if by_name else columns["class"]
    notes.append(
        f"{path.name}: images from the column {image}, classes from {of_class}"
        f"{'' if by_name else ' (from 0)'}, boxes as corners in pixels"
    )
    known = {name: number for number, name in enumerate(dataset.class_names, start=1)}
    results = []
    for number, row in enumerate(rows):
        where = f"{path}, row {number}"
        text = str(row[of_class])
        try:
            label = known[text] if by_name else int(float(text)) + 1
        except (KeyError, ValueError, OverflowError) as error:
            raise InputError(
                f"{where} names the class {text[:40]!r}; known are {', '.join(known)}."
            ) from error
        x1, y1, x2, y2 = _corners(row, columns, corners, where)
        results.append(
            {
                "image_id": str(row[image]),
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": row[columns["confidence"]],
            }
        )
    return results


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Column names by their plain form."""
    return {} if not rows else {str(name).strip().lower(): str(name) for name in rows[0] if name}


def _corner_columns(columns: Mapping[str, str]) -> tuple[str, ...] | None:
    return next((names for names in _CORNERS if all(name in columns for name in names)), None)


def _corners(
    row: Mapping[str, str], columns: Mapping[str, str], names: Sequence[str] | None, where: str
) -> list[float]:
    try:
        if names is not None:
            return [float(row[columns[name]]) for name in names]
        text = row[columns["box"]]
        if len(text) > 1000:
            raise ValueError("a text of more than 1,000 characters")
        box = ast.literal_eval(text)
        values = [box[name] for name in _CORNERS[0]] if isinstance(box, dict) else list(box)
        if len(values) != 4:
            raise ValueError(f"{len(values)} numbers, where four are expected")
        return [float(value) for value in values]
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{where} has a box that cannot be read ({shortened(error)}); expected are x1, y1, x2, "
            "y2 in pixels."
        ) from error
