"""`Split`: which images a model may learn from and which test it, frozen, with a digest.

How images are divided is described in `annotations.protocols`. Here is what holds for every split,
also for one that was written by hand: images of one group stand on one side of a fold only, an
image is tested at most once, and a digest binds ids, sides and the images' bytes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from annotations.errors import InputError, ProtocolError, SplitMismatchError, UsageError, shortened
from annotations.files import read_json, write_json_atomic
from annotations.samples import Sample

Protocol = Literal[
    "kfold",
    "holdout",
    "few-shot",
    "leave-one-type-out",
    "leave-one-source-out",
    "official",
    "custom",
]
PROTOCOLS: Final[tuple[Protocol, ...]] = tuple(one for one in get_args(Protocol) if one != "custom")
"""Those that `make_split` draws; `custom` comes from a file."""
FORMAT: Final = "defectune-split-1"


@dataclass(frozen=True, slots=True)
class Fold:
    """One division of the images, as sorted ids.

    Attributes:
        train: ids to learn from.
        val: ids that choose epochs and thresholds; from the training side.
        test: ids of test images.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A frozen split.

    Attributes:
        protocol: one of `PROTOCOLS`, or `custom` for a split from a file.
        seed: that the division was drawn with.
        folds: k for kfold, one a type for leave-one-type-out, one a source for
            leave-one-source-out, one for the rest.
        digest: SHA-256, hexadecimal, over protocol, folds and the images' own hashes.
        left_out: ids on neither side, by fold: their group stands on the other
            side, or the protocol holds them back.
        detail: the protocol's own settings, as text.
    """

    protocol: Protocol
    seed: int
    folds: tuple[Fold, ...]
    digest: str
    left_out: tuple[tuple[str, ...], ...]
    detail: str = ""

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Ids of all test images, sorted; each stands in exactly one fold."""
        return tuple(sorted(image_id for fold in self.folds for image_id in fold.test))


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
        InputError: an id twice in a fold, tested twice, or a group on two sides of a fold.
    """
    by_id = {sample.image_id: sample for sample in samples}
    digest = split_digest(split.protocol, split.folds, {i: s.sha256 for i, s in by_id.items()})
    if digest != split.digest:
        raise SplitMismatchError(
            f"{source} says digest {split.digest[:12]}…, but its ids and these images give "
            f"{digest[:12]}…: the split or an image was changed after conversion. Convert again "
            "into a new folder."
        )
    tested: set[str] = set()
    for number, fold in enumerate(split.folds):
        tested_groups = {by_id[image_id].group: image_id for image_id in reversed(fold.test)}
        for image_id in (*fold.train, *fold.val):
            group = by_id[image_id].group
            if group in tested_groups:
                raise InputError(
                    f"{source}, fold {number}: {image_id} is on the training side and "
                    f"{tested_groups[group]} is a test image, but "
                    f"both show one part (group {group!r}). Move the whole group to one side."
                )
        ids = fold.train + fold.val + fold.test
        if len(set(ids)) != len(ids):
            raise InputError(f"{source}, fold {number}: an image stands in it twice.")
        if tested & set(fold.test):
            raise InputError(f"{source}: an image of fold {number} is tested in another fold, too.")
        tested |= set(fold.test)


def write_split(path: Path, split: Split, samples: Sequence[Sample]) -> None:
    """Write `split.json`."""
    write_json_atomic(path, split_document(split, samples))


def split_document(split: Split, samples: Sequence[Sample]) -> dict[str, Any]:
    """What `split.json` holds."""
    return {
        "format": FORMAT,
        "protocol": split.protocol,
        "detail": split.detail,
        "seed": split.seed,
        "digest": split.digest,
        "folds": [
            {
                "train": list(f.train),
                "val": list(f.val),
                "test": list(f.test),
                "left_out": list(left),
            }
            for f, left in zip(split.folds, split.left_out, strict=True)
        ],
        "groups": {s.image_id: s.group for s in sorted(samples, key=lambda s: s.image_id)},
    }


def read_split(path: Path, samples: Sequence[Sample]) -> Split:
    """Read and check `split.json`.

    Raises:
        InputError: missing, malformed, or with a group on two sides.
        SplitMismatchError: the digest does not belong to these images.
    """
    value: Any = read_json(path, what="the split of a converted dataset")
    return parse_split(value, samples, source=path)


def parse_split(value: Any, samples: Sequence[Sample], *, source: Path) -> Split:
    """Check what `split.json` holds.

    Args:
        value: as parsed.
        samples: the images.
        source: the file, for messages.

    Raises:
        InputError: malformed, or with a group on two sides.
        SplitMismatchError: the digest does not belong to these images.
    """
    try:
        if value["format"] != FORMAT or value["protocol"] not in (*PROTOCOLS, "custom"):
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
            detail=str(value.get("detail", "")),
        )
        if not folds:
            raise ValueError("no folds")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{source} is not a split of this program ({shortened(error)}). Convert again."
        ) from error
    check_split(split, samples, source=source)
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
    # Of thousands of digits int() makes no number.
    if not fold.isdecimal() or len(fold) > 9 or int(fold) >= len(split.folds):
        raise UsageError(
            f"--fold takes 'all' or a number from 0 to {len(split.folds) - 1}, got {fold[:20]!r}."
        )
    return [int(fold)]


def require_defects_in_training(split: Split, samples: Sequence[Sample], *, family: str) -> None:
    """Refuse a split that has no defective image to learn from in some fold.

    Raises:
        ProtocolError: names the protocol and what to do.
    """
    defective = {sample.image_id for sample in samples if sample.is_defective}
    if not defective:
        raise ProtocolError(
            f"'{family}' learns from defective images, and the dataset has none. Train 'classify', "
            "which learns from good images alone (the method patch-memory, for instance), or "
            "convert again once there are defective ones."
        )
    for number, fold in enumerate(split.folds):
        if not defective & {*fold.train, *fold.val}:
            where = f" (fold {number})" if len(split.folds) > 1 else ""
            raise ProtocolError(
                f"'{family}' learns from defective images, and under the protocol "
                f"'{split.protocol}' the training side has none{where}: the source keeps all of "
                "them for testing. Convert the dataset into another folder with --protocol kfold "
                "(every test image is tested once, by a model that never saw it) or --protocol "
                "holdout, or train 'classify', which learns from good images alone."
            )
