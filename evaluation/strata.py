"""What metrics are told apart by, beside the defect type: size and source.

Defect sizes are three classes by the part of the image that a true region covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations import Dataset

SIZE_NAMES: Final = ("small", "medium", "large")


@dataclass(frozen=True, slots=True)
class SizeClass:
    """Regions that cover at least `low` and less than `high` of their image.

    Attributes:
        name: small, medium or large.
        low: part of the image, from 0.
        high: part of the image; above 1 for the last class.
    """

    name: str
    low: float
    high: float

    def holds(self, fractions: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which of the parts of an image belong here: bool like the argument."""
        return (fractions >= self.low) & (fractions < self.high)

    def to_json(self) -> dict[str, Any]:
        """As leaderboard.json holds it."""
        return {"name": self.name, "low": self.low, "high": min(self.high, 1.0)}


def size_classes(dataset: Dataset) -> tuple[SizeClass, ...]:
    """Terciles of the area of all true regions that the split ever evaluates.

    Fixed bounds would leave classes empty on most products: scratches of one are a hundredth of
    another's. The bounds are those of the whole data set, so that one fold is cut as all are.

    Returns:
        Three classes from 0 up, of about as many regions each; equal areas stay together. Empty
        without a true region.
    """
    parts = [region_fractions(dataset, image_id) for image_id in dataset.split.test_ids]
    fractions = np.concatenate(parts) if parts else np.zeros(0)
    if not len(fractions):
        return ()
    first, second = (float(v) for v in np.quantile(fractions, [1 / 3, 2 / 3], method="higher"))
    bounds = (0.0, first, second, 2.0)
    return tuple(
        SizeClass(name, low, high)
        for name, low, high in zip(SIZE_NAMES, bounds[:-1], bounds[1:], strict=True)
    )


def source_names(dataset: Dataset) -> tuple[str, ...]:
    """Sources of the test images, sorted; empty for a dataset that is made of one.

    They are those of all test images, so that one fold is told apart as all are.
    """
    names = {dataset.by_id[image_id].origin for image_id in dataset.split.test_ids}
    several = any(sample.source for sample in dataset.samples)
    return tuple(sorted(names)) if several and len(names) > 1 else ()


def region_fractions(dataset: Dataset, image_id: str) -> npt.NDArray[np.float64]:
    """Part of the image that each true region covers: float64 (n,)."""
    truth = dataset.truths[image_id]
    return truth.areas / float(np.prod(truth.image_hw))


def image_size(dataset: Dataset, image_id: str, sizes: Sequence[SizeClass]) -> str | None:
    """Size class of an image's largest true region; None without one."""
    fractions = region_fractions(dataset, image_id)
    if not len(fractions):
        return None
    largest = np.array([fractions.max()])
    return next((size.name for size in sizes if size.holds(largest)[0]), None)
