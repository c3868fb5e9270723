"""An image's score from statistics of its map, weighed on validation images.

A single quantile of a map cannot tell a small sharp defect from a large faint texture. Here a
logistic regression weighs several statistics, as SegAD does with a boosted forest (Baitieva et
al., CVPR 2024 workshops, section 3); with a few dozen validation images a line is what can be
fitted.
"""

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
        weights: float64 (n,), of standardized statistics.
        bias: added.
    """

    mean: Array
    deviation: Array
    weights: Array
    bias: float

    def score(self, statistics: Array) -> float:
        """Probability of a defect in an image with statistics (n,)."""
        logit = float(((statistics - self.mean) / self.deviation) @ self.weights) + self.bias
        return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it, every number exactly."""
        return {
            "format": FORMAT,
            "statistics": list(NAMES),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }

    @classmethod
    def from_json(cls, value: Any) -> "ScoreStack":
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is damaged, or of another version's statistics.
        """
        if value["format"] != FORMAT or value["statistics"] != list(NAMES):
            raise ValueError("it is of another version of this program")
        arrays = [np.array(value[k], np.float64) for k in ("mean", "deviation", "weights")]
        if any(one.shape != (len(NAMES),) or not np.isfinite(one).all() for one in arrays):
            raise ValueError(f"{len(NAMES)} numbers of each kind are expected")
        if (arrays[1] <= 0).any() or not np.isfinite(float(value["bias"])):
            raise ValueError("a deviation or the bias is out of range")
        return cls(arrays[0], arrays[1], arrays[2], float(value["bias"]))

    def write(self, path: Path) -> None:
        """Write as JSON."""
        write_json_atomic(path, self.to_json())


def read_stack(path: Path) -> ScoreStack | None:
    """Read weights; None where a fold has none.

    Raises:
        InputError: the file is damaged, or of other statistics than this version's.
    """
    if not path.is_file():
        return None
    value: Any = read_json(path, what="weights of an image's score")
    try:
        return ScoreStack.from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({shortened(error)}). Train this fold again."
        ) from error
