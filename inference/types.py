"""The likeliest class of a whole image."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from annotations.prediction import Prediction
from annotations.scores import RawScore
from inference.base import Arrays, ImageRgb, Network, Scorer
from inference.images import normalized, resize_square


class TypeScorer(Scorer):
    """Scores by the probability of any defect, and names the likeliest class.

    The network answers with probabilities float32 (n, classes), `good` being the first.
    """

    kind = "types"

    def __init__(
        self,
        network: Network,
        names: Sequence[str],
        *,
        image_size: int,
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> None:
        """Take a network, its classes, and its normalization."""
        self.network, self._names, self._side = network, tuple(names), image_size
        self._mean, self._deviation = tuple(mean), tuple(deviation)

    @property
    def example_hw(self) -> tuple[int, int]:
        """The square."""
        return self._side, self._side

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Score and type of one image, uint8 (H, W, 3)."""
        small = resize_square(image_rgb, self._side)
        chances = self.network(normalized(small, self._mean, self._deviation)[None])[0][0]
        named = self._names[int(chances.argmax())]
        return Prediction(image_id, RawScore(float(1 - chances[0])), predicted_type=named)

    def recipe(self) -> dict[str, Any]:
        """Settings."""
        return {
            "image_size": self._side,
            "mean": list(self._mean),
            "deviation": list(self._deviation),
            "names": list(self._names),
        }

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make it again."""
        del arrays
        return cls(
            network,
            [str(name) for name in recipe["names"]],
            image_size=int(recipe["image_size"]),
            mean=[float(v) for v in recipe["mean"]],
            deviation=[float(v) for v in recipe["deviation"]],
        )
