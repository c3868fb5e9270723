"""Several changes at once: drawn from inside a window, or at its ends."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from evaluation.acceptance.parts import Photograph
from evaluation.stress.changes import Change, kind_named

MOST_PICTURES: Final = 2
"""Images that are shown of one kind."""


@dataclass(frozen=True)
class Window:
    """Lowest and highest value of each kind.

    Attributes:
        ends: by kind.
    """

    ends: Mapping[str, tuple[float, float]]

    def narrowed(self, part: float) -> "Window":
        """Both ends of every kind at `part` of their way from the unchanged value."""
        narrow = {}
        for name, (low, high) in self.ends.items():
            kind = kind_named(name)
            narrow[name] = (
                kind.within(low, kind.unchanged, 1 - part),
                kind.within(kind.unchanged, high, part),
            )
        return Window(narrow)

    @property
    def open_kinds(self) -> list[str]:
        """Kinds whose window holds more than the unchanged value."""
        return [name for name, (low, high) in self.ends.items() if low < high]


def drawn_pairs(
    window: Window, ids: Sequence[str], *, draws: int, seed: int, purpose: str
) -> dict[str, list[tuple[Change, ...]]]:
    """Two kinds at once, each at a value drawn evenly from the window, for each image anew.

    Args:
        window: to draw from; with a single open kind, that one alone is drawn.
        ids: images.
        draws: for each image.
        seed: the same one draws the same, whichever images there are.
        purpose: draws of another purpose are others.

    Returns:
        Cells by image id; none where the window holds nothing but the unchanged values.
    """
    names = window.open_kinds
    found: dict[str, list[tuple[Change, ...]]] = {}
    for image_id in ids if names else ():
        text = f"{seed}\0{purpose}\0{image_id}".encode("utf-8", "surrogatepass")
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"))
        cells = []
        for _ in range(draws):
            two = sorted(rng.choice(len(names), size=min(2, len(names)), replace=False).tolist())
            parts = rng.random(len(two)).tolist()
            cells.append(
                tuple(
                    Change(names[k], kind_named(names[k]).within(*window.ends[names[k]], part))
                    for k, part in zip(two, parts, strict=True)
                )
            )
        found[image_id] = cells
    return found


def flips_of(
    photographs: Sequence[Photograph],
    scores: Mapping[tuple[str, str], float],
    cells: Mapping[str, Sequence[tuple[Change, ...]]],
) -> tuple[int, int]:
    """How many verdicts of drawn cells are other ones than unchanged, and of how many.

    Args:
        photographs: with their unchanged scores.
        scores: calibrated, by image id and name of the cell.
        cells: that were drawn, by image id.
    """
    flips = n = 0
    for one in photographs:
        for changes in cells.get(one.image_id, ()):
            score = scores[one.image_id, "+".join(map(str, changes))]
            flips += (score >= one.threshold) != one.called
            n += 1
    return flips, n


def corners(window: Window, pair: tuple[str, str]) -> list[tuple[Change, ...]]:
    """Both kinds together at the ends of their windows, and half way there.

    An end that is the unchanged value itself is left out.
    """
    first, second = (
        sorted(
            {
                kind_named(name).within(min(end, unchanged), max(end, unchanged), at)
                for unchanged in (kind_named(name).unchanged,)
                for end in window.ends[name]
                for at in ((0.5, 1.0) if end > unchanged else (0.5, 0.0))
                if end != unchanged
            }
            - {kind_named(name).unchanged}
        )
        for name in pair
    )
    return [(Change(pair[0], a), Change(pair[1], b)) for a in first for b in second]


def first_to_flip(cells: Sequence[Mapping[str, Any]]) -> list[tuple[Change, str]]:
    """Which images flip first: of each kind, those of the gentlest value that flips any.

    Args:
        cells: as stress.json holds those of single changes.
    """
    found: list[tuple[Change, str]] = []
    by_kind: dict[str, list[tuple[float, Change, Sequence[str]]]] = {}
    for cell in cells:
        ((name, value),) = cell["changes"].items()
        kind = kind_named(name)
        harsh = max(abs(end - kind.unchanged) for side in kind.sides for end in side)
        far = abs(value - kind.unchanged) / harsh
        if cell["flipped"]:
            by_kind.setdefault(name, []).append((far, Change(name, value), cell["flipped"]))
    for rows in by_kind.values():
        _, change, flipped = min(rows, key=lambda row: row[:2])
        found += [(change, image_id) for image_id in flipped[:MOST_PICTURES]]
    return found
