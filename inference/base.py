"""`Scorer`: all of a model but its network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction

ImageRgb = npt.NDArray[np.uint8]
Batch = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[np.generic]]


class Network(Protocol):
    """What a scorer asks: torch's or ONNX Runtime's."""

    def __call__(self, batch: Batch) -> Sequence[npt.NDArray[np.float32]]:
        """Answer to float32 (n, 3, h, w), the outputs in the order of the graph."""
        ...


class Scorer(ABC):
    """Scores one image at a time through a network.

    Attributes:
        kind: names the class in a bundle.
        free_sides: whether images of several sizes are shown to the network.
        network: what is asked.
        parts: scorers that it asks in turn, where it is several as one.
    """

    kind: ClassVar[str]
    free_sides: ClassVar[bool] = False
    network: Network
    parts: "Sequence[Scorer]" = ()

    @abstractmethod
    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Predict one image, uint8 (H, W, 3), at its own size; the score is not calibrated."""

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """All settings that decide a prediction, as JSON holds them."""

    def arrays(self) -> Arrays:
        """All arrays that decide a prediction, beside the network."""
        return {}

    @classmethod
    @abstractmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make a scorer from what `recipe` and `arrays` gave.

        Raises:
            KeyError, TypeError, ValueError: they are not those of such a scorer.
        """

    @property
    @abstractmethod
    def example_hw(self) -> tuple[int, int]:
        """Height and width of an image as the network gets to see it."""
