"""Reading YOLO labels: boxes `class cx cy w h`, or polygons `class x1 y1 x2 y2 …`, from 0 to 1.

SRC is a folder with data.yaml (names, and train, val, test as folders or list files), with
obj.data and obj.names (Darknet, CVAT), or simply with images and .txt files of their names, in
`images/` and `labels/`, side by side, or in folders of any usual name. Class names come from
data.yaml, `--classes`, classes.txt, *.names or Label Studio's notes.json. An image without labels,
or with an empty file, is good, as it is for YOLO.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from annotations import InputError, LayoutError
from annotations.errors import shortened
from annotations.images import is_image_path
from annotations.yaml_files import MAX_YAML_BYTES, parse_yaml
from converters.dialects import (
    class_number,
    read_json_text,
    read_lines,
    read_text,
    shown,
    split_numbers,
)
from converters.inventory import SourceFiles, looks_like_label
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    YoloLabels,
    labeled_image,
    sort_images,
)
from converters.names import is_label_folder, side_of_folders

DATA_FILES: Final = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES_FILES: Final = (
    "classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt", "labels.names",
)  # fmt: skip
LIST_FILES: Final = {"train.txt": "train", "val.txt": "val", "valid.txt": "val", "test.txt": "test"}
NOTES_FILE: Final = "notes.json"
FAR: Final = 2.0
"""Numbers beyond this are no parts of the image: pixels, most likely."""
CLASS_BY_NAME: Final = "label lines with a class's name in place of its number"
_NO_LABELS: Final = frozenset({"readme", "license", "notes", "changelog", "requirements"})


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like YOLO; None where it does not."""
    del options
    if files.single:
        return None
    data = data_files(files)
    if data:
        return f"it holds {files.relative(data[0])}"
    labels = label_files(files)
    paired = set(files.pair(list(files.images), labels)[0].values())
    for path in labels:
        if (path in paired or is_label_folder(path.parent.name)) and looks_like_label(path):
            return f"it holds labels such as {files.relative(path)}"
    images = files.child(files.root, "images")
    if images is not None and any(is_label_folder(f) for p in labels for f in files.folders(p)):
        return "it holds images and labels with .txt"
    return None


def data_files(files: SourceFiles) -> list[Path]:
    """Every data.yaml of the source, those at the top first."""
    found = [p for p in files.with_suffix(".yaml", ".yml") if p.name.casefold() in DATA_FILES]
    return sorted(found, key=lambda path: (len(path.parts), path))


