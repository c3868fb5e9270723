"""Dealing images to parts of a cross-fit, whole physical parts together."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt


def deal_groups(
    kinds: Sequence[str],
    groups: Sequence[str],
    n: int,
    kept: Mapping[str, int] = MappingProxyType({}),
) -> npt.NDArray[np.intp]:
    """Which of `n` equal shares each image belongs to.

    Images of one group share it, and every kind is dealt evenly. The same images are dealt the
    same way in any order.

    Args:
        kinds: of each image, such as its defect type; `good` for good ones.
        groups: of each image.
        n: number of shares, 1 or more.
        kept: shares of groups that have one already; the others are dealt around them.

    Returns:
        Numbers (images,) from 0 to n - 1.

    Example:
        >>> deal_groups(["good", "good", "crack", "crack"], ["a", "b", "c", "c"], 2).tolist()
        [1, 0, 0, 0]
    """
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    totals: dict[str, npt.NDArray[np.int64]] = {}
    everything = np.zeros(n, np.int64)
    shares = np.zeros(len(groups), np.intp)
    order = sorted(
        members, key=lambda g: (-len(members[g]), hashlib.sha256(g.encode()).hexdigest())
    )
    for group in sorted(order, key=lambda g: g not in kept):
        # A part with a defect counts as one of its first type.
        kind = min({kinds[i] for i in members[group]} - {"good"}, default="good")
        counts = totals.setdefault(kind, np.zeros(n, np.int64))
        share = kept.get(group, int(np.lexsort((everything, counts))[0]))
        counts[share] += len(members[group])
        everything[share] += len(members[group])
        shares[members[group]] = share
    return shares
