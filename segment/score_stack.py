"""Fitting the weights of an image's score to validation images; see
`inference.score_stack`."""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.score_stack import Array, ScoreStack, map_statistics

FEWEST: Final = 8
"""Good and defective validation images each, from which on weights are fitted."""
PARTS: Final = 5
"""Of the validation images, each scored by weights fitted to the others."""
STRENGTH: Final = 0.1
"""Inverse strength of the L2 penalty, on standardised statistics."""
_TINY: Final = 1e-4


def fit_stack(
    maps: Sequence[npt.NDArray[np.float32]],
    is_defective: Sequence[bool],
    groups: Sequence[str],
) -> tuple[ScoreStack, list[float]] | None:
    """Fit weights to validation images, and score each of them by weights that never saw it.

    Args:
        maps: probabilities float32 (h, w), of any sizes.
        is_defective: truth of the same images.
        groups: of the same images; those of one group are held out together.

    Returns:
        The stack, and held-out scores in the order given; None where there are too few images of
        a kind.
    """
    flags = np.asarray(is_defective, bool)
    if min(flags.sum(), (~flags).sum()) < FEWEST:
        return None
    statistics = np.stack([map_statistics(one) for one in maps])
    parts = _parts(flags, groups)
    scores = np.zeros(len(flags))
    for part in range(PARTS):
        held = parts == part
        rest = flags[~held]
        if not held.any():
            continue
        if rest.all() or not rest.any():
            return None
        stack = _fit(statistics[~held], rest)
        scores[held] = [stack.score(row) for row in statistics[held]]
    return _fit(statistics, flags), scores.tolist()


def _fit(statistics: Array, is_defective: npt.NDArray[np.bool_]) -> ScoreStack:
    """Fit weights to images with statistics (m, n), both kinds counting the same."""
    from sklearn.linear_model import LogisticRegression

    mean = statistics.mean(axis=0)
    deviation = np.maximum(statistics.std(axis=0), _TINY)
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
    model.fit((statistics - mean) / deviation, is_defective)
    return ScoreStack(
        mean, deviation, np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
    )


def _parts(flags: npt.NDArray[np.bool_], groups: Sequence[str]) -> npt.NDArray[np.intp]:
    """Which part each image is held out with: whole groups, both kinds dealt evenly."""
    names: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        names.setdefault(group, []).append(number)
    counts = np.zeros((PARTS, 2))
    parts = np.zeros(len(flags), np.intp)
    order = sorted(names, key=lambda g: (-len(names[g]), hashlib.sha256(g.encode()).hexdigest()))
    for group in order:
        kind = int(flags[names[group]].any())
        part = int(np.argmin(counts[:, kind]))
        counts[part, kind] += len(names[group])
        parts[names[group]] = part
    return parts
