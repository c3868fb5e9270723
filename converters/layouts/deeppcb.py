"""Reading DeepPCB's folders (Tang et al., arXiv:1902.06197; readme of the set).

    group00041/00041/00041000_temp.jpg      the template, without a defect
    group00041/00041/00041000_test.jpg      the tested image
    group00041/00041_not/00041000.txt       x1 y1 x2 y2 type, a line a defect
    trainval.txt, test.txt                  pairs of an image's name without ending and a label

The template is a good image of the same part as its tested image.
"""

from pathlib import Path
from typing import Final

from annotations import InputError, LayoutError
from converters.dialects import class_number, read_lines, shown, split_numbers
from converters.inventory import SourceFiles
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    labeled_image,
    sort_images,
)

TYPES: Final = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""Types 1 to 6, in the readme's words."""
_TEMPLATE: Final = "_temp"
_TESTED: Final = "_test"
_LISTS: Final = {
    "trainval.txt": "train",
    "train.txt": "train",
    "val.txt": "val",
    "test.txt": "test",
}


def _tested(files: SourceFiles) -> list[Path]:
    names = {(p.parent, p.stem) for p in files.images}
    return [
        p
        for p in files.images
        if p.stem.endswith(_TESTED)
        and (p.parent, p.stem.removesuffix(_TESTED) + _TEMPLATE) in names
    ]


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like DeepPCB; None where it does not."""
    del options
    if files.single:
        return None
    tested = _tested(files)
    if not tested:
        return None
    return f"it holds {tested[0].name} with its template, as DeepPCB does"


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find tested images with their boxes, and templates.

    Raises:
        LayoutError: no pair of a template and a tested image.
        InputError: a tested image without a label file, or a malformed line.
    """
    found = Found()
    tested = _tested(files)
    if not tested:
        raise LayoutError(
            f"{files.root} does not have DeepPCB's layout: expected pairs such as "
            "00041000_temp.jpg and 00041000_test.jpg, and labels 00041000.txt."
        )
    names = options.classes or TYPES
    sides: dict[str, str] = {}
    for path in files.with_suffix(".txt"):
        if path.name.casefold() in _LISTS:
            found.used.add(path)
            for line in read_lines(path, counts=found.counts):
                sides[Path(line.split()[0]).stem] = _LISTS[path.name.casefold()]
    labels = {p.stem: p for p in files.with_suffix(".txt") if p not in found.used}
    templates = {(p.parent, p.stem): p for p in files.images if p.stem.endswith(_TEMPLATE)}
    for image in tested:
        part = image.stem.removesuffix(_TESTED)
        label = labels.get(part) or labels.get(image.stem)
        if label is None:
            raise InputError(f"{image} has no label file {part}.txt. Add it, or remove the image.")
        found.used.add(label)
        truth = Shapes(tuple(_boxes(label, names, found)))
        side = sides.get(part, "")
        found.images.append(labeled_image(files, image, truth, side=side, group=part))
        template = templates[image.parent, part + _TEMPLATE]
        found.images.append(labeled_image(files, template, None, side=side, group=part))
    found.notes.append(f"{len(tested)} templates count as good images of their parts")
    found.class_names = names
    return sort_images(found)


def _boxes(path: Path, names: tuple[str, ...], found: Found) -> list[Shape]:
    shapes = []
    for number, line in enumerate(read_lines(path, counts=found.counts), start=1):
        where = f"{path}, line {number}"
        words = split_numbers(line, found.counts)
        kind = class_number(words[-1], found.counts) if words else None
        try:
            x1, y1, x2, y2 = (float(word) for word in words[:-1])
        except ValueError as error:
            raise InputError(f"{where}: expected x1 y1 x2 y2 type, found {shown(line)}.") from error
        if kind is None or not 1 <= kind <= len(names):
            raise InputError(
                f"{where}: the type is {shown(words[-1])}; 1 to {len(names)} are known "
                f"({', '.join(names)})."
            )
        shapes.append(Shape(names[kind - 1], "box", [x1, y1, x2, y2], ignore=False, where=where))
    return shapes
