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

import csv
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError
from annotations.files import inside
from converters.layouts.source import (
    BinaryMasks,
    FindOptions,
    Found,
    SourceImage,
    id_of,
    require_folder,
    sort_images,
)

ANNOTATIONS: Final = "image_anno.csv"
SPLIT: Final = Path("split_csv") / "1cls.csv"
MAX_CSV_BYTES: Final = 64 << 20


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    del options
    return f"it holds {ANNOTATIONS}" if (source / ANNOTATIONS).is_file() else None


def find(source: Path, options: FindOptions) -> Found:
    """Find the images and masks of one object.

    Raises:
        LayoutError: no VisA layout.
        InputError: a malformed row, a path that leaves the set, a missing file, or an image that
            is listed twice.
    """
    require_folder(source, what="the folder of one VisA object")
    path = source / ANNOTATIONS
    if not path.is_file():
        raise LayoutError(
            f"{source} does not have the VisA layout: there is no {ANNOTATIONS} in it. Give the "
            "folder of one object, such as VisA/candle."
        )
    root = source.resolve().parent
    sides = {
        row["image"]: row["split"]
        for row in read_rows(root / SPLIT, ("object", "split", "image"), missing_is_empty=True)
        if row["object"] == source.resolve().name
    }
    found = Found()
    seen: set[Path] = set()
    for row in read_rows(path, ("image", "label", "mask")):
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
        elif not is_good:
            raise InputError(f"{path}: the defect image {row['image']} has no mask.")
        if not image.is_relative_to(source.resolve()):
            raise InputError(f"{path} names the image {image}, which lies outside of {source}.")
        found.images.append(
            SourceImage(
                image_id=id_of(source.resolve(), image),
                image_path=image,
                defect_type=kind,
                source_split=sides.get(row["image"], ""),
                relative=image.relative_to(source.resolve()).as_posix(),
                truth=truth,
            )
        )
    if not found.images:
        raise InputError(f"{path} lists no image.")
    odd = sorted({side for side in sides.values() if side not in ("train", "val", "test")})
    if odd:
        raise InputError(f"{root / SPLIT} holds the side {odd[0]!r}; train or test is expected.")
    return sort_images(found)


def read_rows(
    path: Path, columns: tuple[str, ...], *, missing_is_empty: bool = False
) -> list[dict[str, str]]:
    """Rows of a CSV that has these columns.

    Raises:
        InputError: missing, too large, not UTF-8, without a column, or with a short row.
    """
    if missing_is_empty and not path.is_file():
        return []
    if not path.is_file() or path.stat().st_size > MAX_CSV_BYTES:
        raise InputError(f"{path} is missing, or larger than {MAX_CSV_BYTES:,} bytes.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not set(columns) <= set(reader.fieldnames):
                raise InputError(f"{path} needs the columns {', '.join(columns)}.")
            rows = []
            for row in reader:
                if any(row[name] is None for name in columns):
                    raise InputError(f"{path}, line {reader.line_num}: a column is missing.")
                rows.append({name: row[name].strip() for name in columns})
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV in UTF-8 ({error}).") from error
