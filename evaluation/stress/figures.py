"""What is counted of changed images: flips, escapes, overkill, and where the window ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from annotations.samples import GOOD
from evaluation.acceptance.parts import Photograph, escape_rate, overkill_rate, trials_of
from evaluation.acceptance.rates import BoundedRate
from evaluation.stress.changes import Change, Kind

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Cell:
    """Images under one change, or several at once.

    Attributes:
        changes: what was changed.
        flips: ids of images whose verdict is another one than unchanged.
        n: images that were looked at.
        escape: of defective parts.
        overkill: of good parts.
    """

    changes: tuple[Change, ...]
    flips: tuple[str, ...]
    n: int
    escape: BoundedRate
    overkill: BoundedRate

    @property
    def share(self) -> float:
        """Of the verdicts that flip."""
        return len(self.flips) / self.n

    def to_json(self) -> dict[str, Any]:
        """As stress.json holds it."""
        return {
            "changes": {change.kind: change.value for change in self.changes},
            "flips": BoundedRate(len(self.flips), self.n, CONFIDENCE).to_json(),
            "flipped": list(self.flips),
            "escape": self.escape.to_json(),
            "overkill": self.overkill.to_json(),
        }


def cell_figures(
    photographs: Sequence[Photograph], scores: Mapping[str, float], changes: Sequence[Change] = ()
) -> Cell:
    """Count what a change does.

    Args:
        photographs: with their unchanged scores; one or more.
        scores: calibrated scores of the changed images, by image id.
        changes: that made them.

    Raises:
        KeyError: an image without a changed score.
    """
    after = [replace(one, score=scores[one.image_id]) for one in photographs]
    flips = [
        new.image_id
        for old, new in zip(photographs, after, strict=True)
        if old.called != new.called
    ]
    trials = trials_of(after)
    return Cell(
        tuple(changes),
        tuple(flips),
        len(after),
        escape_rate(trials, CONFIDENCE),
        overkill_rate(trials, CONFIDENCE),
    )


def window_side(
    shares: Mapping[float, float], unchanged: float, max_flips: float, *, upward: bool
) -> float:
    """The end of the window to one side: the last tried value up to which every one holds.

    Nothing is taken from between two values, and nothing from beyond one that does not hold: a
    change that flips verdicts and, twice as large, flips them back is none to rely on.

    Args:
        shares: of flipped verdicts by tried value, of both sides.
        unchanged: the value that changes nothing.
        max_flips: highest share that holds.
        upward: which side.

    Returns:
        `unchanged` where the nearest tried value does not hold, or none was tried.
    """
    side = sorted(v for v in shares if (v > unchanged if upward else v < unchanged))
    end = unchanged
    for value in side if upward else reversed(side):
        if shares[value] > max_flips:
            break
        end = value
    return end


def window_of(kind: Kind, shares: Mapping[float, float], max_flips: float) -> tuple[float, float]:
    """Lowest and highest value of a kind's window."""
    low, high = (
        window_side(shares, kind.unchanged, max_flips, upward=upward) for upward in (False, True)
    )
    return low, high


def in_proportion(photographs: Sequence[Photograph], seed: int) -> list[Photograph]:
    """Images in an order whose beginnings hold all types, good included, in proportion.

    Args:
        photographs: all of them.
        seed: draws the order within a type.
    """
    rng = np.random.default_rng(seed)
    by_type: dict[str, list[Photograph]] = {}
    for one in sorted(photographs, key=lambda one: one.image_id):
        by_type.setdefault(one.defect_type, []).append(one)
    placed: list[tuple[float, str, Photograph]] = []
    for name in sorted(by_type, key=lambda name: (name != GOOD, name)):
        ones = by_type[name]
        for rank, index in enumerate(rng.permutation(len(ones)).tolist()):
            placed.append(((rank + 0.5) / len(ones), name, ones[index]))
    return [one for _, _, one in sorted(placed, key=lambda row: row[:2])]
