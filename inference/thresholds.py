"""Choosing the threshold between good and defective: one rule, for whoever has scores to choose on.

Training, the operating point of `evaluate`, predictions made elsewhere and sweeps all choose here.
Scores at or above a threshold count as defective. A threshold lies between two scores, or a margin
beyond the outermost one, and never on a score: another runtime's rounding would flip that image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TIE: Final = 1e-5
"""Scores closer than this part of their range are one score: runtimes round differently."""
LEAST_RANGE: Final = 0.1
"""Scores of a smaller range are as close together as those of this one."""
MARGIN: Final = 0.01
"""How far beyond the outermost score a threshold lies, as a part of the scores' range."""
RESAMPLES: Final = 200
PRIOR_GROUPS: Final = 3
"""What the default counts for against the groups that a threshold is chosen on."""
_FEW: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ThresholdAim:
    """What an image threshold is to achieve on the images that it is chosen on.

    Attributes:
        max_escape: highest share of defective images called good; overkill is then as low as that
            allows.
        max_overkill: highest share of good images called defective; escapes are then as few as
            that allows.
        escape_cost: of a defective image called good, times the share of such parts.
        overkill_cost: of a good image called defective, times the share of such parts; both costs
            together are minimized.

    Without any, the higher of the two rates is as low as can be, as at the equal error rate.
    """

    max_escape: float | None = None
    max_overkill: float | None = None
    escape_cost: float | None = None
    overkill_cost: float | None = None

    def __str__(self) -> str:
        if self.max_escape is not None:
            return f"escapes at most {self.max_escape:.1%}"
        if self.max_overkill is not None:
            return f"overkill at most {self.max_overkill:.1%}"
        if self.escape_cost is not None:
            return "the lowest cost"
        return "escapes and overkill alike"


BALANCED: Final = ThresholdAim()


@dataclass(frozen=True, slots=True)
class ThresholdChoice:
    """A threshold and what it does to the images that it was chosen on.

    Attributes:
        threshold: scores at or above it count as defective.
        n_defective: defective images.
        n_good: good images.
        escapes: defective images below the threshold.
        overkills: good images at or above it.
    """

    threshold: float
    n_defective: int
    n_good: int
    escapes: int
    overkills: int


def log_odds(
    scores: Sequence[float] | npt.NDArray[np.floating[Any]], *, tiny: float = 1e-12
) -> Floats:
    """Log odds of scores from 0 to 1, on which thresholds of probabilities are chosen.

    Between 0.001 and 0.9 the middle is 0.09 on this scale, and not 0.45.

    Args:
        scores: from 0 to 1.
        tiny: scores closer to 0 or 1 than this count as this close.
    """
    values = np.clip(np.asarray(scores, np.float64), tiny, 1 - tiny)
    return np.asarray(np.log(values / (1 - values)), np.float64)


def from_log_odds(value: float) -> float:
    """The score from 0 to 1 of which `log_odds` is the value."""
    return float(1 / (1 + np.exp(-value)))


