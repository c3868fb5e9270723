"""Thresholds of a fold, from validation or held-out good images; never from the test side."""

from collections.abc import Sequence
from typing import Final

from annotations import DefectuneError, FoldThresholds
from inference.thresholds import (
    BALANCED,
    ThresholdAim,
    ThresholdChoice,
    choose_threshold,
    from_log_odds,
    log_odds,
    promise,
    steady_threshold,
)

_TINY: Final = 1e-6
GOOD_OVERKILL: Final = 0.05


def good_threshold(good_scores: Sequence[float], quantile: float) -> ThresholdChoice:
    """The lowest threshold that lets `quantile` of held-out good images pass.

    Args:
        good_scores: raw, one or more.
        quantile: share of the good images that stay below, above 0 and at most 1.

    Returns:
        It lies in the middle between two scores, or a margin above the highest.

    Raises:
        DefectuneError: no scores.
    """
    aim = ThresholdAim(max_overkill=1 - quantile)
    choice = choose_threshold(good_scores, [False] * len(good_scores), aim)
    if choice is None:
        raise DefectuneError("A threshold needs at least one held-out good image.")
    return choice


def probability_thresholds(
    scores: Sequence[float],
    is_defective: Sequence[bool],
    groups: Sequence[str],
    *,
    region_threshold: float,
    aim: ThresholdAim = BALANCED,
    default: float = 0.5,
) -> FoldThresholds:
    """Thresholds of a fold whose image scores are probabilities; see `steady_threshold`.

    Args:
        scores: of images that did not train the model, from 0 to 1.
        is_defective: truth of the same images.
        groups: of the same images.
        region_threshold: regions from this score on count as found.
        aim: of the image threshold.
        default: the image threshold that nothing is chosen on.

    Where the images are all of one kind, the default is taken, and `chosen_on` says so.
    """
    choice = None
    if any(is_defective) and not all(is_defective):
        prior = float(log_odds([default])[0])
        values = log_odds(scores, tiny=_TINY)
        choice = steady_threshold(values, is_defective, groups, aim, default=prior)
    if choice is None:
        return FoldThresholds(
            default, "odds", region_threshold, f"nothing: {default:g}, for want of images"
        )
    return FoldThresholds(
        from_log_odds(choice.threshold),
        "odds",
        region_threshold,
        f"{len(scores)} images that did not train what scored them, {choice.n_defective} of them "
        f"defective, for {aim}: "
        f"{promise(choice)}",
    )


def good_probability_thresholds(
    scores: Sequence[float], *, region_threshold: float, aim: ThresholdAim = BALANCED
) -> FoldThresholds:
    """Thresholds of a fold that has good validation images alone: the rate of overkill aimed at,
    or `GOOD_OVERKILL`, of them lies above.

    Raises:
        DefectuneError: no scores.
    """
    rate = GOOD_OVERKILL if aim.max_overkill is None else aim.max_overkill
    choice = good_threshold(log_odds(scores, tiny=_TINY).tolist(), 1 - rate)
    return FoldThresholds(
        from_log_odds(choice.threshold),
        "odds",
        region_threshold,
        f"{len(scores)} good validation images, of which {rate:.1%} may be called defective: "
        f"{promise(choice)}",
    )
