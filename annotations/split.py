"""`Split`: which images may teach and which may judge, frozen, with a digest.

Four protocols (`PROTOCOLS`). The test side is fixed first; validation images come out of the
training side and never out of the test side; images of one group stand on one side only.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from annotations.errors import InputError, ProtocolError, SplitMismatchError, UsageError
from annotations.files import read_json, write_json_atomic
from annotations.samples import Sample

Protocol = Literal["kfold", "holdout", "official"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("kfold", "holdout", "official")
VAL_FRACTION: Final = 0.15
"""Part of every type on the training side that validates."""
HOLDOUT_TEST_FRACTION: Final = 0.4
FORMAT: Final = "defectune-split-1"


@dataclass(frozen=True, slots=True)
class Fold:
    """One division of the images, as sorted ids.

    Attributes:
        train: ids that teach.
        val: ids that choose epochs and thresholds; from the training side.
        test: ids that judge.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A frozen split.

    Attributes:
        protocol: one of `PROTOCOLS`.
        seed: that the division was drawn with.
        folds: one for holdout and official, k for kfold.
        digest: SHA-256, hexadecimal, over protocol, folds and the images' own hashes.
        left_out: ids that teach nobody in some fold because their group judges there, by fold.
    """

    protocol: Protocol
    seed: int
    folds: tuple[Fold, ...]
    digest: str
    left_out: tuple[tuple[str, ...], ...]

    @property
    def test_ids(self) -> tuple[str, ...]:
        """All judging ids, sorted; each stands in exactly one fold."""
        return tuple(sorted(image_id for fold in self.folds for image_id in fold.test))


def _order_key(seed: int, purpose: str, text: str) -> str:
    # A hash orders the same on every system and for every order of files on disk.
    return hashlib.sha256(f"{seed}\x00{purpose}\x00{text}".encode()).hexdigest()


def _by_group(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    return groups


def _type_of(group: Sequence[Sample]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for sample in group:
        counts[sample.defect_type] += 1
    return max(sorted(counts), key=lambda name: counts[name])


def _grouped_by_type(
    samples: Iterable[Sample], seed: int, purpose: str
) -> dict[str, list[list[Sample]]]:
    by_type: dict[str, list[list[Sample]]] = defaultdict(list)
    groups = _by_group(samples)
    # Large groups first: what is left to even out the folds with is then small.
    for name in sorted(groups, key=lambda g: (-len(groups[g]), _order_key(seed, purpose, g))):
        by_type[_type_of(groups[name])].append(groups[name])
    return dict(sorted(by_type.items()))


def _take(samples: Iterable[Sample], fraction: float, seed: int, purpose: str) -> set[str]:
    """Ids of about `fraction` of every type, whole groups, at least one and never all of it."""
    taken: set[str] = set()
    for groups in _grouped_by_type(samples, seed, purpose).values():
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
    for groups in _grouped_by_type(samples, seed, "fold").values():
        counts = [0] * k
        for group in groups:
            target = min(range(k), key=lambda i: (counts[i], len(folds[i]), i))
            folds[target].update(sample.image_id for sample in group)
            counts[target] += len(group)
    return folds


def make_split(
    samples: Sequence[Sample], *, protocol: Protocol = "kfold", folds: int = 5, seed: int = 0
) -> Split:
    """Divide a dataset.

    `kfold`: every image of the source's test set judges in exactly one fold; everything else
    stands on the training side of that fold. `holdout`: the defective images are divided
    train / val / test by type, and good test images all judge. `official`: the source's own
    division, with good training images held out to validate.

    Args:
        samples: all images.
        protocol: one of `PROTOCOLS`.
        folds: k, for kfold only.
        seed: changes the division; the same seed gives the same one everywhere.

    Returns:
        The split, whole groups on one side of every fold.

    Raises:
        UsageError: an unknown protocol, or k below 2.
        InputError: repeated ids, nothing to judge on, or fewer groups of a defect type than
            the protocol needs.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"Unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}.")
    if protocol == "kfold" and folds < 2:
        raise UsageError(f"kfold needs at least 2 folds, got {folds}.")
    if len({sample.image_id for sample in samples}) != len(samples):
        raise InputError("Two images have one id; ids must be unique.")
    official_test = [sample for sample in samples if sample.source_split == "test"]
    if not official_test:
        raise InputError("The dataset has no test images, so there is nothing to judge on.")
    if protocol == "kfold":
        test_sets = _deal(official_test, folds, seed)
        if not all(test_sets):
            raise InputError(
                f"{len(_by_group(official_test))} groups of test images cannot fill {folds} "
                "folds. Use fewer folds (--folds)."
            )
    elif protocol == "holdout":
        defective = [sample for sample in official_test if sample.is_defective]
        good = {sample.image_id for sample in official_test if not sample.is_defective}
        chosen = _take(defective, HOLDOUT_TEST_FRACTION, seed, "holdout")
        if not chosen:
            raise InputError(
                "holdout needs a defect type with at least two groups of images, and there is "
                "none. Add images, or use --protocol official."
            )
        test_sets = [good | chosen]
    else:
        test_sets = [{sample.image_id for sample in official_test}]
    made, left_out = [], []
    for test in test_sets:
        fold, left = _complete_fold(samples, test, seed)
        made.append(fold)
        left_out.append(left)
    return Split(
        protocol=protocol,
        seed=seed,
        folds=tuple(made),
        digest=split_digest(protocol, made, {s.image_id: s.sha256 for s in samples}),
        left_out=tuple(left_out),
    )


