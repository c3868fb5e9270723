"""Class-index masks: images in `images/`, masks of their names in `masks/`, values name classes.

0 is background; 1, 2, … are named by `--classes`, or by the lines of classes.txt beside the two
folders; sides.csv there (columns image, side), where it is, tells who teaches and who judges. Any
pairing that `converters.layouts.pairs` knows is taken. An image whose mask is all
background is good; the others are of the class that covers most.
"""

from pathlib import Path
from typing import Final

from annotations import GOOD, InputError
from converters.layouts.pairs import find_pairs
from converters.layouts.source import (
    FindOptions,
    Found,
    IndexMasks,
    SourceImage,
    id_of,
    side_of,
    sort_images,
)
from converters.layouts.visa import read_rows

CLASSES_FILE: Final = "classes.txt"
SIDES_FILE: Final = "sides.csv"
_MOST_CLASSES: Final = 65535


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    del options
    if (source / CLASSES_FILE).is_file() and (source / "masks").is_dir():
        return f"it holds masks and {CLASSES_FILE}"
    return None


def find(source: Path, options: FindOptions) -> Found:
    """Find images and class-index masks.

    Raises:
        LayoutError: no pair.
        InputError: as `converters.layouts.pairs.find_pairs`, or an image without a mask.
    """
    found = Found()
    names = options.classes or _read_classes(source / CLASSES_FILE)
    class_of_value = dict(enumerate(names, start=1)) if names else None
    found.class_names = names or None
    sides = {
        row["image"]: row["side"]
        for row in read_rows(source / SIDES_FILE, ("image", "side"), missing_is_empty=True)
    }
    for pair in find_pairs(source, options, found):
        if pair.mask is None and not options.no_mask_is_good:
            raise InputError(
                f"The image {pair.image} has no mask. Add it, or say that images without a mask "
                "are good (--no-mask-is-good)."
            )
        relative = pair.image.relative_to(source).as_posix()
        found.images.append(
            SourceImage(
                image_id=id_of(source, pair.image).removeprefix("images/"),
                image_path=pair.image,
                defect_type=GOOD,
                source_split=side_of([sides.get(relative.removeprefix("images/"), "")])
                or side_of(relative.split("/")[:-1]),
                relative=relative,
                truth=None
                if pair.mask is None
                else IndexMasks(
                    (pair.mask,), class_of_value, None if options.classes else source / CLASSES_FILE
                ),
                type_from_regions=True,
                group=pair.fields.get("group"),
            )
        )
    return sort_images(found)


def _read_classes(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}).") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names) or len(names) > _MOST_CLASSES:
        raise InputError(f"{path} names a class twice, or more than {_MOST_CLASSES}.")
    return names
