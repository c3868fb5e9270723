"""The part as the unit: several photographs of one part are one trial.

A defective part escapes if any of its defective photographs is called good; a good part is
overkill if any of its photographs is called defective. On a line that rejects a part as soon as one
photograph is called defective, the first rule counts more escapes than the line has: a bound that
holds for it holds for that line. Good photographs of a defective part are no trial: whether they
are called good or not, the part has to go.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from annotations import InputError
from annotations.samples import GOOD
from annotations.split import Split
from evaluation.acceptance.rates import BoundedRate

RULE: Final = (
    "One part is one trial, however many photographs show it. A defective part escapes if any of "
    "its defective photographs is called good; a good part is overkill if any of its photographs "
    "is called defective. Good photographs of a defective part are no trial."
)


@dataclass(frozen=True, slots=True)
class Photograph:
    """One counted image with what is true of it and what was said.

    Attributes:
        image_id: of the image.
        part: the physical part that it shows.
        defect_type: `good` or the class.
        size: small, medium or large; empty without a known region.
        source: the part of the source that it came from.
        fold: whose model was asked.
        score: calibrated.
        threshold: scores from here on are called defective.
    """

    image_id: str
    part: str
    defect_type: str
    size: str
    source: str
    fold: int
    score: float
    threshold: float

    @property
    def is_defective(self) -> bool:
        """The truth."""
        return self.defect_type != GOOD

    @property
    def called(self) -> bool:
        """The verdict: True for defective."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True)
class Trial:
    """One part.

    Attributes:
        part: its name.
        is_defective: the truth.
        called: True where it counts as called defective, by the rule of this module.
        image_ids: its photographs that count.
    """

    part: str
    is_defective: bool
    called: bool
    image_ids: tuple[str, ...]


def trials_of(
    photographs: Iterable[Photograph],
    *,
    called: Callable[[Photograph], bool] = lambda p: p.called,
    defective: Callable[[Photograph], bool] = lambda p: p.is_defective,
) -> list[Trial]:
    """The parts of some photographs, by name.

    Args:
        photographs: that count.
        called: what somebody said of a photograph.
        defective: what is true of it.
    """
    shots: dict[str, list[Photograph]] = defaultdict(list)
    for one in photographs:
        shots[one.part].append(one)
    trials = []
    for part in sorted(shots):
        bad = [one for one in shots[part] if defective(one)]
        verdict = all(map(called, bad)) if bad else any(map(called, shots[part]))
        counted = tuple(one.image_id for one in bad or shots[part])
        trials.append(Trial(part, bool(bad), verdict, counted))
    return trials


def escape_rate(trials: Sequence[Trial], confidence: float) -> BoundedRate:
    """Defective parts that escape, of the defective parts."""
    bad = [one for one in trials if one.is_defective]
    escaped = sum(not one.called for one in bad)
    return BoundedRate(escaped, len(bad), confidence, "no defective part was counted")


def overkill_rate(trials: Sequence[Trial], confidence: float) -> BoundedRate:
    """Good parts that are called defective, of the good parts."""
    good = [one for one in trials if not one.is_defective]
    killed = sum(one.called for one in good)
    return BoundedRate(killed, len(good), confidence, "no good part was counted")


def escapes_by(
    photographs: Sequence[Photograph], key: Callable[[Photograph], str], confidence: float
) -> dict[str, BoundedRate]:
    """Escapes by a property of the defective photographs; a part counts once in each."""
    kinds: dict[str, list[Photograph]] = defaultdict(list)
    for one in photographs:
        if one.is_defective:
            kinds[key(one)].append(one)
    return {kind: escape_rate(trials_of(kinds[kind]), confidence) for kind in sorted(kinds)}


def merged_parts(
    groups: Mapping[str, str], repeats: Mapping[str, str], split: Split, counted: Sequence[str]
) -> dict[str, str]:
    """Parts by image id, where a list of repeated photographs joins what the dataset keeps apart.

    Args:
        groups: the dataset's own part of every image.
        repeats: part by image id, as the list says; images that it does not name keep theirs.
        split: that the run was made under.
        counted: test images that are counted.

    Returns:
        A name of the part for every image of the dataset.

    Raises:
        InputError: a part that the list joins was learnt from and is counted: the verdict on it
            is not out of fold.
    """
    parent = {group: group for group in groups.values()}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    first: dict[str, str] = {}
    for image_id, part in sorted(repeats.items()):
        one = root(groups[image_id])
        other = root(first.setdefault(part, one))
        low, high = sorted((one, other))
        parent[high] = low
    parts = {image_id: root(group) for image_id, group in groups.items()}
    wanted = set(counted)
    for number, fold in enumerate(split.folds):
        learnt = {parts[i]: i for i in (*fold.train, *fold.val)}
        for image_id in fold.test:
            if image_id in wanted and parts[image_id] in learnt:
                raise InputError(
                    f"--repeats says that {image_id} and {learnt[parts[image_id]]} show one part, "
                    f"and the model of fold {number} has learnt from the second: its verdict on "
                    "the first proves nothing. Convert again with the parts named (--group-by), "
                    "and train again."
                )
    return parts
