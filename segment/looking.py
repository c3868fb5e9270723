"""What every segmenter's predictor shares: from class probabilities to regions and scores."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Prediction, mask_to_regions


class Look(NamedTuple):
    """What a network sees in one image.

    Attributes:
        probabilities: float32 (C + 1, h, w) at a size of its own; channel 0 is the background.
        image_score: of the whole image, from 0 to 1, not calibrated.
    """

    probabilities: npt.NDArray[np.float32]
    image_score: float

    @property
    def defect(self) -> npt.NDArray[np.float32]:
        """Probability of any defect, float32 (h, w)."""
        return np.asarray(1 - self.probabilities[0], np.float32)


class SegmentPredictor(ABC):
    """Looks at one image at a time and answers at the image's own size.

    Attributes:
        region_threshold: cuts probabilities into regions.
        min_area_fraction: smaller regions, as parts of the image, are left out.
        held_out_scores: by image id, scores of validation images that a part of the model was
            fitted to, from fits without them.
    """

    def __init__(self, region_threshold: float, min_area_fraction: float) -> None:
        """Take thresholds; training sets them once they are chosen."""
        self.region_threshold = region_threshold
        self.min_area_fraction = min_area_fraction
        self.held_out_scores: dict[str, float] = {}

    @abstractmethod
    def look(self, image_rgb: npt.NDArray[np.uint8]) -> Look:
        """See one image, uint8 (H, W, 3)."""

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Regions and score map of one image, uint8 (H, W, 3)."""
        return self.prediction(
            image_id, self.look(image_rgb), (image_rgb.shape[0], image_rgb.shape[1])
        )

    def prediction(self, image_id: str, seen: Look, image_hw: tuple[int, int]) -> Prediction:
        """Regions and score map at the image's own height and width."""
        height, width = image_hw
        scores = np.clip(
            cv2.resize(seen.defect, (width, height), interpolation=cv2.INTER_LINEAR), 0.0, 1.0
        ).astype(np.float32)
        types = cv2.resize(
            seen.probabilities[1:].argmax(axis=0).astype(np.uint8),
            (width, height),
            interpolation=cv2.INTER_NEAREST,
        )
        regions = mask_to_regions(
            scores >= self.region_threshold,
            label=np.asarray(types),
            pixel_scores=scores,
            min_area=max(1, math.ceil(self.min_area_fraction * height * width)),
        )
        return Prediction(
            image_id=image_id,
            image_score=seen.image_score,
            regions=regions,
            pixel_scores=scores,
        )
