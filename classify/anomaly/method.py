"""What every anomaly detector is: a method whose threshold comes from held-out good images."""

from typing import Generic, TypeVar

from annotations import FoldThresholds
from classify.config import GoodOnlyConfig
from classify.method import Calibration, FoldData, Method, score_all
from inference.thresholds import promise
from training import Predictor, good_threshold

GoodConfig = TypeVar("GoodConfig", bound=GoodOnlyConfig)


class AnomalyMethod(Method[GoodConfig], Generic[GoodConfig]):
    """A method that learns from good images alone."""

    def calibrate(self, data: FoldData, predictor: Predictor) -> Calibration:
        """Choose the threshold on held-out good images, which the model was not fitted to."""
        scores = score_all(predictor, data.held_out, data, "held-out good images")
        return Calibration(self.thresholds(list(scores), "held-out good training images"))

    def thresholds(self, scores: list[float], images: str) -> FoldThresholds:
        """The quantile of good images' scores that the settings name.

        Args:
            scores: raw, one an image.
            images: what they show, as a text for the progress.
        """
        quantile = self.config.good_quantile
        choice = good_threshold(scores, quantile)
        return FoldThresholds(
            choice.threshold,
            "ratio",
            0.0,
            f"{quantile:.1%} quantile of {len(scores)} {images}: {promise(choice)}",
        )
