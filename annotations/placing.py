"""Placing new images in a split that stands: what is placed stays where it is.

A new photograph of a part that is known goes where its part is. New parts are dealt as the
protocol would have dealt them, type by type, to whatever is furthest behind: in an order that
comes from hashes of names, so that the same images are placed alike on every system.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from annotations.by_source import fold_of_source, side_of_new_part, side_of_new_photograph
from annotations.errors import InputError, UsageError
from annotations.protocols import (
    HOLDOUT_TEST_FRACTION,
    VAL_FRACTION,
    grouped_by_type,
    type_of,
)
from annotations.samples import GOOD, Sample, by_group
from annotations.split import Fold, Split, split_digest

To = Literal["auto", "train", "test", "folds"]
Sides = dict[str, str]
"""Side of every image of a fold by id: train, val, test or left_out."""
SIDES: Final = ("train", "val", "test", "left_out")


def sides_of(split: Split) -> list[Sides]:
    """The side of every image, a mapping for each fold."""
    made: list[Sides] = []
    for fold, left in zip(split.folds, split.left_out, strict=True):
        parts = zip(SIDES, (fold.train, fold.val, fold.test, left), strict=True)
        made.append({image_id: side for side, ids in parts for image_id in ids})
    return made


@dataclass(frozen=True, slots=True)
class Leak:
    """Images of one part that stand on two sides of a fold.

    Attributes:
        fold: its number.
        tested: ids of test images of the part.
        trained: ids of training and validation images of the part.
    """

    fold: int
    tested: tuple[str, ...]
    trained: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What the record of a version holds of it."""
        return {"fold": self.fold, "tested": list(self.tested), "trained": list(self.trained)}


def find_leaks(sides: Sequence[Sides], group_of: Mapping[str, str]) -> list[Leak]:
    """Parts that stand on two sides of a fold.

    Args:
        sides: of every fold.
        group_of: the part of every image.
    """
    found = []
    for number, fold in enumerate(sides):
        tested: dict[str, list[str]] = {}
        trained: dict[str, list[str]] = {}
        for image_id in sorted(fold):
            if fold[image_id] == "test":
                tested.setdefault(group_of[image_id], []).append(image_id)
            elif fold[image_id] != "left_out":
                trained.setdefault(group_of[image_id], []).append(image_id)
        found += [
            Leak(number, tuple(tested[g]), tuple(trained[g]))
            for g in sorted({*tested} & {*trained})
        ]
    return found


def place(
    split: Split,
    sides: Sequence[Sides],
    samples: Sequence[Sample],
    *,
    to: To = "auto",
    returned: Mapping[str, Sequence[str]],
) -> Split:
    """Place the images that have no side yet.

    Args:
        split: that stands: its protocol and seed.
        sides: of the images that are placed, by fold; is changed. No part may leak.
        samples: all images, with their parts.
        to: where new parts go, in place of what the protocol says.
        returned: sides, one a fold, of images that were in the dataset before; they come back to
            them, unless their part is placed by now.

    Returns:
        The split of all images.

    Raises:
        UsageError: a protocol that cannot place such an image by itself; `to` then must say it.
    """
    placer = _Placer(split, sides, samples, to)
    new = [sample for sample in samples if sample.image_id not in sides[0]]
    known = {s.group for s in samples if s.image_id in sides[0]}
    back = [s for s in new if s.group not in known and s.image_id in returned]
    for group in by_group(back).values():
        # Of a part that came back, one image leads and the others follow.
        first = group[0]
        for fold, side in zip(sides, returned[first.image_id], strict=True):
            fold[first.image_id] = side
        placer.note(first)
        known.add(first.group)
    rest = [s for s in new if s.image_id not in sides[0]]
    for sample in sorted((s for s in rest if s.group in known), key=lambda s: s.image_id):
        placer.follow(sample)
    fresh = [s for s in rest if s.group not in known]
    for groups in grouped_by_type(fresh, split.seed, "fold").values():
        for one in groups:
            placer.new_part(one)
    return split_of_sides(split, sides, samples)


def split_of_sides(split: Split, sides: Sequence[Sides], samples: Iterable[Sample]) -> Split:
    """The split that these sides make, with the protocol and seed of another."""
    parts = [
        {side: tuple(sorted(i for i, s in fold.items() if s == side)) for side in SIDES}
        for fold in sides
    ]
    folds = tuple(Fold(p["train"], p["val"], p["test"]) for p in parts)
    return Split(
        protocol=split.protocol,
        seed=split.seed,
        folds=folds,
        digest=split_digest(split.protocol, folds, {s.image_id: s.sha256 for s in samples}),
        left_out=tuple(p["left_out"] for p in parts),
        detail=split.detail,
    )


