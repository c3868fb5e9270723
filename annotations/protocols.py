"""How images are divided: the protocols that `make_split` draws, and splits from elsewhere.

`kfold`: every image of the source's test set is tested in exactly one fold; everything else stands
on the training side of that fold. `holdout`: the defective images are divided train / val / test
by type, and good test images are all tested. `few-shot`: N defective images train, in all (Ding et
al., DRA, CVPR 2022, section 4.1) or of each type (Yao et al., BGAD, CVPR 2023, section 4.1), the
rest is tested; of one type alone, the others are tested (DRA's hard setting).
`leave-one-type-out`: each type is tested in a fold whose training side never saw one like it.
`leave-one-source-out`: see `annotations.by_source`.
`official`: the source's own division, with good training images held out to validate.

The test side is fixed first; validation images come out of the training side and never out of
the test side; images of one group stand on one side only. Order comes from hashes of names, so
that it is the same on every system and for every order of files on disk.
"""

import difflib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations.by_source import sets_by_source
from annotations.errors import InputError, UsageError, shortened
from annotations.files import read_json
from annotations.samples import GOOD, Sample, by_group
from annotations.split import PROTOCOLS, Fold, Protocol, Split, check_split, split_digest

VAL_FRACTION: Final = 0.15
"""Part of every type on the training side that validates."""
HOLDOUT_TEST_FRACTION: Final = 0.4


@dataclass(frozen=True, slots=True)
class Shots:
    """What few-shot trains on.

    Attributes:
        n: defective images on the training side, those that validate included.
        per_type: n of each type, and not in all.
        only_type: only this type is trained on, and all others are tested; its other images
            are left out.

    Raises:
        UsageError: n below 1.
    """

    n: int = 10
    per_type: bool = False
    only_type: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"--shots must be at least 1, got {self.n}.")

    @property
    def detail(self) -> str:
        """The settings as text, for people."""
        if self.only_type is not None:
            return f"{self.n} defective training images, of {self.only_type} only"
        return f"{self.n} defective training images {'of each type' if self.per_type else 'in all'}"


def _order_key(seed: int, purpose: str, text: str) -> str:
    # A hash orders the same on every system and for every order of files on disk.
    return hashlib.sha256(f"{seed}\x00{purpose}\x00{text}".encode()).hexdigest()


def type_of(group: Sequence[Sample]) -> str:
    """The type that most images of a part have."""
    counts: dict[str, int] = defaultdict(int)
    for sample in group:
        counts[sample.defect_type] += 1
    return max(sorted(counts), key=lambda name: counts[name])


def grouped_by_type(
    samples: Iterable[Sample], seed: int, purpose: str
) -> dict[str, list[list[Sample]]]:
    """Parts by their type, in the order in which they are dealt."""
    by_type: dict[str, list[list[Sample]]] = defaultdict(list)
    groups = by_group(samples)
    # Large groups first: what is left to even out the folds with is then small.
    for name in sorted(groups, key=lambda g: (-len(groups[g]), _order_key(seed, purpose, g))):
        by_type[type_of(groups[name])].append(groups[name])
    return dict(sorted(by_type.items()))


def _take(samples: Iterable[Sample], fraction: float, seed: int, purpose: str) -> set[str]:
    """Ids of about `fraction` of every type, whole groups, at least one and never all of it."""
    taken: set[str] = set()
    for groups in grouped_by_type(samples, seed, purpose).values():
        if len(groups) < 2:
            continue
        wanted = max(1, round(fraction * sum(len(group) for group in groups)))
        count = 0
        for group in sorted(groups, key=lambda g: _order_key(seed, purpose, g[0].group))[:-1]:
            if count and count + len(group) > wanted:
                continue
            taken.update(sample.image_id for sample in group)
            count += len(group)
            if count >= wanted:
                break
    return taken


def _deal(samples: Iterable[Sample], k: int, seed: int) -> list[set[str]]:
    """Deal whole groups to k folds so that every type is spread evenly."""
    folds: list[set[str]] = [set() for _ in range(k)]
    for groups in grouped_by_type(samples, seed, "fold").values():
        counts = [0] * k
        for group in groups:
            target = min(range(k), key=lambda i: (counts[i], len(folds[i]), i))
            folds[target].update(sample.image_id for sample in group)
            counts[target] += len(group)
    return folds


