"""Reading tables of run lengths, as Severstal's and other competitions have them.

    train.csv           ImageId, ClassId, EncodedPixels     (or ImageId_ClassId, EncodedPixels)
    train_images/       the images

`EncodedPixels` holds pairs of start and length; pixels count from 1, down the first column, then
the next. A row without pixels is no region; an image whose rows all are without is good.
"""

import re
from pathlib import Path
from typing import Final

from annotations import InputError, LayoutError
from converters.dialects import class_number, read_table, shown, split_numbers
from converters.inventory import SourceFiles
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    labeled_image,
    sort_images,
)
from converters.names import side_of_file

PIXELS: Final = "encodedpixels"
_JOINED: Final = ("imageid_classid", "image_label", "image_class")
_IMAGE: Final = ("imageid", "image", "image_id", "filename", "file_name", "id")
_CLASS: Final = ("classid", "class", "class_id", "label")
_FORM: Final = re.compile(r"sample.*submission|submission", re.I)
_LAST_WORD: Final = re.compile(r"^(?P<image>.+)_(?P<class>[^_]+)$")


def _tables(files: SourceFiles) -> list[Path]:
    tables = []
    for path in files.labels(".csv"):
        with path.open("rb") as file:
            head = file.read(4096).split(b"\n", 1)[0].lower().replace(b"\x00", b"")
        if PIXELS.encode() in head:
            tables.append(path)
    return tables


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like a table of run lengths; None where it does not."""
    del options
    tables = [path for path in _tables(files) if not _FORM.search(path.stem)]
    return f"{tables[0].name} has a column EncodedPixels" if tables else None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and their run lengths.

    Raises:
        LayoutError: no such table.
        InputError: a malformed row, or an image that is missing.
    """
    found = Found()
    shapes: dict[Path, list[Shape]] = {}
    side_of: dict[Path, str] = {}
    resolved: dict[str, Path] = {}
    tables = [path for path in _tables(files) if not _FORM.search(path.stem)]
    for path in _tables(files):
        if path not in tables:
            found.passed_over[path] = "a form for answers, and no labels"
    for path in tables:
        found.used.add(path)
        columns, rows = read_table(path, counts=found.counts)
        by_name = {name.casefold(): name for name in columns}
        joined = next((by_name[n] for n in _JOINED if n in by_name), None)
        image_column = next((by_name[n] for n in _IMAGE if n in by_name), None)
        class_column = next((by_name[n] for n in _CLASS if n in by_name), None)
        if joined is None and image_column is None:
            raise InputError(f"{path} needs a column ImageId beside EncodedPixels.")
        for number, row in rows:
            where = f"{path}, line {number}"
            label = row.get(class_column or "", "1")
            text = row.get(image_column or "", "")
            if joined is not None:
                match = _LAST_WORD.match(row.get(joined, ""))
                if match is None:
                    raise InputError(f"{where}: expected image_class, found {shown(row)}.")
                text, label = match["image"], match["class"]
            if text not in resolved:
                bases = [files.root, path.parent]
                resolved[text] = files.resolve(
                    text, named_by=path, bases=bases, counts=found.counts
                )
            image = resolved[text]
            shapes.setdefault(image, [])
            side_of[image] = side_of_file(path.stem)
            pixels = row.get(by_name[PIXELS], "")
            if not pixels or pixels.casefold() in ("nan", "-1", "none"):
                continue
            try:
                runs = [int(word) for word in split_numbers(pixels, found.counts)]
            except ValueError as error:
                raise InputError(f"{where}: EncodedPixels is {shown(pixels)}.") from error
            name = _class_name(label, options, found, where)
            data = {"starts": runs}
            shapes[image].append(Shape(name, "rle", data, ignore=False, where=where))
    if not shapes:
        raise LayoutError(
            f"{files.root} does not hold a table with the columns ImageId, ClassId and "
            "EncodedPixels."
        )
    for image, some in shapes.items():
        truth = Shapes(tuple(some))
        found.images.append(labeled_image(files, image, truth, side=side_of[image]))
    if options.no_mask_is_good:
        folders = {image.parent for image in shapes}
        more = [p for p in files.images if p.parent in folders and p not in shapes]
        side = next(iter(side_of.values()))
        found.images += [labeled_image(files, p, None, side=side) for p in more]
        found.notes.append(f"{len(more)} images without a row count as good (as asked for)")
    return sort_images(found)


def _class_name(label: str, options: FindOptions, found: Found, where: str) -> str:
    number = class_number(label, found.counts)
    if number is None:
        return label
    if options.classes:
        if not 1 <= number <= len(options.classes):
            raise InputError(
                f"{where}: class {number}, but --classes names {len(options.classes)}, from 1."
            )
        return options.classes[number - 1]
    return f"class_{number}"