class _Placer:
    """Counts what stands where, and places one part after the other."""

    def __init__(
        self, split: Split, sides: Sequence[Sides], samples: Sequence[Sample], to: To
    ) -> None:
        self._split, self._sides, self._to = split, sides, to
        self._members: dict[str, list[str]] = {}
        self._test: list[dict[str, int]] = [{} for _ in sides]
        self._train: list[dict[str, int]] = [{} for _ in sides]
        self._val: list[dict[str, int]] = [{} for _ in sides]
        self._source_val: list[set[str]] = [set() for _ in sides]
        placed = [s for s in samples if s.image_id in sides[0]]
        self._own_good = any(not s.is_defective and s.source_split != "test" for s in samples)
        by_source = split.protocol == "leave-one-source-out"
        self._fold_of = fold_of_source(sides, samples) if by_source else None
        for sample in placed:
            self.note(sample)

    def note(self, sample: Sample) -> None:
        """Count an image that has its sides."""
        self._members.setdefault(sample.group, []).append(sample.image_id)
        for number, fold in enumerate(self._sides):
            side, kind = fold[sample.image_id], sample.defect_type
            if side == "test":
                self._test[number][kind] = self._test[number].get(kind, 0) + 1
            elif side != "left_out" and self._may_validate(sample):
                self._train[number][kind] = self._train[number].get(kind, 0) + 1
                if side == "val":
                    self._val[number][kind] = self._val[number].get(kind, 0) + 1
                    if sample.source_split == "val":
                        self._source_val[number].add(kind)

    def _may_validate(self, sample: Sample) -> bool:
        return sample.is_defective or sample.source_split != "test" or not self._own_good

    def follow(self, sample: Sample) -> None:
        """Place a new photograph of a part that is placed."""
        members = self._members[sample.group]
        tested = False
        for number, fold in enumerate(self._sides):
            there = {fold[image_id] for image_id in members}
            side = next((s for s in ("test", "train", "val") if s in there), "left_out")
            if side == "test" and tested:
                # Every image is tested once.
                side = "left_out"
            if self._fold_of is not None:
                side = side_of_new_photograph(sample, number, side, self._fold_of)
            tested = tested or side == "test"
            fold[sample.image_id] = side
        self.note(sample)

    def new_part(self, group: Sequence[Sample]) -> None:
        """Place all images of a part that is new."""
        home = None if self._fold_of is not None else self._tested_in(group)
        for number, fold in enumerate(self._sides):
            if self._fold_of is not None:
                given = side_of_new_part(group, number, self._to, self._fold_of)
                side = given or self._training_side(number, group)
            elif number == home:
                side = "test"
            elif home is not None and (self._to == "test" or len(self._sides) == 1):
                side = "left_out"
            else:
                side = self._training_side(number, group)
            for sample in group:
                fold[sample.image_id] = side
        for sample in group:
            self.note(sample)

    def _tested_in(self, group: Sequence[Sample]) -> int | None:
        """The fold that tests a new part; None where it is trained on in every fold."""
        protocol, kind, several = self._split.protocol, type_of(group), len(self._sides) > 1
        if self._to == "train":
            return None
        if self._to == "test":
            return self._furthest_behind(kind) if several else 0
        if self._to == "folds":
            if not several:
                raise UsageError(
                    f"--to folds deals new parts to folds, and the protocol {protocol} has one "
                    "only. Say --to train or --to test."
                )
            return self._furthest_behind(kind)
        if protocol == "custom":
            raise UsageError(
                "The split is one of your own (--split), which says nothing of new parts. Say "
                "--to train, --to test or --to folds."
            )
        if not any(sample.source_split == "test" for sample in group):
            return None
        if protocol == "kfold":
            return self._furthest_behind(kind)
        if protocol == "leave-one-type-out":
            if kind == GOOD:
                return self._furthest_behind(kind)
            home = next((n for n, counts in enumerate(self._test) if counts.get(kind)), None)
            if home is None:
                raise UsageError(
                    f"{group[0].image_id} is of the type {kind}, which no fold of "
                    "leave-one-type-out tests, and folds are not added. Say --to train, or "
                    "convert into a new folder."
                )
            return home
        if protocol == "holdout" and kind != GOOD:
            tested, trained = self._test[0].get(kind, 0), self._train[0].get(kind, 0)
            wanted = max(1, round(HOLDOUT_TEST_FRACTION * (tested + trained + len(group))))
            return 0 if tested + len(group) <= wanted else None
        return 0

    def _furthest_behind(self, kind: str) -> int:
        return min(
            range(len(self._sides)),
            key=lambda n: (self._test[n].get(kind, 0), sum(self._test[n].values()), n),
        )

    def _training_side(self, number: int, group: Sequence[Sample]) -> str:
        if not all(self._may_validate(sample) for sample in group):
            return "train"
        if all(sample.source_split == "val" for sample in group):
            return "val"
        kind = type_of(group)
        given = self._source_val[number]
        if kind in given or (given and self._split.protocol == "official"):
            return "train"
        there, held = self._train[number].get(kind, 0), self._val[number].get(kind, 0)
        wanted = max(1, round(VAL_FRACTION * (there + len(group))))
        return "val" if there and held + len(group) <= wanted else "train"


def require_sides(before: Split, after: Split, types: Mapping[str, str], why: str) -> None:
    """Refuse a change that empties a side of a fold of its good or its defective images.

    Args:
        before: the split as it was.
        after: as it would be.
        types: of all images of both, by id.
        why: what empties it.

    Raises:
        InputError: names fold and side.
    """
    for number, (old, new) in enumerate(zip(before.folds, after.folds, strict=True)):
        for name in ("train", "val", "test"):
            had = {types[i] == GOOD for i in getattr(old, name)}
            has = {types[i] == GOOD for i in getattr(new, name)}
            for good in sorted(had - has):
                what = "good" if good else "defective"
                side = {"train": "training", "val": "validation", "test": "test"}[name]
                where = f"fold {number}" if len(before.folds) > 1 else "the split"
                raise InputError(
                    f"{why} would take the last {what} {side} image of {where}. Add others first, "
                    "or keep one of them."
                )
