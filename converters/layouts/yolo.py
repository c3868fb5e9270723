"""Reading YOLO labels: boxes `class cx cy w h`, or polygons `class x1 y1 x2 y2 …`, from 0 to 1.

SRC is a folder with data.yaml (names, and train, val, test as folders or list files), or with
`images/` and `labels/` of one structure; a label stands where its image does, `images` in the
path being `labels`. An image without labels, or with an empty file, is good, as it is for YOLO.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from annotations.files import inside
from annotations.images import is_image_path
from annotations.yaml_files import read_yaml
from converters.layouts.source import (
    FindOptions,
    Found,
    Shape,
    Shapes,
    SourceImage,
    YoloLabels,
    require_folder,
    side_of,
    skip,
    sort_images,
    walk_files,
)

DATA_FILES: Final = ("data.yaml", "data.yml", "dataset.yaml")
MAX_LABEL_BYTES: Final = 64 << 20
_SLACK: Final = 1e-6


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like YOLO; None where it does not."""
    del options
    data = data_file(source)
    if data is not None:
        return f"it holds {data.name}"
    both = (source / "images").is_dir() and (source / "labels").is_dir()
    if both and next((source / "labels").rglob("*.txt"), None) is not None:
        return "it holds images and labels with .txt"
    return None


def data_file(source: Path) -> Path | None:
    """The folder's data.yaml, or None."""
    return next((source / n for n in DATA_FILES if (source / n).is_file()), None)


def find(source: Path, options: FindOptions) -> Found:
    """Find images and label files.

    Raises:
        LayoutError: neither data.yaml nor images and labels.
        InputError: a malformed data.yaml, or a path that leaves the folder or does not exist.
    """
    require_folder(source, what="a folder with YOLO labels")
    found = Found()
    data = data_file(source)
    names = options.classes or None
    images: dict[Path, str] = {}
    if data is not None:
        document = _read_yaml(data)
        names = names or _class_names(document, data)
        base = _base(document, source, data, found)
        for side in ("train", "val", "test"):
            for place in _places(document.get(side), data):
                for path in _images_at(base, place, data, found):
                    if images.setdefault(path, side) != side:
                        raise InputError(
                            f"{data} lists {path} under {images[path]} and {side}. An image "
                            "cannot teach and judge: remove it from one."
                        )
    elif (source / "images").is_dir():
        for path in walk_files(source / "images"):
            if is_image_path(path):
                images[path] = side_of(path.relative_to(source).parts[1:-1])
            else:
                skip(found, path)
    if not images:
        raise LayoutError(
            f"{source} does not have the YOLO layout: expected data.yaml with train, val or test, "
            "or the folders images and labels, with images in them."
        )
    found.class_names = names
    without = 0
    for path, side in images.items():
        relative = path.relative_to(source).as_posix()
        label = label_path(source, path)
        without += not label.is_file()
        found.images.append(
            SourceImage(
                image_id=str(Path(relative.removeprefix("images/")).with_suffix("").as_posix()),
                image_path=path,
                defect_type=GOOD,
                source_split=side,
                relative=relative,
                truth=YoloLabels(label, names) if label.is_file() else None,
                type_from_regions=True,
            )
        )
    if without:
        found.notes.append(f"{without} images have no label file and count as good, as for YOLO")
    return sort_images(found)


def label_path(source: Path, image: Path) -> Path:
    """Where an image's label file stands: `labels` for the last `images` in its path."""
    parts = list(image.relative_to(source).parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return source.joinpath(*parts).with_suffix(".txt")


def shapes_of_labels(labels: YoloLabels, image_hw: tuple[int, int]) -> Shapes:
    """Read a label file; five numbers are a box, seven and more a polygon.

    Raises:
        InputError: not text, another count of numbers, a class without a name, or a number
            outside of 0 to 1 by more than rounding.
    """
    path = labels.path
    lines = _lines(path)
    height, width = image_hw
    shapes = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        try:
            label = int(words[0])
            values = [float(word) for word in words[1:]]
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{where}: a class number and numbers from 0 to 1 are expected, found "
                f"{line[:60]!r}."
            ) from error
        if not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
            raise InputError(
                f"{where}: {len(values)} numbers after the class; 4 for a box, or an even number "
                "from 6 on for a polygon, are expected. (Labels with scores are predictions.)"
            )
        name = _name(label, labels, where)
        if len(values) == 4:
            cx, cy, w, h = values
            box = [(cx - w / 2) * width, (cy - h / 2) * height]
            box += [(cx + w / 2) * width, (cy + h / 2) * height]
            _require_unit([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, w, h], where)
            shapes.append(Shape(name, "box", _snapped(box), ignore=False, where=where))
        else:
            _require_unit(values, where)
            points = [v * (width if k % 2 == 0 else height) for k, v in enumerate(values)]
            shapes.append(Shape(name, "polygons", [points], ignore=False, where=where))
    return Shapes(tuple(shapes))


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > MAX_LABEL_BYTES:
        raise InputError(f"{path} is larger than {MAX_LABEL_BYTES:,} bytes.")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text ({error}).") from error


