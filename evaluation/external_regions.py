"""COCO results that another program wrote, checked row by row."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask

from annotations import Dataset, InputError, Regions, rle_area
from annotations.errors import shortened
from annotations.regions import CocoRle
from annotations.rle import MAX_PERIMETER, counts_of_text, rle_of_counts

MAX_SCORE: Final = 1e30
"""Bound of scores made elsewhere, on either side of zero."""
_BESIDE: Final = 1.0
"""Pixels that a box may stand out of its image; detectors round so."""


def regions_of_rows(
    rows: Any, path: Path, dataset: Dataset, notes: list[str]
) -> dict[str, Regions]:
    """COCO results of the test images.

    Args:
        rows: a list of `image_id`, `category_id`, `bbox` (x, y, width, height), `score` and, for
            masks, `segmentation` (RLE or polygons).
        path: the file that they come from.
        dataset: whose COCO ids these are.
        notes: gets a sentence for what was cut or left out.

    Returns:
        Regions by image id, empty ones for images without a row. Boxes that stand out by up to a
        pixel are cut at the border.

    Raises:
        InputError: a malformed row, an unknown image or class, a score that is not finite, or a
            box or mask that does not fit its image.
    """
    if not isinstance(rows, list):
        raise InputError(f"{path} should hold a list of COCO results, as `loadRes` takes them.")
    test_ids = set(dataset.split.test_ids)
    image_of, first_class = _mapping(rows, dataset, notes)
    kept: dict[str, list[tuple[list[float], CocoRle | None, int, float]]] = {
        image_id: [] for image_id in dataset.split.test_ids
    }
    cut = others = 0
    for number, row in enumerate(rows):
        where = f"{path}, row {number}"
        try:
            image_id = image_of(row)
            label = _whole(row["category_id"]) - first_class
            score = float(row["score"])
            x, y, width, height = (float(v) for v in row["bbox"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{where} is no COCO result ({type(error).__name__}: {shortened(error)}); it needs "
                "image_id, "
                "category_id, bbox [x, y, width, height] and score."
            ) from error
        if image_id is None:
            raise InputError(
                f"{where} names the image {_short(row['image_id'])}, which the dataset does "
                "not have; image ids are those of annotations/all.json, or the names of its files."
            )
        if not 0 <= label < len(dataset.class_names):
            known = ", ".join(
                f"{n} {name}" for n, name in enumerate(dataset.class_names, first_class)
            )
            raise InputError(
                f"{where} names the class {_short(row['category_id'])}; known are {known}."
            )
        if not np.isfinite([score, x, y, width, height]).all() or abs(score) > MAX_SCORE:
            raise InputError(
                f"{where}: score and box must be finite numbers, the score between -{MAX_SCORE:g} "
                f"and {MAX_SCORE:g}."
            )
        if image_id not in test_ids:
            others += 1
            continue
        image_hw = dataset.by_id[image_id].image_hw
        box, was_cut = _box(x, y, width, height, image_hw, where)
        cut += was_cut
        mask = _mask(row["segmentation"], image_hw, where) if "segmentation" in row else None
        kept[image_id].append((box, mask, label, score))
    if cut:
        notes.append(f"{cut} boxes stood out of their image by up to a pixel and were cut")
    if others:
        notes.append(f"{others} regions of images that are not test images were left out")
    found = [row for rows in kept.values() for row in rows]
    with_masks = bool(found) and all(mask is not None for _, mask, _, _ in found)
    if not with_masks and any(mask is not None for _, mask, _, _ in found):
        notes.append("only some regions have masks; boxes alone are evaluated")
    return {
        image_id: _regions(part, dataset.by_id[image_id].image_hw, with_masks=with_masks)
        for image_id, part in kept.items()
    }


def _mapping(
    rows: list[Any], dataset: Dataset, notes: list[str]
) -> tuple[Callable[[Mapping[str, Any]], str | None], int]:
    """How rows name images and classes: by COCO's numbers, or as ultralytics does.

    Returns:
        A function from a row to an image id, or None for an unknown image, and the number of the
        first class.
    """
    plain = [row for row in rows if isinstance(row, Mapping)]
    by_coco_id = {number: image_id for image_id, number in dataset.coco_ids.items()}
    by_name = {sample.stem: sample.image_id for sample in dataset.samples}
    by_name |= {sample.image_id: sample.image_id for sample in dataset.samples}
    first_class = 1
    if any(str(row.get("category_id")) == "0" for row in plain):
        first_class = 0
        names = ", ".join(f"{n} {name}" for n, name in enumerate(dataset.class_names))
        notes.append(f"class numbers begin with 0: they were read as {names}")
    # A file's name is written by ultralytics alone; a number beside it is no id of ours.
    if not any("file_name" in row or isinstance(row.get("image_id"), str) for row in plain):
        return (lambda row: by_coco_id.get(_whole(row["image_id"]))), first_class
    notes.append(
        "images were found by the names of their files (as ultralytics writes them), not by the "
        "numbers of annotations/all.json"
    )

    def image_of(row: Mapping[str, Any]) -> str | None:
        text = str(row.get("file_name", row["image_id"]))
        found = by_name.get(text)
        # Without the suffix, and without the folders of whoever predicted.
        name = text.replace("\\", "/").rsplit("/", 1)[-1]
        return found or by_name.get(name) or by_name.get(name.rpartition(".")[0])

    return image_of, first_class


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or number != float(value):
        raise ValueError(f"{value!r} is no whole number")
    return number


def _regions(
    rows: list[tuple[list[float], CocoRle | None, int, float]],
    image_hw: tuple[int, int],
    *,
    with_masks: bool,
) -> Regions:
    masks = tuple(mask for _, mask, _, _ in rows if mask is not None)
    return Regions(
        boxes_xyxy=np.array([box for box, _, _, _ in rows], np.float32).reshape(-1, 4),
        masks=masks if with_masks else None,
        labels=np.array([label for _, _, label, _ in rows], np.int64),
        scores=np.array([score for _, _, _, score in rows], np.float32),
        image_hw=image_hw,
    )


def _box(
    x: float, y: float, width: float, height: float, image_hw: tuple[int, int], where: str
) -> tuple[list[float], bool]:
    high, wide = image_hw
    if width <= 0 or height <= 0:
        raise InputError(
            f"{where} has a box of {width:g}×{height:g} pixels. COCO boxes are x, y, width, "
            "height; are these corners?"
        )
    ends = x, y, x + width, y + height
    if min(ends[:2]) < -_BESIDE or ends[2] > wide + _BESIDE or ends[3] > high + _BESIDE:
        raise InputError(
            f"{where} has the box x {x:g}, y {y:g}, width {width:g}, height {height:g}, outside of "
            f"its {wide}×{high} image. Were boxes scaled to another size, or are these corners?"
        )
    inside = [max(x, 0.0), max(y, 0.0), min(ends[2], float(wide)), min(ends[3], float(high))]
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise InputError(f"{where} has a box that lies beside its {wide}×{high} image.")
    return inside, tuple(inside) != ends


def _mask(value: Any, image_hw: tuple[int, int], where: str) -> CocoRle:
    high, wide = image_hw
    try:
        if isinstance(value, Mapping):
            size = [int(n) for n in value["size"]]
            if size != [high, wide]:
                raise InputError(
                    f"{where} has a mask of size {shortened(size)}, its image is {high}×{wide} "
                    "(height×width). Masks are evaluated at the size of their image."
                )
            counts = value["counts"]
            if isinstance(counts, list):
                numbers = [int(n) for n in counts]
            else:
                numbers = counts_of_text(str(counts))
            return _not_empty(rle_of_counts(numbers, image_hw), where)
        polygons = [[float(v) for v in polygon] for polygon in value]
        if not polygons or any(len(p) < 6 or len(p) % 2 for p in polygons):
            raise ValueError("a polygon needs three points or more")
        points = np.concatenate([np.asarray(p).reshape(-1, 2) for p in polygons])
        # The compiled code sets memory aside for every pixel of an outline.
        near = (points >= [-wide, -high]).all() and (points <= [2 * wide, 2 * high]).all()
        if not near:
            raise ValueError("a polygon's point lies far outside of the image, or is no number")
        for polygon in polygons:
            corners = np.asarray(polygon).reshape(-1, 2)
            outline = np.abs(np.diff(corners, axis=0, append=corners[:1])).sum()
            if outline > MAX_PERIMETER:
                raise ValueError(
                    f"a polygon's outline is {outline:.0f} pixels long; at most {MAX_PERIMETER:,} "
                    "are read"
                )
        merged = coco_mask.merge(coco_mask.frPyObjects(polygons, high, wide))
        counts_text = merged["counts"].decode("ascii")
        return _not_empty({"size": [high, wide], "counts": counts_text}, where)
    except (KeyError, TypeError, ValueError, UnicodeError, OverflowError) as error:
        raise InputError(f"{where} has a mask that cannot be read ({shortened(error)}).") from error


def _not_empty(rle: CocoRle, where: str) -> CocoRle:
    if not rle_area(rle):
        raise InputError(f"{where} has a mask without a pixel.")
    return rle