def label_files(files: SourceFiles) -> list[Path]:
    """Text files that may be labels: not lists, names or a readme."""
    return [
        path
        for path in files.with_suffix(".txt")
        if path.name.casefold() not in NAMES_FILES
        and path.name.casefold() not in LIST_FILES
        and path.stem.casefold().split(".")[0] not in _NO_LABELS
    ]


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and label files.

    Raises:
        LayoutError: no image, or neither data.yaml nor a label.
        InputError: a malformed data.yaml, a path that does not exist in the folder, two labels of
            one image, or label files of which none belongs to an image.
    """
    found = Found()
    data = data_files(files)
    images, names = _by_data_files(files, data, options, found)
    names = names or _names_beside(files, options, found)
    _skip_darknet_files(files, found)
    if not images:
        for path in files.images:
            images[path] = side_of_folders(files.folders(path))
        images.update(_listed(files, found))
    labels = [path for path in label_files(files) if path not in found.used]
    pairs, without = files.pair(list(images), labels)
    if not images or (not data and not labels):
        raise LayoutError(
            f"{files.root} does not have the YOLO layout: expected data.yaml with train, val or "
            "test, or images and .txt labels of their names (in images/ and labels/, or side by "
            "side)."
        )
    of_shape = [path for path in without if looks_like_label(path)]
    if of_shape and not any(path.stat().st_size for path in pairs.values()):
        raise InputError(
            f"None of the {len(of_shape)} label files with content in {files.root} belongs to an "
            f"image by its name: {of_shape[0].name} would need an image {of_shape[0].stem}.jpg or "
            f".png, and the images are called {next(iter(images)).name} and so on. Give both the "
            "same names."
        )
    for path in without:
        if path in of_shape or is_label_folder(path.parent.name):
            if path.stat().st_size:
                found.leftover_labels.append((str(path), "label files without an image"))
            else:
                found.counts["empty label files without an image"] += 1
            found.used.add(path)
    found.class_names = names
    for path, side in images.items():
        label = pairs.get(path)
        truth = None if label is None else YoloLabels(label, names)
        found.images.append(labeled_image(files, path, truth, side=side))
    if len(pairs) < len(images):
        n = len(images) - len(pairs)
        found.notes.append(f"{n} images have no label file and count as good, as for YOLO")
    return sort_images(found)


def _by_data_files(
    files: SourceFiles, data: list[Path], options: FindOptions, found: Found
) -> tuple[dict[Path, str], tuple[str, ...] | None]:
    """Images by side and the class names, of all data.yaml that agree on these.

    Raises:
        InputError: one is malformed, or two number the classes otherwise.
    """
    images: dict[Path, str] = {}
    names_of: dict[Path, tuple[str, ...] | None] = {}
    open_sides: set[Path] = set()
    for path in data:
        found.used.add(path)
        document = _read_yaml(path, found)
        names_of[path] = options.classes or _class_names(document, path, found)
        base = _base(document, files, path, found)
        own: dict[Path, str] = {}
        for side in ("train", "val", "test"):
            key = next((k for k in _KEYS[side] if document.get(k)), side)
            for place in _places(document.get(key), path):
                for image in _images_at(files, base, place, path, found):
                    _on_side(own, image, side, path)
        open_sides |= {image for image, side in own.items() if images.get(image, side) != side}
        images |= own
    if len(set(names_of.values())) > 1:
        listed = "; ".join(
            f"{files.relative(path)} has {', '.join(names or ()) or 'no names'}"
            for path, names in list(names_of.items())[:6]
        )
        raise InputError(
            f"{files.root} holds {len(data)} files such as {data[0].name}, which number the "
            f"classes differently: {shortened(listed)}. Convert one folder at a time, or, where "
            "one list holds for all labels, give it (--classes A,B) or remove the other files."
        )
    if open_sides:
        # The folds of a cross-validation, for instance: no image has a side of its own then.
        found.counts["images that several data.yaml put on different sides, sides left open"] += (
            len(open_sides)
        )
        images = dict.fromkeys(images, "")
    if len(data) > 1:
        found.notes.append(f"{len(data)} files such as {data[0].name} agree, and are read as one")
    return images, next(iter(names_of.values()), None)


_KEYS: Final = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def _on_side(images: dict[Path, str], path: Path, side: str, listed_by: Path) -> None:
    if images.setdefault(path, side) != side:
        raise InputError(
            f"{listed_by} lists {path} under {images[path]} and {side}. An image cannot be on two "
            "sides of a split: remove it from one."
        )


def _names_beside(files: SourceFiles, options: FindOptions, found: Found) -> tuple[str, ...] | None:
    """Class names as given, or from the file that is there beside the labels, if one is."""
    candidates = [
        p for p in files.files if p.name.casefold() in NAMES_FILES or p.suffix == ".names"
    ]
    notes = [p for p in files.files if p.name.casefold() == NOTES_FILE]
    found.used.update([*candidates, *notes])
    if options.classes:
        return options.classes
    if candidates:
        path = min(candidates, key=lambda p: (len(p.parts), p))
        names = tuple(read_lines(path, counts=found.counts))
        if len(set(names)) != len(names):
            raise InputError(f"{path} names a class twice.")
        found.notes.append(f"class names come from {files.relative(path)}")
        return names or None
    for path in notes:
        document: Any = read_json_text(path, what="Label Studio's notes", counts=found.counts)
        try:
            by_id = {int(c["id"]): str(c["name"]) for c in document["categories"]}
            found.notes.append(f"class names come from {files.relative(path)}")
            return _by_number(by_id, path, found)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} should hold categories with id and name ({str(error)[:100]})."
            ) from error
    return None


def _skip_darknet_files(files: SourceFiles, found: Found) -> None:
    for path in files.with_suffix(".data"):
        found.passed_over[path] = "Darknet's settings"


def _listed(files: SourceFiles, found: Found) -> Iterator[tuple[Path, str]]:
    """Images by side, from train.txt, val.txt and test.txt, where those are lists of paths."""
    seen: dict[Path, str] = {}
    for path in files.with_suffix(".txt"):
        side = LIST_FILES.get(path.name.casefold())
        if side is None or looks_like_label(path):
            continue
        lines = read_lines(path, counts=found.counts)
        found.used.add(path)
        for line in lines:
            image = files.resolve(
                line, named_by=path, bases=[path.parent, files.root], counts=found.counts
            )
            _on_side(seen, image, side, path)
    yield from seen.items()


def shapes_of_labels(labels: YoloLabels, image_hw: tuple[int, int]) -> Shapes:
    """Read a label file; five numbers are a box, seven and more a polygon.

    Raises:
        InputError: not text, another count of numbers, a class without a name, or numbers that
            are no parts of the image.
    """
    path = labels.path
    counts: Counter[str] = Counter()
    height, width = image_hw
    shapes = []
    for number, line in enumerate(read_text(path, counts=counts).split("\n"), start=1):
        words = split_numbers(line, counts)
        if not words:
            continue
        where = f"{path}, line {number}"
        try:
            label = class_number(words[0], counts)
            if label is None and labels.class_names and words[0] in labels.class_names:
                label = labels.class_names.index(words[0])
                counts[CLASS_BY_NAME] += 1
            if label is None:
                raise ValueError("no class number")
            values = [float(word) for word in words[1:]]
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{where}: a class number and numbers from 0 to 1, separated by spaces, are "
                f"expected, found {shown(line)}."
            ) from error
        if not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
            raise InputError(
                f"{where}: {len(values)} numbers after the class; 4 for a box, or an even number "
                "from 6 on for a polygon, are expected. (Labels with scores are predictions.)"
            )
        name = _name(label, labels, where)
        if len(values) == 4:
            cx, cy, w, h = values
            _require_parts([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, *values], where)
            box = [(cx - w / 2) * width, (cy - h / 2) * height]
            box += [(cx + w / 2) * width, (cy + h / 2) * height]
            shapes.append(Shape(name, "box", _snapped(box), ignore=False, where=where))
        else:
            _require_parts(values, where)
            points = [v * (width if k % 2 == 0 else height) for k, v in enumerate(values)]
            shapes.append(Shape(name, "polygons", [points], ignore=False, where=where))
    return Shapes(tuple(shapes), counts=dict(counts))


def _snapped(box: list[float]) -> list[float]:
    """Edges that lie a hair beside a whole pixel, for want of decimals, on it."""
    return [float(round(v)) if abs(v - round(v)) < 1e-4 else v for v in box]


def _require_parts(values: list[float], where: str) -> None:
    if any(not -FAR < value < FAR for value in values):
        raise InputError(
            f"{where}: numbers must lie between 0 and 1, as parts of the image. Are these pixels, "
            "or corners for center and size?"
        )


def _name(label: int, labels: YoloLabels, where: str) -> str:
    names = labels.class_names
    if names is None:
        if not 0 <= label <= 65535:
            raise InputError(f"{where}: the class number {label} is out of range.")
        return f"class_{label}"
    if not 0 <= label < len(names):
        raise InputError(
            f"{where}: class {label}, but there are {len(names)} names "
            f"({', '.join(names[:8])}), numbered from 0."
        )
    return names[label]


def _read_yaml(path: Path, found: Found) -> dict[str, Any]:
    text = read_text(path, counts=found.counts, limit=MAX_YAML_BYTES)
    document = parse_yaml(text, what=str(path))
    if not isinstance(document, dict):
        raise InputError(f"{path} should hold names, train, val and test.")
    return document


def _class_names(document: dict[str, Any], path: Path, found: Found) -> tuple[str, ...] | None:
    names = document.get("names")
    if names is None:
        return None
    if isinstance(names, dict):
        try:
            by_number = {int(str(key)): str(name) for key, name in names.items()}
        except ValueError as error:
            raise InputError(
                f"{path}: names must be a list, or names by number, found the key "
                f"{shortened(error)}."
            ) from error
        if len(by_number) != len(names):
            raise InputError(f"{path} names a class twice.")
        return _by_number(by_number, path, found)
    if not isinstance(names, list):
        raise InputError(f"{path}: names must be a list, or names by number.")
    result = tuple(str(name) for name in names)
    if len(set(result)) != len(result):
        raise InputError(f"{path} names a class twice.")
    return result


def _by_number(by_number: dict[int, str], path: Path, found: Found) -> tuple[str, ...]:
    """Names in the order of their numbers; a gap gets a name of its own."""
    if any(not 0 <= number <= 65535 for number in by_number):
        raise InputError(f"{path}: class numbers must lie between 0 and 65535.")
    names = tuple(by_number.get(n, f"class_{n}") for n in range(max(by_number, default=-1) + 1))
    if len(set(names)) != len(names):
        raise InputError(f"{path} names a class twice.")
    if len(names) > len(by_number):
        found.counts["class numbers without a name, called class_N"] += len(names) - len(by_number)
    return names


def _base(document: dict[str, Any], files: SourceFiles, data: Path, found: Found) -> Path:
    stated = document.get("path")
    if stated in (None, "", "."):
        return data.parent
    base = files.folder_at(str(stated), bases=[data.parent])
    if base is None or (base == files.root and base == data.parent):
        found.notes.append(
            f"`path` in {data.name} is {shown(str(stated))}, which is not in SRC; the folder of "
            "the file is taken"
        )
        return data.parent
    return base


def _places(value: Any, data: Path) -> list[str]:
    if value is None:
        return []
    places = value if isinstance(value, list) else [value]
    if not all(isinstance(place, str) and place for place in places):
        raise InputError(f"{data}: train, val and test must be paths or lists of paths.")
    return places


def _images_at(
    files: SourceFiles, base: Path, place: str, data: Path, found: Found
) -> Iterator[Path]:
    folder = files.folder_at(place, bases=[base, data.parent, files.root])
    if folder is not None:
        yield from (p for p in files.images if p.is_relative_to(folder))
        return
    if not place.lower().endswith((".txt", ".lst")) and not is_image_path(Path(place)):
        raise InputError(
            f"{data} names the folder {shown(place)}, which does not exist in {files.root}; a path "
            "that leaves it leads nowhere. Put the images there, or mend the path."
        )
    path = files.resolve(place, named_by=data, bases=[base, files.root], counts=found.counts)
    if is_image_path(path):
        yield path
        return
    found.used.add(path)
    for line in read_lines(path, counts=found.counts):
        # In a list, `./` stands for the list's own folder.
        own = line.startswith(("./", ".\\"))
        bases = [path.parent, base] if own else [base, path.parent]
        yield files.resolve(line, named_by=path, bases=bases, counts=found.counts)
