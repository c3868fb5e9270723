"""Tags that a person set in the report: what is left out of training, and what waits for a label.

A tag changes no label. `ignore` of a whole image takes it out of training; all other tags, and
those of single regions, become a worklist for whoever corrects labels.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations import Dataset, InputError, Sample, Split
from annotations.files import read_json, write_text_atomic
from annotations.placing import sides_of, split_of_sides

TAGS: Final = ("wrong label", "missed defect", "ignore", "look again")
IGNORE: Final = "ignore"
FORMAT: Final = "defectune-tags"
HEADER: Final = ("image_id", "image", "label", "tag", "region", "run", "x1", "y1", "x2", "y2")
_WHAT: Final = "tags saved from a report"


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a file of tags asks for.

    Attributes:
        ignored: ids of images that are to be left out of training.
        work: rows of the worklist, in the order of `HEADER`.
    """

    ignored: tuple[str, ...]
    work: tuple[tuple[str, ...], ...]

    def counts(self) -> dict[str, int]:
        """Lines of the worklist by tag."""
        return dict(sorted(Counter(row[3] for row in self.work).items()))


def read_tags(path: Path, dataset: Dataset) -> Tagged:
    """Read the tags that a report of this dataset saved.

    Raises:
        InputError: no such file, one that is damaged, or one of another dataset or version.
    """
    value = read_json(path, what=_WHAT)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(
            f"{path} should be {_WHAT}, with format {FORMAT!r}. Save it there: save tags."
        )
    if value.get("format_version") != 1:
        raise InputError(
            f"{path} is of format version {value.get('format_version')!r}, and this program reads "
            "version 1. Save it anew from a report of this program."
        )
    _require_same(path, value, dataset)
    ignored: list[str] = []
    work: list[tuple[str, ...]] = []
    for entry in _entries(path, value, "images"):
        sample = _sample(path, entry, dataset)
        tags = entry.get("tags")
        if not isinstance(tags, list) or not tags:
            raise InputError(f"{path}: {sample.image_id} should have a list of tags, got {tags!r}.")
        for tag in tags:
            if _tag(path, sample, tag) == IGNORE:
                ignored.append(sample.image_id)
            else:
                work.append((*_about(sample, tag), "", "", "", "", "", ""))
    for entry in _entries(path, value, "regions"):
        sample = _sample(path, entry, dataset)
        tag = _tag(path, sample, entry.get("tag"))
        work.append((*_about(sample, tag), *_region(path, sample, entry.get("region"))))
    return Tagged(tuple(dict.fromkeys(ignored)), tuple(dict.fromkeys(work)))


def _require_same(path: Path, value: dict[str, Any], dataset: Dataset) -> None:
    version = dataset.version
    here = (dataset.split.digest, None if version is None else version.digest)
    there = (value.get("split_digest"), value.get("data_digest"))
    if here == there:
        return
    number = None if version is None else version.number
    other = _named(value.get("dataset"), value.get("data_version"))
    raise InputError(
        f"{path} was saved from a report of {other}, split {str(there[0])[:16]}; {dataset.root} is "
        f"{_named(dataset.root.absolute().name, number)}, split {here[0][:16]}. Tags "
        "are of one dataset at one version: make a report of what is there now, and tag in it."
    )


def _named(name: Any, number: Any) -> str:
    return f"{str(name)[:80]!r}" + ("" if number is None else f" at version {number}")


def _entries(path: Path, value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = value.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InputError(f"{path}: {key} should be a list of objects. Save the tags again.")
    return entries


def _sample(path: Path, entry: dict[str, Any], dataset: Dataset) -> Sample:
    image_id = entry.get("image_id")
    if not isinstance(image_id, str) or image_id not in dataset.by_id:
        raise InputError(
            f"{path} has tags of the image {str(image_id)[:120]!r}, which {dataset.root} does not "
            f"have. Its ids look like {dataset.samples[0].image_id}."
        )
    return dataset.by_id[image_id]


def _tag(path: Path, sample: Sample, tag: Any) -> str:
    if tag not in TAGS:
        raise InputError(
            f"{path}: the tag of {sample.image_id} should be one of {', '.join(TAGS)}, got "
            f"{str(tag)[:60]!r}."
        )
    return str(tag)


def _about(sample: Sample, tag: str) -> tuple[str, str, str, str]:
    return (sample.image_id, str(sample.image_path), sample.defect_type, tag)


def _region(path: Path, sample: Sample, region: Any) -> tuple[str, ...]:
    box = region.get("box_xyxy") if isinstance(region, dict) else None
    index = region.get("index") if isinstance(region, dict) else None
    if (
        not isinstance(region, dict)
        or region.get("kind") not in ("truth", "prediction")
        or not isinstance(index, int)
        or not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(one, int | float) for one in box)
    ):
        raise InputError(
            f"{path}: a region of {sample.image_id} should have kind (truth or prediction), index "
            f"and box_xyxy of four numbers, got {str(region)[:120]}."
        )
    run = str(region.get("run", ""))
    return (f"{region['kind']} {index}", run, *(f"{value:g}" for value in box))


def without_training(
    split: Split, ignored: Iterable[str], samples: Iterable[Sample]
) -> tuple[Split, list[str]]:
    """Leave images out of training and validation in every fold; where they are tested they stay.

    Args:
        split: as it stands.
        ignored: ids.
        samples: all images of the split.

    Returns:
        The split, and the ids that some fold had trained or validated on.
    """
    sides = sides_of(split)
    moved = set()
    for image_id in ignored:
        for fold in sides:
            if fold.get(image_id) in ("train", "val"):
                fold[image_id] = "left_out"
                moved.add(image_id)
    return (split_of_sides(split, sides, samples) if moved else split), sorted(moved)


def worklist_path(path: Path) -> Path:
    """Where the worklist of a file of tags stands: beside it."""
    return path.with_name(f"{path.stem}-worklist.csv")


def worklist_text(tagged: Tagged) -> str:
    """The worklist as CSV, a line a tag."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(tagged.work)
    return text.getvalue()


def require_free(path: Path, text: str) -> None:
    """Refuse to write over a worklist that says something else.

    Raises:
        InputError: such a file is there.
    """
    if path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
        raise InputError(
            f"{path} is there and says something else than these tags; somebody may work with it. "
            "Move it away, and call again."
        )


def write_worklist(path: Path, text: str) -> None:
    """Write the worklist of a file of tags."""
    write_text_atomic(path, text)
