"""Reading a list of images and labels: CSV, TSV (or with semicolons, as Excel saves them) or JSON.

    path,label,part,split,camera         [{"path": "a/1.png", "label": "ok"},
    a/1.png,ok,17,train,top               {"path": "a/2.png", "label": "scratch", "part": "18"}]
    a/2.png,scratch,18,test,side

Columns may have other usual names: path, image, file, filename; label, class, defect, verdict. A
part names the physical part, a split the side. A camera (or line, or source) becomes the image's
source, by which metrics are told apart; a date is kept as it stands. Other columns are named in the
report, and not used.
The label is one of the image: good, defective, or a type.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from converters.dialects import read_json_text, read_table, shown
from converters.inventory import SourceFiles
from converters.layouts.source import FindOptions, Found, SourceImage, id_of, sort_images
from converters.names import side_of_folders, side_of_word

PATHS: Final = (
    "path", "image", "image_path", "file", "filename", "file_name", "filepath", "file_path", "img",
)  # fmt: skip
LABELS: Final = ("label", "class", "category", "defect_type", "defect", "verdict", "type")
PARTS: Final = ("part", "part_id", "group", "serial", "serial_number")
SIDES: Final = ("split", "side", "set", "subset", "fold_side")
SOURCES: Final = ("camera", "camera_id", "cam", "line", "line_id", "source", "station")
DATES: Final = ("date", "datetime", "timestamp", "time", "taken_at", "recorded_at")
KEYS: Final = (
    ("path", PATHS), ("label", LABELS), ("part", PARTS), ("side", SIDES), ("source", SOURCES),
    ("date", DATES),
)  # fmt: skip
NO_SOURCE: Final = "images that the list names no camera, line or source of"
TWICE: Final = "images that the list names twice with one label, counted once"
_TABLES: Final = (".csv", ".tsv")
_SHEETS: Final = (".xlsx", ".xls", ".ods")
_LOOKED_AT: Final = 20
_NAMED: Final = 5


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like a list; None where it does not."""
    del options
    for path in _candidates(files):
        names = _columns(path)
        image, label = _one_of(PATHS, names), _one_of(LABELS, names)
        if image and label:
            return f"{files.relative(path)} has the columns {image} and {label}"
    return None


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find what a list names.

    Raises:
        LayoutError: there is no list.
        InputError: a row without path or label, a file that does not exist, an image with two
            labels, a side that is none, or no label that means good.
    """
    lists = [p for p in _candidates(files) if _is_list(_columns(p))]
    if not lists:
        sheets = [p for p in files.files if p.suffix.lower() in _SHEETS]
        hint = f" Save {sheets[0].name} as CSV." if sheets else ""
        raise LayoutError(
            f"{files.root} does not have the layout list: expected a CSV, TSV or JSON with the "
            f"columns path and label.{hint}"
        )
    found = Found()
    label_of: dict[Path, tuple[str, str]] = {}
    missing: list[str] = []
    unused: set[str] = set()
    for path in lists:
        found.used.add(path)
        names, rows = _read(path, found)
        columns = {key: _one_of(known, names) for key, known in KEYS}
        unused |= {name for name in names if name and name not in columns.values()}
        for number, row in rows:
            where = f"{path}, row {number}"
            text, label = row.get(columns["path"], ""), row.get(columns["label"], "")
            if not text or not label:
                raise InputError(
                    f"{where}: a path and a label are expected, found {shown(text)} and "
                    f"{shown(label)}. Mend the row, or remove it."
                )
            try:
                image = files.resolve(
                    text, named_by=path, bases=[path.parent, files.root], counts=found.counts
                )
            except InputError:
                missing.append(f"row {number}: {shown(text)}")
                continue
            if image in label_of:
                before, place = label_of[image]
                if before != label:
                    raise InputError(
                        f"{where}: {shown(text)} has the label {shown(label)}, and {shown(before)} "
                        f"in {place}. Remove the wrong one."
                    )
                found.counts[TWICE] += 1
                continue
            label_of[image] = label, where
            if columns["source"] and not row.get(columns["source"]):
                found.counts[NO_SOURCE] += 1
            found.images.append(
                _image(files, image, label, row, columns, options=options, where=where)
            )
        if missing:
            raise InputError(
                f"{path} names {len(missing)} files that are not in {files.root}: "
                f"{', '.join(missing[:_NAMED])}{' …' if len(missing) > _NAMED else ''}. Put them "
                "there, or remove the rows. Files outside of the source are never read."
            )
    _require_good(files, label_of, options)
    found.said = {label for label, _ in label_of.values()}
    labels = Counter(label for label, _ in label_of.values())
    found.notes.append(
        "the list's labels: " + ", ".join(f"{label} {n}" for label, n in labels.most_common(12))
    )
    if unused:
        found.notes.append(f"columns of the list that are not used: {', '.join(sorted(unused))}")
    return sort_images(found)


def _image(
    files: SourceFiles,
    path: Path,
    label: str,
    row: dict[str, str],
    columns: dict[str, str],
    *,
    options: FindOptions,
    where: str,
) -> SourceImage:
    said = row.get(columns["side"], "")
    side = side_of_word(said)
    if said and not side:
        raise InputError(f"{where}: the side {shown(said)} is none of train, val and test.")
    return SourceImage(
        image_id=id_of(files, path),
        image_path=path,
        defect_type=GOOD if options.is_good(label) else label,
        source_split=side or side_of_folders(files.folders(path)),
        relative=files.relative(path),
        group=row.get(columns["part"]) or None,
        source=row.get(columns["source"], ""),
        date=row.get(columns["date"], ""),
    )


def _require_good(
    files: SourceFiles, label_of: dict[Path, tuple[str, str]], options: FindOptions
) -> None:
    labels = sorted({label for label, _ in label_of.values()})
    if not any(options.is_good(label) for label in labels):
        raise InputError(
            f"The list in {files.root} has the labels {', '.join(map(shown, labels[:8]))}, and "
            "none of them means good. Nothing can be learned or tested without good images: say "
            "which label is theirs (--good LABEL)."
        )


def _candidates(files: SourceFiles) -> list[Path]:
    tables = [path for suffix in (*_TABLES, ".json") for path in files.labels(suffix)]
    return tables[:_LOOKED_AT]


def _is_list(names: list[str]) -> bool:
    return bool(_one_of(PATHS, names)) and bool(_one_of(LABELS, names))


def _columns(path: Path) -> list[str]:
    """Column names of a table or of the first entry of a JSON list; none where it is neither."""
    try:
        return _read(path, Found())[0]
    except InputError:
        return []


def _read(path: Path, found: Found) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    if path.suffix.lower() != ".json":
        return read_table(path, counts=found.counts)
    entries: Any = read_json_text(path, what="a list of images and labels", counts=found.counts)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} is no list of objects with path and label.")
    rows = [
        (number, {str(key): str(value).strip() for key, value in entry.items()
                  if isinstance(value, str | int | float) and not isinstance(value, bool)})
        for number, entry in enumerate(entries, start=1)
    ]  # fmt: skip
    return list(dict.fromkeys(name for _, row in rows for name in row)), rows


def _one_of(known: tuple[str, ...], names: list[str]) -> str:
    """The column that has the first of these names, in any case; empty without one."""
    by_name = {name.casefold().replace(" ", "_"): name for name in reversed(names)}
    return next((by_name[name] for name in known if name in by_name), "")
