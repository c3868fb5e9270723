"""Class-index masks: images in `images/`, masks of their names in `masks/`, values name classes.

0 is background; 1, 2, … are named by `--classes`, by the lines of classes.txt beside the two
folders, or by `--mask-values`; sides.csv there (columns image, side), where it is, tells the
sides. Any pairing that `converters.layouts.pairs` knows is taken. An image whose mask is all
background is good; the others are of the class that covers most.

CVAT's and Datumaro's segmentation masks say their colors in labelmap.txt
(`label:color_rgb:parts:actions`, a line a class); images lie in JPEGImages, masks in
SegmentationClass, sides in ImageSets/Segmentation:

    labelmap.txt
    JPEGImages/a.jpg
    SegmentationClass/a.png
    ImageSets/Segmentation/train.txt
"""

from pathlib import Path
from typing import Final

from annotations import InputError
from converters.dialects import read_lines, read_table
from converters.inventory import SourceFiles
from converters.layouts.pairs import find_pairs, side_of_pair
from converters.layouts.source import (
    FindOptions,
    Found,
    IndexMasks,
    labeled_image,
    sort_images,
)
from converters.layouts.voc import sides_of_image_sets
from converters.names import side_of_word

CLASSES_FILE: Final = "classes.txt"
SIDES_FILE: Final = "sides.csv"
LABEL_MAP: Final = "labelmap.txt"
_SEGMENTATION: Final = ("SegmentationClass", "SegmentationClassPNG")
_OBJECTS: Final = "SegmentationObject"
_MOST_CLASSES: Final = 65535


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    if files.single:
        return None
    if files.child(files.root, *_SEGMENTATION) and files.child(files.root, LABEL_MAP):
        return f"it holds {_SEGMENTATION[0]} and {LABEL_MAP}"
    has_masks = files.child(files.root, "masks") is not None
    if has_masks and (files.child(files.root, CLASSES_FILE) or options.classes):
        return f"it holds masks and {CLASSES_FILE if not options.classes else 'names were given'}"
    return None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and class-index masks.

    Raises:
        LayoutError: no pair.
        InputError: as `converters.layouts.pairs.find_pairs`, or an image without a mask.
    """
    found = Found()
    label_map = files.child(files.root, LABEL_MAP)
    if label_map is not None and files.child(files.root, *_SEGMENTATION):
        return _find_colored(files, label_map, options, found)
    classes_file = files.child(files.root, CLASSES_FILE)
    if classes_file is not None:
        found.used.add(classes_file)
    names = options.classes or (read_classes(classes_file, found) if classes_file else ())
    class_of_value: dict[int | tuple[int, int, int], str] | None = None
    if names:
        class_of_value = dict(enumerate(names, start=1))
    found.class_names = names or None
    sides: dict[str, str] = {}
    sides_file = files.child(files.root, SIDES_FILE)
    if sides_file is not None:
        found.used.add(sides_file)
        columns, rows = read_table(sides_file, counts=found.counts)
        if not {"image", "side"} <= set(columns):
            raise InputError(f"{sides_file} needs the columns image, side.")
        sides = {row.get("image", ""): row.get("side", "") for _, row in rows}
    for pair in find_pairs(files, options, found):
        if pair.mask is None and not options.no_mask_is_good:
            raise InputError(
                f"The image {pair.image} has no mask. Add it, or say that images without a mask "
                "are good (--no-mask-is-good)."
            )
        relative = files.relative(pair.image)
        side = side_of_word(sides.get(relative.removeprefix("images/"), ""))
        truth = None
        if pair.mask is not None:
            names_from = None if options.classes else classes_file
            truth = IndexMasks((pair.mask,), class_of_value, names_from)
        found.images.append(
            labeled_image(
                files,
                pair.image,
                truth,
                side=side or side_of_pair(files, pair),
                group=pair.fields.get("group"),
            )
        )
    return sort_images(found)


def _find_colored(files: SourceFiles, label_map: Path, options: FindOptions, found: Found) -> Found:
    colors = read_label_map(label_map, found)
    found.used.add(label_map)
    found.class_names = tuple(
        dict.fromkeys(n for n in colors.values() if n not in ("background", "ignore"))
    )
    folder = files.child(files.root, *_SEGMENTATION)
    masks = [path for path in files.images if path.parent == folder]
    objects = files.child(files.root, _OBJECTS)
    if objects is not None:
        found.passed_over[objects] = f"in {_OBJECTS}: numbers of objects, and not of classes"
    others = [
        path
        for path in files.images
        if path.parent != folder and (objects is None or objects not in path.parents)
    ]
    pairs, without = files.pair(others, masks)
    if not others:
        raise InputError(
            f"{files.root} holds masks and no images: CVAT leaves them out unless `Save images` "
            "is ticked in its export. Put them into JPEGImages."
        )
    found.leftover_labels += [(str(path), "masks without an image") for path in without]
    sides = sides_of_image_sets(files, found)
    for image, mask in pairs.items():
        truth = IndexMasks((mask,), colors, label_map)
        side = sides.get(image.stem, "")
        found.images.append(labeled_image(files, image, truth, side=side))
    if options.no_mask_is_good:
        found.images += [
            labeled_image(files, p, None, side=sides.get(p.stem, ""))
            for p in others
            if p not in pairs
        ]
    return sort_images(found)


def read_label_map(path: Path, found: Found) -> dict[int | tuple[int, int, int], str]:
    """Classes by color, as CVAT and Datumaro write them.

    Raises:
        InputError: a line that is not `label:red,green,blue:…`, or one color twice.
    """
    colors: dict[int | tuple[int, int, int], str] = {}
    for line in read_lines(path, counts=found.counts):
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(word) for word in rest.split(":")[0].split(","))
            if not all(0 <= n <= 255 for n in (red, green, blue)):
                raise ValueError("not 0 to 255")
        except ValueError as error:
            raise InputError(
                f"{path}: expected `label:red,green,blue:parts:actions`, found {line[:60]!r}."
            ) from error
        if colors.setdefault((red, green, blue), name) != name:
            raise InputError(f"{path} gives the color {red},{green},{blue} to two labels.")
    if not colors:
        raise InputError(f"{path} names no label.")
    return colors


def read_classes(path: Path, found: Found) -> tuple[str, ...]:
    """Class names, a line each.

    Raises:
        InputError: not text, a name twice, or too many.
    """
    names = tuple(read_lines(path, counts=found.counts))
    if len(set(names)) != len(names) or len(names) > _MOST_CLASSES:
        raise InputError(f"{path} names a class twice, or more than {_MOST_CLASSES}.")
    return names
