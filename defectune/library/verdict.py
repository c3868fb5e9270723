"""`Verdict`: what a model decides about one new image."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from annotations import Regions
from annotations.scores import CalibratedScore


@dataclass(frozen=True)
class Verdict:
    """The verdict on one image.

    Attributes:
        name: of the image.
        score: calibrated, 0 to 1; higher is more defective.
        threshold: scores from this on are defective.
        regions: the defects that were found; None for a family that finds none.
        heat_map: float (H, W), higher is more defective, or None.
        predicted_type: `good` or the likeliest defect type, or None where the family names none.
        class_names: defect types by label of `regions`.
        heat_map_range: scores at the ends of the heat map's colours, one range for the whole run.
        image_rgb: the image, uint8 (H, W, 3).

    Example:
        >>> import defectune as dt, numpy as np
        >>> grey = np.full((64, 64), 128, np.uint8)
        >>> verdict = dt.Run("out/runs/quick").predict(grey, device="cpu")
        >>> verdict.heat_map.shape
        (64, 64)
    """

    name: str
    score: CalibratedScore
    threshold: float
    regions: Regions | None
    heat_map: npt.NDArray[np.floating] | None = field(repr=False)
    predicted_type: str | None
    class_names: tuple[str, ...]
    heat_map_range: tuple[float, float]
    image_rgb: npt.NDArray[np.uint8] = field(repr=False)

    @property
    def defective(self) -> bool:
        """True where the score reaches the threshold."""
        return self.score >= self.threshold

    def draw(self) -> npt.NDArray[np.uint8]:
        """The image with banner, regions and heat map: uint8 (h, w, 3); small ones enlarged."""
        from report import draw_overlay

        return draw_overlay(
            self.image_rgb,
            prediction=self.regions,
            pixel_scores=self.heat_map,
            score_range=self.heat_map_range,
            image_score=self.score,
            threshold=self.threshold,
            class_names=self.class_names,
        )

    def __repr__(self) -> str:
        word = "defective" if self.defective else "good"
        sign = ">=" if self.defective else "<"
        found = "" if self.regions is None else f", {len(self.regions)} region(s)"
        return f"Verdict({self.name!r}: {word}, {self.score:.3f} {sign} {self.threshold:g}{found})"

    def _repr_png_(self) -> bytes:
        from annotations.images import encode_png

        return encode_png(self.draw())
