"""A linear probe of an image as a whole, beside the map and the image's head.

With image labels alone the heads have to guess where a defect is, and on fine textures they guess
wrong. How strong each frozen feature is over the image, on average, at most and in spread, asks for
no place: a logistic regression on it is what "linear probing" is in the literature (Kornblith et
al., "Do Better ImageNet Models Transfer Better?", CVPR 2019, section 4.1). It is fitted for each
head to what the head was trained on, and used only where it ranks held-out images clearly better.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from inference.score_stack import ScoreStack
from inference.thresholds import log_odds
from segment.score_stack import auroc, clearly_better, fit_logistic
from training.array_files import damaged_arrays, load_arrays, save_arrays

PROBE_FILE: Final = "image_probe.npz"
STRENGTH: Final = 0.01
"""Inverse strength of the L2 penalty, on standardized features."""
PARTS: Final = (0.5, 1.0)
"""Candidates for the probe's part in an image's score."""
_TINY: Final = 1e-6

Array = npt.NDArray[np.float64]


def pooled(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean, spread and maximum of every channel: float (n, 3 × channels of all levels).

    Args:
        levels: standardized features float (n, channels, h, w).
    """
    columns = []
    for level in levels:
        mean = level.mean((2, 3))
        spread = (level**2).mean((2, 3)) - mean**2
        columns += [mean, spread.clamp_min(0).sqrt(), level.amax((2, 3))]
    return torch.cat(columns, dim=1)


class ImageProbe(torch.nn.Module):
    """A fitted probe, and its part in an image's score."""

    def __init__(self, weights: Array, bias: float, part: float, spreads: tuple[float, float]):
        """Take what was fitted.

        Args:
            weights: float64 (n,), of pooled features.
            bias: added to their sum, which is then the probe's logit.
            part: of the probe in the score, from 0 to 1.
            spreads: standard deviations of the map's logit and of the probe's.
        """
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))
        self.bias, self.part, self.spreads = bias, part, spreads

    def forward(self, logit: torch.Tensor, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mix the image's logit (n,) with the probe's of standardized levels."""
        mine = pooled(levels) @ self.get_buffer("weights") + self.bias
        return (1 - self.part) / self.spreads[0] * logit + self.part / self.spreads[1] * mine

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        numbers = np.array([self.bias, self.part, *self.spreads], np.float64)
        save_arrays(path, {"weights": self.get_buffer("weights").cpu().numpy(), "numbers": numbers})


def read_probe(path: Path) -> ImageProbe | None:
    """The probe that a fold's training kept; None where it kept none.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    arrays = load_arrays(path)
    try:
        weights, numbers = (np.asarray(arrays[k], np.float64) for k in ("weights", "numbers"))
        if weights.ndim != 1 or numbers.shape != (4,) or not np.isfinite(numbers).all():
            raise ValueError("it should hold weights and four numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_arrays(path, error) from error
    bias, part, *spreads = numbers.tolist()
    return ImageProbe(weights, bias, part, (spreads[0], spreads[1]))


class FittedProbe(NamedTuple):
    """A probe that ranks better, and what it says of images that did not fit it.

    Attributes:
        probe: for new images.
        scores: of the images that it was fitted to, each by a fit without it, from 0 to 1.
    """

    probe: ImageProbe
    scores: list[float]


def fit_probe(
    features: npt.ArrayLike,
    scores: Sequence[float],
    is_defective: Sequence[bool],
    groups: Sequence[str],
    shares: Sequence[int],
) -> FittedProbe | None:
    """Fit a probe for each share of the images, to the others, and see whether it is of use.

    Args:
        features: float (m, n), see `pooled`.
        scores: of the same images by heads that were not trained on them, from 0 to 1.
        is_defective: of the same images.
        groups: of the same images.
        shares: of the same images; one group has one share.

    Returns:
        None where some share leaves images of one kind alone, or where held-out images do not
        rank clearly better with the probe than without.
    """
    given, flags = np.asarray(features, np.float64), np.asarray(is_defective, bool)
    share = np.asarray(shares, np.intp)
    usual = log_odds(scores, tiny=_TINY)
    mine = np.zeros(len(flags))
    fits: list[ScoreStack] = []
    for number in np.unique(share):
        rest = share != number
        if flags[rest].all() or not flags[rest].any():
            return None
        fit = fit_logistic(given[rest], flags[rest], strength=STRENGTH, rising=False)
        fits.append(fit)
        mine[~rest] = ((given[~rest] - fit.mean) / fit.deviation) @ fit.weights + fit.bias
    if flags.all() or not flags.any():
        return None
    spreads = (max(float(usual.std()), _TINY), max(float(mine.std()), _TINY))
    mixed = {p: (1 - p) * usual / spreads[0] + p * mine / spreads[1] for p in PARTS}
    part = max(PARTS, key=lambda p: auroc(mixed[p], flags))
    if not clearly_better(mixed[part], usual, flags, groups):
        return None
    weights = np.mean([fit.weights / fit.deviation for fit in fits], axis=0)
    bias = np.mean([fit.bias - fit.mean @ (fit.weights / fit.deviation) for fit in fits])
    probe = ImageProbe(weights, float(bias), part, spreads)
    return FittedProbe(probe, [float(v) for v in 1 / (1 + np.exp(-mixed[part]))])
