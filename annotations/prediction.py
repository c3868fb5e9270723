"""`Prediction`: what a model says about one image, in the form that evaluation reads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.regions import Regions
from annotations.scores import RawScore


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model says about one image.

    Attributes:
        image_id: of the `Sample`.
        image_score: higher = more defective; the model's own, raw score.
        regions: scored regions, or None where the family has none.
        pixel_scores: float (H, W), higher = more defective, or None.
        predicted_type: `good` or the likeliest defect type, or None where the family names none
            for the whole image.

    Raises:
        ValueError: a score that is not finite, regions without scores, or a map of another
            size than the regions' image.
    """

    image_id: str
    image_score: RawScore
    regions: Regions | None = None
    pixel_scores: npt.NDArray[np.floating[Any]] | None = None
    predicted_type: str | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.image_score):
            raise ValueError(f"The score of {self.image_id} is {self.image_score}.")
        if self.regions is not None and self.regions.scores is None:
            raise ValueError(f"The predicted regions of {self.image_id} have no scores.")
        if self.pixel_scores is not None:
            if self.pixel_scores.ndim != 2 or not np.isfinite(self.pixel_scores).all():
                raise ValueError(f"The score map of {self.image_id} is not finite (H, W).")
            if self.regions is not None and self.pixel_scores.shape != self.regions.image_hw:
                raise ValueError(
                    f"The score map of {self.image_id} is {self.pixel_scores.shape}, "
                    f"its regions' image {self.regions.image_hw}."
                )

    def __repr__(self) -> str:
        # One line, without the map's numbers.
        said = f"{self.image_id!r}, score {self.image_score:.4g}"
        if self.regions is not None:
            said += f", {len(self.regions)} region(s)"
        if self.pixel_scores is not None:
            height, width = self.pixel_scores.shape
            said += f", map {height} x {width}"
        if self.predicted_type is not None:
            said += f", type {self.predicted_type!r}"
        return f"Prediction({said})"