def _complete_fold(
    samples: Sequence[Sample], test: set[str], seed: int
) -> tuple[Fold, tuple[str, ...]]:
    judged_groups = {sample.group for sample in samples if sample.image_id in test}
    side = [s for s in samples if s.image_id not in test and s.group not in judged_groups]
    left = [s for s in samples if s.image_id not in test and s.group in judged_groups]
    # Good test images of other folds teach, but do not validate: with the source's own good
    # training images alone, one-class models validate on the same images in every fold.
    eligible = [s for s in side if s.is_defective or s.source_split != "test"]
    val = _take(eligible, VAL_FRACTION, seed, "val")
    fold = Fold(
        train=tuple(sorted(s.image_id for s in side if s.image_id not in val)),
        val=tuple(sorted(val)),
        test=tuple(sorted(test)),
    )
    return fold, tuple(sorted(s.image_id for s in left))


def split_digest(protocol: str, folds: Sequence[Fold], sha256_by_id: Mapping[str, str]) -> str:
    """SHA-256 over protocol, folds and image hashes, as 64 hexadecimal digits.

    Raises:
        InputError: a fold names an image that is not in the dataset.
    """
    try:
        value = [
            [[[i, sha256_by_id[i]] for i in sorted(part)] for part in (f.train, f.val, f.test)]
            for f in folds
        ]
    except KeyError as error:
        raise InputError(
            f"The split names the image {error.args[0]!r}, which is not in the "
            "dataset. Convert again, or take the split that belongs to it."
        ) from None
    text = json.dumps([FORMAT, protocol, value], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_split(split: Split, samples: Sequence[Sample], *, source: Path | str) -> None:
    """Check a split against the images: digest, one side each, no group on two sides.

    Raises:
        SplitMismatchError: the digest differs from the one over these images.
        InputError: an id twice in a fold, judged twice, or a group on two sides of a fold.
    """
    by_id = {sample.image_id: sample for sample in samples}
    digest = split_digest(split.protocol, split.folds, {i: s.sha256 for i, s in by_id.items()})
    if digest != split.digest:
        raise SplitMismatchError(
            f"{source} says digest {split.digest[:12]}…, but its ids and these images give "
            f"{digest[:12]}…: the split or an image was changed after conversion. Convert again "
            "into a new folder."
        )
    judged: set[str] = set()
    for number, fold in enumerate(split.folds):
        sides: dict[str, str] = {}
        for side, ids in (("train", fold.train), ("train", fold.val), ("test", fold.test)):
            for image_id in ids:
                group = by_id[image_id].group
                if sides.setdefault(group, side) != side:
                    raise InputError(
                        f"{source}, fold {number}: group {group!r} (image {image_id}) stands on "
                        "the training and on the test side. Move the whole group to one side."
                    )
        ids = fold.train + fold.val + fold.test
        if len(set(ids)) != len(ids):
            raise InputError(f"{source}, fold {number}: an image stands in it twice.")
        if judged & set(fold.test):
            raise InputError(f"{source}: an image of fold {number} judges in another fold too.")
        judged |= set(fold.test)


def write_split(path: Path, split: Split, samples: Sequence[Sample]) -> None:
    """Write `split.json`."""
    write_json_atomic(
        path,
        {
            "format": FORMAT,
            "protocol": split.protocol,
            "seed": split.seed,
            "digest": split.digest,
            "folds": [
                {"train": f.train, "val": f.val, "test": f.test, "left_out": left}
                for f, left in zip(split.folds, split.left_out, strict=True)
            ],
            "groups": {s.image_id: s.group for s in sorted(samples, key=lambda s: s.image_id)},
        },
    )


def read_split(path: Path, samples: Sequence[Sample]) -> Split:
    """Read and check `split.json`.

    Raises:
        InputError: missing, malformed, or with a group on two sides.
        SplitMismatchError: the digest does not belong to these images.
    """
    value: Any = read_json(path, what="the split of a converted dataset")
    try:
        if value["format"] != FORMAT or value["protocol"] not in PROTOCOLS:
            raise ValueError(f"format {value['format']!r}, protocol {value['protocol']!r}")
        folds = tuple(
            Fold(*(tuple(_strings(fold[part])) for part in ("train", "val", "test")))
            for fold in value["folds"]
        )
        split = Split(
            protocol=value["protocol"],
            seed=int(value["seed"]),
            folds=folds,
            digest=str(value["digest"]),
            left_out=tuple(tuple(_strings(f.get("left_out", []))) for f in value["folds"]),
        )
        if not folds:
            raise ValueError("no folds")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not a split of this program ({error}). Convert again."
        ) from error
    check_split(split, samples, source=path)
    return split


def _strings(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("ids must be a list of texts")
    return values


def select_folds(split: Split, fold: str) -> list[int]:
    """Turn `--fold` into fold numbers: `all`, or one number from 0.

    Raises:
        UsageError: neither, or a number that the split does not have.
    """
    if fold == "all":
        return list(range(len(split.folds)))
    if not fold.isdecimal() or int(fold) >= len(split.folds):
        raise UsageError(
            f"--fold takes 'all' or a number from 0 to {len(split.folds) - 1}, got {fold!r}."
        )
    return [int(fold)]


def require_defects_in_training(split: Split, *, family: str) -> None:
    """Refuse a protocol under which no defective image may teach.

    Raises:
        ProtocolError: the protocol is `official`.
    """
    if split.protocol == "official":
        raise ProtocolError(
            f"'{family}' learns from defective images, and under the protocol 'official' all of "
            "them judge: MVTec's training side has good images only. Convert the dataset into "
            "another folder with --protocol kfold (every test image judged once, by a model that "
            "never saw it) or --protocol holdout, or train 'classify', which learns from good "
            "images alone."
        )
