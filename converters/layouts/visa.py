"""Reading VisA, one object at a time (Zou et al., SPot-the-Difference, ECCV 2022).

    VisA/candle/image_anno.csv                      image,label,mask
    VisA/candle/Data/Images/Normal/0000.JPG
    VisA/candle/Data/Images/Anomaly/000.JPG
    VisA/candle/Data/Masks/Anomaly/000.png
    VisA/split_csv/1cls.csv                         object,split,label,image,mask

SRC is an object's folder; paths in the files are relative to the folder that holds it. Sides come
from split_csv/1cls.csv where that is there. A mask's non-zero values number its defects, and all
of them are inside. An image's type is its label; several are joined with ` + `.
"""

from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError
from annotations.files import inside
from converters.dialects import read_table
from converters.inventory import SourceFiles
from converters.layouts.source import (
    HOW_WITHOUT_MASK,
    BinaryMasks,
    FindOptions,
    Found,
    SourceImage,
    sort_images,
    without_mask,
)

ANNOTATIONS: Final = "image_anno.csv"
SPLIT: Final = Path("split_csv") / "1cls.csv"


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    del options
    path = files.child(files.root, ANNOTATIONS)
    return f"it holds {ANNOTATIONS}" if path is not None and not files.single else None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find the images and masks of one object.

    Raises:
        LayoutError: no VisA layout.
        InputError: a malformed row, a path that leaves the set, a missing file, or an image that
            is listed twice.
    """
    source = files.root
    path = files.child(source, ANNOTATIONS)
    if path is None:
        raise LayoutError(
            f"{source} does not have the VisA layout: there is no {ANNOTATIONS} in it. Give the "
            "folder of one object, such as VisA/candle."
        )
    found = Found()
    found.used.add(path)
    root = source.parent
    split = root / SPLIT
    sides: dict[str, str] = {}
    if split.is_file():
        for _, row in _rows(split, ("object", "split", "image"), found):
            if row["object"] == source.name:
                sides[row["image"]] = row["split"]
    seen: set[Path] = set()
    for number, row in _rows(path, ("image", "label", "mask"), found):
        image = inside(root, row["image"], source=path)
        if not image.is_file():
            raise InputError(f"{path} names the image {image}, which does not exist.")
        if image in seen:
            raise InputError(f"{path} lists {row['image']} twice. Remove one of the rows.")
        seen.add(image)
        labels = [text.strip() for text in row["label"].split(",") if text.strip()]
        is_good = not labels or all(options.is_good(label) for label in labels)
        kind = GOOD if is_good else " + ".join(label.replace("/", "-") for label in labels)
        truth = None
        if row["mask"]:
            mask = inside(root, row["mask"], source=path)
            if not mask.is_file():
                raise InputError(f"{path} names the mask {mask}, which does not exist.")
            truth = BinaryMasks((mask,), kind, any_value=True)
        elif not is_good and options.masks_may_miss:
            without_mask(found, kind)
        elif not is_good:
            raise InputError(
                f"{path}, line {number}: the defect image {row['image']} has no mask. Add one, "
                f"{HOW_WITHOUT_MASK}."
            )
        if not image.is_relative_to(source):
            raise InputError(f"{path} names the image {image}, which lies outside of {source}.")
        found.images.append(
            SourceImage(
                image_id=files.relative(image.with_suffix("")),
                image_path=image,
                defect_type=kind,
                source_split=sides.get(row["image"], ""),
                relative=files.relative(image),
                truth=truth,
            )
        )
    if not found.images:
        raise InputError(f"{path} lists no image.")
    odd = sorted({side for side in sides.values() if side not in ("train", "val", "test")})
    if odd:
        raise InputError(f"{split} holds the side {odd[0]!r}; train or test is expected.")
    return sort_images(found)


def _rows(path: Path, columns: tuple[str, ...], found: Found) -> list[tuple[int, dict[str, str]]]:
    names, rows = read_table(path, counts=found.counts)
    if not set(columns) <= set(names):
        raise InputError(f"{path} needs the columns {', '.join(columns)}.")
    for number, row in rows:
        if not set(columns) <= set(row):
            raise InputError(f"{path}, line {number}: a column is missing.")
    return rows
