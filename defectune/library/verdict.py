"""`Verdict`: what a model decides about one new image."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference.decision import Decision


@dataclass(frozen=True)
class Verdict(Decision):
    """The verdict on one image, with the image: `draw` shows both.

    Attributes:
        name: The image's file name; `array` for an array.
        score: Calibrated, 0 to 1; higher is more defective.
        threshold: Scores from this on are defective.
        regions: The defects that were found; None for a family that finds none.
        heat_map: Float (H, W), higher is more defective, or None.
        predicted_type: `good` or the likeliest defect type, or None where the family names none.
        class_names: Defect types by label of `regions`.
        heat_map_range: Scores at the ends of the heat map's colors, one range for the whole run.
        image_rgb: The image, uint8 (H, W, 3).

    Example:
        >>> import defectune as dt, numpy as np
        >>> gray = np.full((64, 64), 128, np.uint8)
        >>> verdict = dt.Run("out/runs/quick").predict(gray, device="cpu")
        >>> verdict.heat_map.shape
        (64, 64)
    """

    class_names: tuple[str, ...]
    heat_map_range: tuple[float, float]
    image_rgb: npt.NDArray[np.uint8] = field(repr=False)

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
            name=self.name,
        )

    def __repr__(self) -> str:
        word = "defective" if self.defective else "good"
        sign = ">=" if self.defective else "<"
        found = "" if self.regions is None else f", {len(self.regions)} region(s)"
        return f"Verdict({self.name!r}: {word}, {self.score:.3f} {sign} {self.threshold:g}{found})"

    def _repr_png_(self) -> bytes:
        from annotations.images import encode_png

        return encode_png(self.draw())