def check_protocol(protocol: str, folds: int) -> None:
    """Refuse a protocol that does not exist, before an image is read.

    Raises:
        UsageError: an unknown protocol (near ones are named), or kfold with fewer than 2 folds.
    """
    if protocol not in PROTOCOLS:
        near = difflib.get_close_matches(protocol, PROTOCOLS, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"Unknown protocol {protocol!r}.{hint} Known are {', '.join(PROTOCOLS)}.")
    if protocol == "kfold" and folds < 2:
        raise UsageError(f"kfold needs at least 2 folds, got {folds}.")


def natural_protocol(samples: Sequence[Sample]) -> Protocol:
    """`official` where both sides of the source, train and test, have defects, or where no image
    is defective, so that there is nothing to deal; else kfold."""
    sides = {sample.source_split for sample in samples if sample.is_defective}
    return "official" if not sides or {"train", "test"} <= sides else "kfold"


def make_split(
    samples: Sequence[Sample],
    *,
    protocol: Protocol = "kfold",
    folds: int = 5,
    seed: int = 0,
    shots: Shots | None = None,
) -> Split:
    """Divide a dataset; the protocols are described at the head of this file.

    Args:
        samples: all images.
        protocol: one of `PROTOCOLS`.
        folds: k, for kfold only.
        seed: changes the division; the same seed gives the same one everywhere.
        shots: for few-shot only; None is 10 in all.

    Returns:
        The split, whole groups on one side of every fold.

    Raises:
        UsageError: an unknown protocol, k below 2, or an unknown type.
        InputError: repeated ids, nothing to test on, or fewer groups of a defect type than
            the protocol needs.
    """
    check_protocol(protocol, folds)
    if len({sample.image_id for sample in samples}) != len(samples):
        raise InputError("Two images have one id; ids must be unique.")
    test_side = [sample for sample in samples if sample.source_split == "test"]
    if not test_side:
        raise InputError("The dataset has no test images, so there is nothing to test on.")
    held_back: list[set[str]] = []
    detail = ""
    if protocol == "kfold":
        test_sets = _kfold(test_side, folds, seed)
    elif protocol == "holdout":
        test_sets = [_holdout(test_side, seed)]
    elif protocol == "few-shot":
        shots = shots or Shots()
        detail = shots.detail
        test, held = _few_shot(test_side, shots, seed)
        test_sets, held_back = [test], [held]
    elif protocol == "leave-one-type-out":
        test_sets, held_back = _leave_one_type_out(test_side, seed)
        detail = "in each fold, the tested type is unknown to the training side"
    elif protocol == "leave-one-source-out":
        names, test_sets, held_back = sets_by_source(samples)
        detail = "; ".join(f"fold {number} tests {name}" for number, name in enumerate(names))
    else:
        test_sets = [{sample.image_id for sample in test_side}]
    made, left_out = [], []
    for number, test in enumerate(test_sets):
        held = held_back[number] if held_back else set()
        fold, left = complete_fold(
            samples, test, seed, held_back=held, keep_source_val=protocol == "official"
        )
        made.append(fold)
        left_out.append(left)
    return Split(
        protocol=protocol,
        seed=seed,
        folds=tuple(made),
        digest=split_digest(protocol, made, {s.image_id: s.sha256 for s in samples}),
        left_out=tuple(left_out),
        detail=detail,
    )


def _kfold(test_side: Sequence[Sample], folds: int, seed: int) -> list[set[str]]:
    test_sets = _deal(test_side, folds, seed)
    if not all(test_sets):
        raise InputError(
            f"{len(by_group(test_side))} groups of test images cannot fill {folds} folds. Use "
            "fewer folds (--folds)."
        )
    return test_sets


def _holdout(test_side: Sequence[Sample], seed: int) -> set[str]:
    good = {sample.image_id for sample in test_side if not sample.is_defective}
    defective = [sample for sample in test_side if sample.is_defective]
    chosen = _take(defective, HOLDOUT_TEST_FRACTION, seed, "holdout")
    if not chosen:
        raise InputError(
            "holdout needs a defect type with at least two groups of images, and there is none. "
            "Add images, or use --protocol official."
        )
    return good | chosen


