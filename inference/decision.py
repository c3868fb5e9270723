"""From a prediction to a verdict: the one place where it is decided."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction
from annotations.prediction_files import FoldThresholds
from annotations.regions import Regions
from annotations.scores import CalibratedScore


@dataclass(frozen=True)
class Decision:
    """What is decided about one image.

    Attributes:
        name: of the image.
        score: calibrated, 0 to 1; higher is more defective.
        threshold: scores from this on are defective.
        regions: the defects that count as found; None for a family that finds none.
        heat_map: float (H, W), higher is more defective, or None.
        predicted_type: `good` or the likeliest defect type, or None where the family names none.
    """

    name: str
    score: CalibratedScore
    threshold: CalibratedScore
    regions: Regions | None
    heat_map: npt.NDArray[np.floating[Any]] | None = field(repr=False)
    predicted_type: str | None

    @property
    def defective(self) -> bool:
        """True where the score reaches the threshold."""
        return self.score >= self.threshold


def decide(prediction: Prediction, thresholds: FoldThresholds, cut: CalibratedScore) -> Decision:
    """Decide about one image.

    Args:
        prediction: of a model; its score is not calibrated.
        thresholds: of that model.
        cut: calibrated scores from this on are defective.
    """
    found = prediction.regions
    return Decision(
        name=prediction.image_id,
        score=thresholds.calibrate(prediction.image_score),
        threshold=cut,
        regions=None if found is None else found.above(thresholds.region_threshold),
        heat_map=prediction.pixel_scores,
        predicted_type=prediction.predicted_type,
    )
