"""An image's score from statistics of its map, weighed on validation images.

A single quantile of a map cannot tell a small sharp defect from a large faint texture. Here a
logistic regression weighs several statistics, as SegAD does with a boosted forest (Baitieva et
al., CVPR 2024 workshops, section 3); with a few dozen validation images a line is what can be
fitted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations import InputError
from annotations.errors import shortened
from annotations.files import read_json, write_json_atomic
from annotations.regions import CONNECTIVITY

FORMAT: Final = "defectune-score-stack-1"
QUANTILES: Final = (1.0, 0.999, 0.99)
LEVELS: Final = (0.1, 0.3, 0.5, 0.7)
REGION_LEVEL: Final = 0.5
NAMES: Final = (
    *(f"logit of quantile {q}" for q in QUANTILES),
    *(f"log area from {level}" for level in LEVELS),
    f"log area of the largest region from {REGION_LEVEL}",
)
FEWEST: Final = 8
"""Good and defective validation images each, from which on weights are fitted."""
PARTS: Final = 5
"""Of the validation images, each scored by weights fitted to the others."""
STRENGTH: Final = 0.1
"""Inverse strength of the L2 penalty, on standardised statistics."""
_TINY: Final = 1e-4

Array = npt.NDArray[np.float64]


def map_statistics(scores: npt.NDArray[np.float32]) -> Array:
    """Statistics of a map of probabilities float32 (h, w): float64 (n,), as `NAMES` names them."""
    values = np.clip(scores.astype(np.float64), _TINY, 1 - _TINY)
    quantiles = np.quantile(values, QUANTILES)
    areas = [float((scores >= level).mean()) for level in LEVELS]
    inside = (scores >= REGION_LEVEL).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(
        inside, connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    sizes = stats[1:, cv2.CC_STAT_AREA]
    areas.append(float(sizes.max()) / scores.size if len(sizes) else 0.0)
    return np.concatenate((np.log(quantiles / (1 - quantiles)), np.log(np.array(areas) + _TINY)))


@dataclass(frozen=True, slots=True)
class ScoreStack:
    """Weights of a map's statistics.

    Attributes:
        mean: float64 (n,), of each statistic over the images it was fitted to.
        deviation: float64 (n,).
        weights: float64 (n,), of standardised statistics.
        bias: added.
    """

    mean: Array
    deviation: Array
    weights: Array
    bias: float

    @classmethod
    def fit(cls, statistics: Array, is_defective: npt.NDArray[np.bool_]) -> "ScoreStack":
        """Fit weights to images with statistics (m, n), both kinds counting the same."""
        from sklearn.linear_model import LogisticRegression

        mean = statistics.mean(axis=0)
        deviation = np.maximum(statistics.std(axis=0), _TINY)
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
        model.fit((statistics - mean) / deviation, is_defective)
        return cls(
            mean, deviation, np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
        )

    def score(self, statistics: Array) -> float:
        """Probability of a defect in an image with statistics (n,)."""
        logit = float(((statistics - self.mean) / self.deviation) @ self.weights) + self.bias
        return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))

    def write(self, path: Path) -> None:
        """Write as JSON, every number exactly."""
        document = {
            "format": FORMAT,
            "statistics": list(NAMES),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }
        write_json_atomic(path, document)


def read_stack(path: Path) -> ScoreStack | None:
    """Read weights; None where a fold has none.

    Raises:
        InputError: the file is damaged, or of other statistics than this version's.
    """
    if not path.is_file():
        return None
    value: Any = read_json(path, what="weights of an image's score")
    try:
        if value["format"] != FORMAT or value["statistics"] != list(NAMES):
            raise ValueError("it is of another version of this program")
        arrays = [np.array(value[k], np.float64) for k in ("mean", "deviation", "weights")]
        if any(one.shape != (len(NAMES),) or not np.isfinite(one).all() for one in arrays):
            raise ValueError(f"{len(NAMES)} numbers of each kind are expected")
        if (arrays[1] <= 0).any() or not np.isfinite(float(value["bias"])):
            raise ValueError("a deviation or the bias is out of range")
        return ScoreStack(arrays[0], arrays[1], arrays[2], float(value["bias"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({shortened(error)}). Train this fold again."
        ) from error


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
        stack = ScoreStack.fit(statistics[~held], rest)
        scores[held] = [stack.score(row) for row in statistics[held]]
    return ScoreStack.fit(statistics, flags), scores.tolist()


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
