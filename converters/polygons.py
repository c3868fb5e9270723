"""One polygon around a region, along the edges of its pixels, its holes bridged and not filled.

Corners are whole numbers: pixel (x, y) is the square from (x, y) to (x + 1, y + 1), so that a
polygon's box is the half-open box of its pixels. A hole is joined to what lies left of it by a
slit of no width. pycocotools and every filler by the even-odd rule give the pixels back; one that
also paints the outline (OpenCV's) adds up to a pixel at the right and at the foot.
"""

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from annotations.regions import BoolMask

Ring = list[tuple[int, int]]


def outlines(mask: npt.NDArray[np.generic]) -> list[Ring]:
    """Closed lines along the edges between inside and outside.

    Args:
        mask: (H, W), non-zero is inside.

    Returns:
        Rings of corners (x, y), without the first one repeated and without corners on a straight
        line; the inside lies to the right hand.
    """
    inside = np.pad(np.asarray(mask) != 0, 1)
    onward: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    # The upper edge of a pixel runs to the right, the right one down, and so on.
    top = inside & ~np.roll(inside, 1, axis=0)
    bottom = inside & ~np.roll(inside, -1, axis=0)
    left = inside & ~np.roll(inside, 1, axis=1)
    right = inside & ~np.roll(inside, -1, axis=1)
    for edges, (dx0, dy0), (dx1, dy1) in (
        (top, (0, 0), (1, 0)),
        (right, (1, 0), (1, 1)),
        (bottom, (1, 1), (0, 1)),
        (left, (0, 1), (0, 0)),
    ):
        rows, columns = np.nonzero(edges)
        for y, x in zip((rows - 1).tolist(), (columns - 1).tolist(), strict=True):
            onward[x + dx0, y + dy0].append((x + dx1, y + dy1))
    rings = []
    while onward:
        start = next(iter(onward))
        ring = [start]
        here, before = _step(onward, start, None)
        while here != start:
            ring.append(here)
            here, before = _step(onward, here, before)
        rings.append(_without_straight(ring))
    return rings


def _step(
    onward: dict[tuple[int, int], list[tuple[int, int]]],
    here: tuple[int, int],
    direction: tuple[int, int] | None,
) -> tuple[tuple[int, int], tuple[int, int]]:
    ends = onward[here]
    place = 0
    if len(ends) == 2 and direction is not None:
        # Where two pixels touch at a corner, turn so that they stay in one ring (8-connectivity).
        dx, dy = direction
        turned = (here[0] + dy, here[1] - dx)
        place = ends.index(turned) if turned in ends else 0
    there = ends.pop(place)
    if not ends:
        del onward[here]
    return there, (there[0] - here[0], there[1] - here[1])


def _without_straight(ring: Ring) -> Ring:
    points = np.array(ring, np.int64)
    step = np.diff(points, axis=0, append=points[:1])
    turns = (step != np.roll(step, 1, axis=0)).any(axis=1)
    return [(int(x), int(y)) for x, y in points[turns]]


def polygon_of_component(mask: BoolMask) -> Ring:
    """One ring around an 8-connected component, holes joined to it by slits.

    Args:
        mask: bool (H, W) with one component.

    Returns:
        Corners (x, y); empty for an empty mask.
    """
    rings = sorted(outlines(mask), key=min)
    if not rings:
        return []
    whole, *holes = rings
    for hole in holes:
        place = hole.index(min(hole))
        x, y = hole[place]
        index, corner = _to_the_left(whole, x, y)
        turned = [*hole[place:], *hole[: place + 1]]
        whole = [*whole[: index + 1], corner, *turned, corner, *whole[index + 1 :]]
    return whole


def _to_the_left(ring: Ring, x: int, y: int) -> tuple[int, tuple[int, int]]:
    """The nearest edge of a ring left of a point: index of its beginning, and the meeting point."""
    best, best_x = -1, -1
    for index, (x0, y0) in enumerate(ring):
        x1, y1 = ring[(index + 1) % len(ring)]
        if x0 == x1 and min(y0, y1) <= y <= max(y0, y1) and best_x < x0 <= x:
            best, best_x = index, x0
    if best < 0:
        raise ValueError("A hole lies outside of its component.")
    return best, (best_x, y)
