"""What each member of a joined segmenter counts for, by images that did not train it.

Weights are shares of what each member tells above chance, drawn towards equal ones by
`PRIOR_GROUPS` parts against those of the rarer kind that are there. A member is left out where the
others are better without it.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.thresholds import PRIOR_GROUPS
from segment.score_stack import auroc, clearly_better

WORTH: Final = 0.02
"""Of Dice, from which on the others without a member are better."""

Array = npt.NDArray[np.float64]


def image_weights(
    odds: npt.ArrayLike, is_defective: Sequence[bool], groups: Sequence[str]
) -> list[float]:
    """Weights of members' image scores, that add up to 1.

    Args:
        odds: float (members, n), log odds by each member, of images that did not train it.
        is_defective: bool (n,).
        groups: of each image; images of one group are resampled together.

    Returns:
        Shares of AUROC above one half, shrunk to equal ones. A member that ranks no better than
        chance is left out, and so is one without which the others rank better in 95 % of the
        resamples over groups. Equal weights where the images are all of one kind.

    Example:
        >>> image_weights([[3, 2, -2, -3], [1, -1, 1, -1]], [True, True, False, False], "abcd")
        [1.0, 0.0]
    """
    given = np.asarray(odds, np.float64)
    flags = np.asarray(is_defective, bool)
    if flags.all() or not flags.any():
        return _equal(len(given))
    qualities = [auroc(row, flags) - 0.5 for row in given]
    weights = _shrunk(qualities, _rarer(flags, groups))

    def worse_with(number: int, kept: Array) -> float:
        rest = _without(kept, number)
        without, joint = rest @ given, kept @ given
        if not clearly_better(without, joint, flags, groups):
            return 0.0
        return auroc(without, flags) - auroc(joint, flags)

    return [float(weight) for weight in _pruned(weights, worse_with)]


def map_weights(
    qualities: Sequence[float | None],
    n_groups: int,
    dice: Callable[[Sequence[float]], float | None],
) -> list[float]:
    """Weights of members' maps, that add up to 1.

    Args:
        qualities: best Dice of each member's map; None where no defect's pixels are known.
        n_groups: parts with a defect whose pixels are known.
        dice: best Dice of the maps joined by some weights.

    Returns:
        Shares of Dice, shrunk to equal ones. A member is left out where the others have a Dice
        that is higher by `WORTH` without it.
    """
    if any(quality is None for quality in qualities):
        return _equal(len(qualities))
    weights = _shrunk([quality or 0.0 for quality in qualities], n_groups)

    def worse_with(number: int, kept: Array) -> float:
        without, joint = dice(_without(kept, number).tolist()), dice(kept.tolist())
        gain = (without or 0.0) - (joint or 0.0)
        return gain if gain > WORTH else 0.0

    return [float(weight) for weight in _pruned(weights, worse_with)]


def _rarer(flags: npt.NDArray[np.bool_], groups: Sequence[str]) -> int:
    names = np.asarray(groups)
    return min(len(set(names[flags].tolist())), len(set(names[~flags].tolist())))


def _equal(n: int) -> list[float]:
    return [1.0 / n] * n


def _shrunk(qualities: Sequence[float], n_groups: int) -> Array:
    above = np.maximum(np.asarray(qualities, np.float64), 0.0)
    # What tells no more than chance counts for nothing, unless all of them do.
    used = above > 0 if above.any() else np.ones(len(above), bool)
    equal = used / used.sum()
    shares = above / above.sum() if above.any() else equal
    return np.asarray((n_groups * shares + PRIOR_GROUPS * equal) / (n_groups + PRIOR_GROUPS))


def _without(weights: Array, number: int) -> Array:
    rest = weights.copy()
    rest[number] = 0.0
    return np.asarray(rest / rest.sum())


def _pruned(weights: Array, worse_with: Callable[[int, Array], float]) -> Array:
    """Leave out one member after the other, the most harmful first, while any harms."""
    kept = weights
    while np.count_nonzero(kept) > 1:
        there = np.flatnonzero(kept).tolist()
        harm = {number: worse_with(number, kept) for number in there}
        worst = max(there, key=lambda number: harm[number])
        if harm[worst] <= 0:
            break
        kept = _without(kept, worst)
    return kept
