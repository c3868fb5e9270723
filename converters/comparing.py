"""Two versions of a dataset, image by image."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations import Dataset, label_strength
from annotations.dataset import load_version
from annotations.placing import sides_of


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions of a dataset.

    Attributes:
        first: number of a version.
        second: of the other.
        added: label in words by id, of images that only the second has.
        removed: likewise, of images that only the first has.
        relabelled: labels in words, (first, second), by id.
        moved: sides in words, (first, second), by id, of images of both that stand elsewhere.
        classes: class names of both.
    """

    first: int
    second: int
    added: Mapping[str, str]
    removed: Mapping[str, str]
    relabelled: Mapping[str, tuple[str, str]]
    moved: Mapping[str, tuple[str, str]]
    classes: tuple[tuple[str, ...], tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "first": self.first,
            "second": self.second,
            "added": dict(self.added),
            "removed": dict(self.removed),
            "relabelled": {i: list(two) for i, two in self.relabelled.items()},
            "moved": {i: list(two) for i, two in self.moved.items()},
            "classes": [list(names) for names in self.classes],
        }


def compare_versions(root: Path, first: int, second: int) -> Difference:
    """Compare labels and split of two versions.

    Raises:
        UsageError: there never was such a version.
        InputError: one was deleted or damaged.
    """
    one, other = load_version(root, first), load_version(root, second)
    both = sorted(set(one.by_id) & set(other.by_id))
    sides = [_sides_in_words(one), _sides_in_words(other)]
    return Difference(
        first,
        second,
        {i: in_words(other, i) for i in sorted(set(other.by_id) - set(one.by_id))},
        {i: in_words(one, i) for i in sorted(set(one.by_id) - set(other.by_id))},
        {
            i: (in_words(one, i), in_words(other, i))
            for i in both
            if label_of(one, i) != label_of(other, i)
        },
        {i: (sides[0][i], sides[1][i]) for i in both if sides[0][i] != sides[1][i]},
        (one.class_names, other.class_names),
    )


def in_words(dataset: Dataset, image_id: str) -> str:
    """An image's label as a person reads it: `scratch, 2 regions of 310 pixels`."""
    sample, truth = dataset.by_id[image_id], dataset.truths[image_id]
    strength = label_strength(sample, truth)
    if not sample.is_defective:
        return sample.defect_type
    if strength == "image":
        return f"{sample.defect_type}, an image label alone"
    n = len(truth)
    several = f"{n} region{'s' * (n != 1)}" if strength == "masks" else f"{n} box{'es' * (n != 1)}"
    area = f" of {round(float(truth.areas.sum()))} pixels"
    others = {dataset.class_names[k] for k in truth.labels.tolist()} - {sample.defect_type}
    named = f" (also {', '.join(sorted(others))})" if others else ""
    return f"{sample.defect_type}, {several}{area}{named}"


def label_of(dataset: Dataset, image_id: str) -> tuple[str, list[Any], list[Any]]:
    """An image's label by the names of its classes: type, regions, ignored regions."""
    rows: list[list[Any]] = []
    for regions in (dataset.truths[image_id], dataset.ignored.get(image_id)):
        if regions is None:
            rows.append([])
            continue
        shapes = regions.masks or (None,) * len(regions)
        rows.append(
            [
                [dataset.class_names[label], box, None if rle is None else rle["counts"]]
                for label, box, rle in zip(
                    regions.labels.tolist(), regions.boxes_xyxy.tolist(), shapes, strict=True
                )
            ]
        )
    return dataset.by_id[image_id].defect_type, rows[0], rows[1]


def _sides_in_words(dataset: Dataset) -> dict[str, str]:
    folds = sides_of(dataset.split)
    several = len(folds) > 1
    return {
        i: ", ".join(
            (f"fold {n}: " if several else "") + fold[i].replace("_", " ")
            for n, fold in enumerate(folds)
        )
        for i in dataset.by_id
    }