def _few_shot(test_side: Sequence[Sample], shots: Shots, seed: int) -> tuple[set[str], set[str]]:
    """Ids of test images, and ids that are held back; the shots are the rest."""
    defective = [sample for sample in test_side if sample.is_defective]
    types = sorted({sample.defect_type for sample in defective})
    if shots.only_type is not None and shots.only_type not in types:
        raise UsageError(
            f"There is no defect type {shots.only_type!r}; there are {', '.join(types) or 'none'}."
        )
    eligible = [s for s in defective if shots.only_type in (None, s.defect_type)]
    kinds = types if shots.per_type and shots.only_type is None else [None]
    training: set[str] = set()
    for kind in kinds:
        of_kind = [s for s in eligible if kind in (None, s.defect_type)]
        chosen: list[str] = []
        groups = by_group(of_kind)
        for name in sorted(groups, key=lambda g: _order_key(seed, "shots", g)):
            ids = sorted(sample.image_id for sample in groups[name])
            chosen += ids[: shots.n - len(chosen)]
        if len(chosen) < shots.n:
            raise InputError(
                f"few-shot needs {shots.n} images{f' of {kind}' if kind else ''}, but there "
                f"are {len(chosen)}. Lower --shots."
            )
        training.update(chosen)
    by_id = {sample.image_id: sample for sample in test_side}
    groups_used = {by_id[image_id].group for image_id in training}
    test = {
        s.image_id
        for s in test_side
        if s.group not in groups_used
        and (shots.only_type is None or s.defect_type != shots.only_type)
    }
    if not any(by_id[image_id].is_defective for image_id in test):
        raise InputError(
            f"few-shot with {shots.detail} leaves no defective image to test on. Lower --shots."
        )
    return test, {s.image_id for s in test_side} - test - training


def _leave_one_type_out(
    test_side: Sequence[Sample], seed: int
) -> tuple[list[set[str]], list[set[str]]]:
    """For each fold, ids of test images and ids that are held back."""
    by_kind = grouped_by_type(test_side, seed, "fold")
    by_kind.pop(GOOD, None)
    if len(by_kind) < 2:
        raise InputError(
            "leave-one-type-out needs at least two defect types, and there "
            f"{'is one' if by_kind else 'are none'}. Use --protocol kfold."
        )
    placed = {s.group for groups in by_kind.values() for group in groups for s in group}
    good = _deal([s for s in test_side if s.group not in placed], len(by_kind), seed)
    tests, held = [], []
    for (kind, groups), some_good in zip(by_kind.items(), good, strict=True):
        test = {sample.image_id for group in groups for sample in group} | some_good
        tests.append(test)
        # One of this type may stand in a group that is tested with another type.
        held.append({s.image_id for s in test_side if s.defect_type == kind} - test)
    return tests, held


def complete_fold(
    samples: Sequence[Sample],
    test: set[str],
    seed: int,
    *,
    held_back: Iterable[str] = (),
    keep_source_val: bool = False,
) -> tuple[Fold, tuple[str, ...]]:
    """Divide what is not tested into training and validation.

    Args:
        samples: all images.
        test: ids of test images.
        seed: of the division.
        held_back: ids on neither side.
        keep_source_val: where the source has a validation side, it alone validates; otherwise
            types that it lacks are drawn from the training side.

    Returns:
        The fold, and the ids that stand on no side.
    """
    away = {*test, *held_back}
    tested_groups = {sample.group for sample in samples if sample.image_id in test}
    side = [s for s in samples if s.image_id not in away and s.group not in tested_groups]
    trained_on = {s.image_id for s in side}
    left = [s for s in samples if s.image_id not in test and s.image_id not in trained_on]
    # Good test images of other folds are trained on, but do not validate: with the source's own
    # good training images alone, one-class models validate on the same images in every fold.
    own_good = any(not s.is_defective and s.source_split != "test" for s in side)
    eligible = [s for s in side if s.is_defective or s.source_split != "test" or not own_good]
    given = [s for s in eligible if s.source_split == "val"]
    if not given:
        val = _take(eligible, VAL_FRACTION, seed, "val")
    else:
        val = {s.image_id for s in given}
        if not keep_source_val:
            held = {s.group for s in given}
            there = {s.defect_type for s in given}
            more = [s for s in eligible if s.defect_type not in there and s.group not in held]
            val |= _take(more, VAL_FRACTION, seed, "val")
    fold = Fold(
        train=tuple(sorted(s.image_id for s in side if s.image_id not in val)),
        val=tuple(sorted(val)),
        test=tuple(sorted(test)),
    )
    return fold, tuple(sorted(s.image_id for s in left))


