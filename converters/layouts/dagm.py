"""Reading DAGM 2007 (Wieler and Hahn, Weakly supervised learning for optical inspection).

The newer archive has a mask for every image with a defect, an ellipse:

    Class1/Train/0576.PNG
    Class1/Train/Label/0576_label.PNG
    Class1/Train/Label/Labels.txt
    Class1/Test/…

The development set has good images in one folder, and ellipses as text beside the others:

    Class1/1.png
    Class1_def/1.png
    Class1_def/labels.txt       number, semi-major and semi-minor axis, turn in radians, x, y

A class is a texture, with one kind of defect. Images without a label are good.
"""

import math
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError
from converters.dialects import read_lines, shown, split_numbers
from converters.inventory import SourceFiles
from converters.layouts.source import (
    BinaryMasks,
    FindOptions,
    Found,
    Shape,
    Shapes,
    SourceImage,
    sort_images,
)
from converters.names import side_of_folders

LABEL_FOLDER: Final = "label"
LABEL_ENDING: Final = "_label"
DEFECT_ENDING: Final = "_def"
_LISTS: Final = frozenset({"labels.txt", "label.txt"})


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like DAGM; None where it does not."""
    del options
    if files.single:
        return None
    masks = _masks(files)
    if masks:
        return f"it holds masks such as {files.relative(masks[0])}, as DAGM does"
    lists = _ellipse_files(files)
    return f"{files.relative(lists[0])} holds DAGM's ellipses" if lists else None


def _masks(files: SourceFiles) -> list[Path]:
    return [
        path
        for path in files.images
        if path.parent.name.casefold() == LABEL_FOLDER
        and path.stem.casefold().endswith(LABEL_ENDING)
        and path.parent != files.root
        and side_of_folders([path.parent.parent.name])
    ]


def _ellipse_files(files: SourceFiles) -> list[Path]:
    return [
        path
        for path in files.with_suffix(".txt")
        if path.name.casefold() in _LISTS and path.parent.name.casefold().endswith(DEFECT_ENDING)
    ]


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images with their masks or ellipses.

    Raises:
        LayoutError: neither of the two.
        InputError: a label without an image, or a malformed line.
    """
    del options
    found = Found()
    masks, lists = _masks(files), _ellipse_files(files)
    if not masks and not lists:
        raise LayoutError(
            f"{files.root} does not have DAGM's layout: expected Train/Label/0576_label.PNG, or "
            "Class1_def/labels.txt."
        )
    truths: dict[Path, tuple[str, BinaryMasks | Shapes]] = {}
    for mask in masks:
        folder = mask.parent.parent
        stem = mask.stem[: -len(LABEL_ENDING)]
        image = next((p for p in files.images_of(folder) if p.stem == stem), None)
        if image is None:
            found.leftover_labels.append((str(mask), "masks without an image"))
            found.used.add(mask)
            continue
        kind = _kind(files, folder.parent)
        truths[image] = (kind, BinaryMasks((mask,), kind))
    for path in files.with_suffix(".txt"):
        if path.name.casefold() in _LISTS:
            found.used.add(path)
    for path in lists:
        name = path.parent.name[: -len(DEFECT_ENDING)]
        for image, shape in _ellipses(path, files, name or "defect", found):
            truths[image] = (shape.class_name, Shapes((shape,)))
    folders = {image.parent for image in truths}
    folders |= {f for f in {p.parent for p in files.images} if _is_good_folder(f, lists)}
    # Where one side of a class has masks, its other side's images are part of it, too.
    folders |= {p.parent for p in files.images if p.parent.parent in {f.parent for f in folders}
                and side_of_folders([p.parent.name])}  # fmt: skip
    for image in files.images:
        if image.parent in folders and image not in masks:
            kind, truth = truths.get(image, (GOOD, None))
            found.images.append(
                SourceImage(
                    image_id=files.relative(image.with_suffix("")),
                    image_path=image,
                    defect_type=kind,
                    source_split=side_of_folders(files.folders(image)),
                    relative=files.relative(image),
                    truth=truth,
                )
            )
    return sort_images(found)


def _kind(files: SourceFiles, folder: Path) -> str:
    return "defect" if folder == files.root else f"{folder.name}_defect"


def _is_good_folder(folder: Path, lists: list[Path]) -> bool:
    return any(path.parent.name[: -len(DEFECT_ENDING)] == folder.name
               and path.parent.parent == folder.parent for path in lists)  # fmt: skip


def _ellipses(path: Path, files: SourceFiles, name: str, found: Found) -> list[tuple[Path, Shape]]:
    by_number = {p.stem.lstrip("0"): p for p in files.images_of(path.parent)}
    result = []
    for number, line in enumerate(read_lines(path, counts=found.counts), start=1):
        where = f"{path}, line {number}"
        words = split_numbers(line, found.counts)
        try:
            major, minor, turn, cx, cy = (float(word) for word in words[1:6])
        except ValueError as error:
            raise InputError(
                f"{where}: expected an image's number, two semi-axes, the turn in radians, x and "
                f"y, found {shown(line)}."
            ) from error
        image = by_number.get(Path(words[0]).stem.lstrip("0"))
        if image is None:
            found.leftover_labels.append((where, "ellipses without an image"))
            continue
        data = [cx, cy, major, minor, math.degrees(turn)]
        result.append((image, Shape(f"{name}_defect", "ellipse", data, ignore=False, where=where)))
    return result