def _snapped(box: list[float]) -> list[float]:
    """Edges that lie a hair beside a whole pixel, for want of decimals, on it."""
    return [float(round(v)) if abs(v - round(v)) < 1e-4 else v for v in box]


def _require_unit(values: list[float], where: str) -> None:
    if any(not -_SLACK <= value <= 1 + _SLACK for value in values):
        raise InputError(
            f"{where}: numbers must lie between 0 and 1, as parts of the image. Are these pixels, "
            "or corners for centre and size?"
        )


def _name(label: int, labels: YoloLabels, where: str) -> str:
    if labels.class_names is None:
        if not 0 <= label <= 65535:
            raise InputError(f"{where}: the class number {label} is out of range.")
        return f"class_{label}"
    if not 0 <= label < len(labels.class_names):
        raise InputError(
            f"{where}: class {label}, but there are {len(labels.class_names)} names "
            f"({', '.join(labels.class_names[:8])}), numbered from 0."
        )
    return labels.class_names[label]


def _read_yaml(path: Path) -> dict[str, Any]:
    document = read_yaml(path, what="the description of a YOLO dataset")
    if not isinstance(document, dict):
        raise InputError(f"{path} should hold names, train, val and test.")
    return document


def _class_names(document: dict[str, Any], path: Path) -> tuple[str, ...] | None:
    names = document.get("names")
    if names is None:
        return None
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InputError(f"{path}: names must be numbered from 0 without gaps.")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise InputError(f"{path}: names must be a list, or names by number.")
    result = tuple(str(name) for name in names)
    if len(set(result)) != len(result):
        raise InputError(f"{path} names a class twice.")
    return result


def _base(document: dict[str, Any], source: Path, data: Path, found: Found) -> Path:
    stated = document.get("path")
    if stated in (None, ""):
        return source
    if Path(str(stated)).is_absolute():
        found.notes.append(f"`path` in {data.name} is absolute; the folder of the file is taken")
        return source
    return inside(source, str(stated), source=data)


def _places(value: Any, data: Path) -> list[str]:
    if value is None:
        return []
    places = value if isinstance(value, list) else [value]
    if not all(isinstance(place, str) and place for place in places):
        raise InputError(f"{data}: train, val and test must be paths or lists of paths.")
    return places


def _images_at(base: Path, place: str, data: Path, found: Found) -> Iterator[Path]:
    # Exports write `../train/images`, which is meant from within a folder that is not there.
    while place.startswith("../") and not (base / place).exists():
        place = place[3:]
    path = inside(base, place, source=data)
    if path.is_dir():
        for image in walk_files(path):
            if is_image_path(image):
                yield image
            else:
                skip(found, image)
        return
    if not path.is_file():
        raise InputError(f"{data} names {path}, which does not exist.")
    for line in _lines(path):
        if not line.strip():
            continue
        # In a list, `./` stands for the list's own folder.
        text = line.strip()
        start = path.parent if text.startswith("./") else base
        joined = _normal(start, text, base=base, source=path)
        if not joined.is_file():
            raise InputError(f"{path} names the image {joined}, which does not exist.")
        yield joined


def _normal(start: Path, text: str, *, base: Path, source: Path) -> Path:
    """Join, resolve `..` by name, and refuse what leaves the folder."""
    if Path(text).is_absolute() or "\x00" in text:
        raise InputError(f"{source} names the path {text!r}; one inside {base} is needed.")
    parts: list[str] = list(start.relative_to(base).parts)
    for part in Path(text).parts:
        if part == "..":
            if not parts:
                raise InputError(f"{source} names {text!r}, which leaves {base}. Refused.")
            parts.pop()
        else:
            parts.append(part)
    joined = base.joinpath(*parts)
    if not (joined.parent.resolve()).is_relative_to(base.resolve()):
        raise InputError(f"{source} names {text!r}, which leaves {base}. Refused.")
    return joined