def candidate_thresholds(scores: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    """Every threshold that tells some of the scores apart, ascending, and the gap that it lies in.

    Args:
        scores: one or more.

    Returns:
        Thresholds float64 (k,): below all scores, in the middle between neighbors, above all;
        and the gaps between those neighbors, 0 for both ends.
    """
    levels = np.unique(np.asarray(scores, np.float64))
    scale = max(float(np.ptp(levels)), float(np.abs(levels).max())) or 1.0
    # Scores that are all next to nothing differ by rounding alone.
    apart = np.diff(levels) > TIE * max(scale, LEAST_RANGE)
    middles = ((levels[1:] + levels[:-1]) / 2)[apart]
    ends = levels[0] - MARGIN * scale, levels[-1] + MARGIN * scale
    gaps = np.diff(levels)[apart]
    return (
        np.concatenate(([ends[0]], middles, [ends[1]])),
        np.concatenate(([0.0], gaps, [0.0])),
    )


def choose_threshold(
    scores: Sequence[float] | Floats,
    is_defective: Sequence[bool] | Bools,
    aim: ThresholdAim = BALANCED,
) -> ThresholdChoice | None:
    """Choose a threshold by an aim.

    Of the candidates that keep a bound (or exceed it least), those with the fewest errors of the
    other kind are taken, of these those with the fewest of the bounded kind, and of equal ones
    that in the middle of the widest gap. A bound on one kind of images alone gives the threshold
    nearest to the other kind that keeps it.

    Args:
        scores: image scores (n,), higher = more defective, on a scale where distances mean
            something: log odds for probabilities.
        is_defective: truth (n,) of the same images.
        aim: of the threshold.

    Returns:
        The threshold, or None where the images cannot tell: a bound needs images of the kind that
        it bounds, everything else needs both kinds.

    Example:
        >>> choose_threshold([0.1, 0.2, 0.8, 0.9], [False, False, True, True]).threshold
        0.5
    """
    values = np.asarray(scores, np.float64)
    truth = np.asarray(is_defective, bool)
    n_bad, n_good = int(truth.sum()), int((~truth).sum())
    needs_bad, needs_good = aim.max_overkill is None, aim.max_escape is None
    if not len(values) or (needs_bad and not n_bad) or (needs_good and not n_good):
        return None
    cuts, gaps = candidate_thresholds(values)
    escapes = np.searchsorted(np.sort(values[truth]), cuts, side="left")
    overkills = n_good - np.searchsorted(np.sort(values[~truth]), cuts, side="left")
    escape, overkill = escapes / max(n_bad, 1), overkills / max(n_good, 1)
    costs: tuple[Floats, ...]
    if aim.max_escape is not None:
        over = np.maximum(escapes - np.floor(aim.max_escape * n_bad + _FEW), 0)
        costs = (over, overkill, escape if n_good else -cuts)
    elif aim.max_overkill is not None:
        over = np.maximum(overkills - np.floor(aim.max_overkill * n_good + _FEW), 0)
        costs = (over, escape, overkill if n_bad else cuts)
    elif aim.escape_cost is not None:
        costs = (escape * aim.escape_cost + overkill * (aim.overkill_cost or 0.0),)
    else:
        costs = (np.maximum(escape, overkill), escape + overkill)
    best = np.arange(len(cuts))
    for cost in costs:
        kept = cost[best]
        best = best[np.isclose(kept, kept.min(), rtol=1e-9, atol=1e-12)]
    index = int(best[int(np.argmax(gaps[best]))])
    return ThresholdChoice(
        float(cuts[index]), n_bad, n_good, int(escapes[index]), int(overkills[index])
    )


def steady_threshold(
    scores: Sequence[float] | Floats,
    is_defective: Sequence[bool] | Bools,
    groups: Sequence[str],
    aim: ThresholdAim = BALANCED,
    *,
    default: float = 0.0,
) -> ThresholdChoice | None:
    """Choose a threshold by an aim that a few images more or less would not move far.

    The median of what `choose_threshold` chooses on resamples over groups (bagging: Breiman 1996)
    stands in for a single choice. Without a bound or costs it is then drawn towards a default, by
    `PRIOR_GROUPS` groups against those of the rarer kind that are there: few of them say little.

    Args:
        scores: see `choose_threshold`.
        is_defective: truth (n,) of the same images.
        groups: (n,) names; images of one physical part share one.
        aim: of the threshold.
        default: the threshold that nothing was chosen on.

    Returns:
        The threshold and what it does to the images; None where they cannot tell.

    Example:
        >>> steady_threshold([-3, -2, 2, 3], [False, False, True, True], list("abcd")).threshold
        0.0
    """
    values = np.asarray(scores, np.float64)
    truth = np.asarray(is_defective, bool)
    plain = choose_threshold(values, truth, aim)
    if plain is None:
        return None
    names = sorted(set(groups))
    where = np.asarray(list(groups))
    members = [np.flatnonzero(where == name) for name in names]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(names), size=len(names)).tolist()
        rows = np.concatenate([members[number] for number in drawn])
        choice = choose_threshold(values[rows], truth[rows], aim)
        if choice is not None:
            found.append(choice.threshold)
    # Of two images no resample may hold both kinds.
    cut = float(np.median(found)) if found else plain.threshold
    if aim == BALANCED:
        n = min(len(set(where[truth].tolist())), len(set(where[~truth].tolist())))
        cut = (n * cut + PRIOR_GROUPS * default) / (n + PRIOR_GROUPS)
    # A bound is kept on all images, whatever resamples made of it.
    if aim.max_overkill is not None:
        cut = max(cut, plain.threshold)
    if aim.max_escape is not None:
        cut = min(cut, plain.threshold)
    cut = _between(values, cut)
    return ThresholdChoice(
        cut,
        int(truth.sum()),
        int((~truth).sum()),
        int((truth & (values < cut)).sum()),
        int((~truth & (values >= cut)).sum()),
    )


def _between(values: Floats, cut: float) -> float:
    """The candidate threshold nearest to a cut that lies on, or next to, a score; else the cut."""
    scale = max(float(np.ptp(values)), float(np.abs(values).max())) or 1.0
    if float(np.abs(values - cut).min()) > TIE * max(scale, LEAST_RANGE):
        return cut
    cuts, _ = candidate_thresholds(values)
    return float(cuts[np.argmin(np.abs(cuts - cut))])


def upper_bound(count: int, n: int, *, confidence: float = 0.95) -> float:
    """One-sided upper bound of a rate of which `count` of `n` were seen; 1 where n is 0.

    Clopper and Pearson, Biometrika 1934: the rate at which so few would be seen with a chance of
    1 - confidence.
    """
    from scipy.stats import beta

    return 1.0 if count >= n else float(beta.ppf(confidence, count + 1, n - count))


def promise(choice: ThresholdChoice) -> str:
    """What a threshold did to the images it was chosen on, and what that proves at 95 %.

    The bounds are exact, one-sided, and for images drawn as these were; since the threshold was
    chosen on these very images, the true rates tend to lie higher.
    """
    parts = []
    for count, n, kind in (
        (choice.escapes, choice.n_defective, "escape"),
        (choice.overkills, choice.n_good, "are overkill"),
    ):
        if n:
            parts.append(f"{count} of {n} {kind} (at most {upper_bound(count, n):.1%})")
    return ", ".join(parts)