def read_custom_split(path: Path, samples: Sequence[Sample], *, seed: int = 0) -> Split:
    """Read a split that was written by hand or by another program, and check it.

    A JSON object with `folds`, a list of objects with `test` and `train`, and, if wanted, `val`,
    each a list of image ids as in annotations/all.json. Without `val`, validation images are
    taken from `train`. Without `train`, all else is trained on that shares no group with `test`.

    Raises:
        InputError: malformed, an unknown or repeated id, a group on two sides, an image that
            is tested twice, or nothing to test on.
    """
    return custom_split(read_json(path, what="a split"), path, samples, seed=seed)


def custom_split(value: Any, path: Path, samples: Sequence[Sample], *, seed: int = 0) -> Split:
    """A split as `read_custom_split` reads it, whose JSON is at hand.

    Args:
        value: the JSON.
        path: where it comes from, for messages.
        samples: of the dataset that gets the split.
        seed: deals validation images, where the split names none.

    Raises:
        InputError: see `read_custom_split`.
    """
    known = {sample.image_id: sample for sample in samples}
    made: list[Fold] = []
    left_out: list[tuple[str, ...]] = []
    try:
        for entry in value["folds"]:
            sides = {side: _ids(entry, side) for side in ("train", "val", "test")}
            for ids in sides.values():
                for image_id in ids or ():
                    if image_id not in known:
                        raise InputError(
                            f"{path} names the image {image_id!r}, which the source does not "
                            f"have; its ids look like {next(iter(sorted(known)), 'nothing')!r}."
                        )
            test = set(sides["test"] or ())
            if not test:
                raise InputError(f"{path}: a fold has no test images, so nothing to test on.")
            train, val = sides["train"], sides["val"]
            if train is not None and val is not None:
                fold = Fold(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)))
            else:
                stays = set(known) if train is None else {*train, *test}
                stays |= set(val or ())
                fold, _ = complete_fold([s for s in samples if s.image_id in stays], test, seed)
                if train is not None:
                    dropped = sorted(set(train) - {*fold.train, *fold.val})
                    if dropped:
                        group = known[dropped[0]].group
                        raise InputError(
                            f"{path}: {dropped[0]} is to be a training image, but an image of its "
                            f"part (group {group!r}) is a test image. Move the whole group to "
                            "one side."
                        )
                if val is not None:
                    both = sorted({*fold.train, *fold.val} - set(val))
                    fold = Fold(tuple(both), tuple(sorted(val)), fold.test)
            made.append(fold)
            used = {*fold.train, *fold.val, *fold.test}
            left_out.append(tuple(sorted(set(known) - used)))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is not a split ({type(error).__name__}: {shortened(error)}). Expected "
            + json.dumps({"folds": [{"train": ["ID"], "val": ["ID"], "test": ["ID"]}]})
            + "."
        ) from error
    split = Split(
        protocol="custom",
        seed=seed,
        folds=tuple(made),
        digest=split_digest("custom", made, {s.image_id: s.sha256 for s in samples}),
        left_out=tuple(left_out),
        detail=f"from {path.name}",
    )
    if not made:
        raise InputError(f"{path} holds no folds.")
    check_split(split, samples, source=path)
    return split


def _ids(entry: Any, side: str) -> list[str] | None:
    if side not in entry:
        return None
    ids = entry[side]
    if not isinstance(ids, list) or not all(isinstance(value, str) for value in ids):
        raise ValueError(f"{side} must be a list of texts")
    return ids
