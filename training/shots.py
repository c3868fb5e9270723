"""Fewer defects on purpose: how good is a model that has seen only so many?"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

from annotations import Dataset, Sample


class ShotSettings(Protocol):
    """What of a family's settings says which defective images are learned from."""

    @property
    def shots_per_type(self) -> int | None:
        """Of each type; None for all."""

    @property
    def seed(self) -> int:
        """Of the choice."""


def limit_defects(samples: Sequence[Sample], per_type: int | None, *, seed: int) -> list[Sample]:
    """All good samples, and at most `per_type` defective ones of each type.

    Which ones depends on the seed and the ids alone; those chosen for a smaller number are among
    those for a larger one, so that a curve over numbers adds images and exchanges none.

    Args:
        samples: of one side of a fold.
        per_type: None for all.
        seed: of the choice.

    Returns:
        Samples in the order given.
    """
    if per_type is None:
        return list(samples)
    by_type: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.is_defective:
            by_type.setdefault(sample.defect_type, []).append(sample)
    chosen = {
        sample.image_id
        for group in by_type.values()
        for sample in sorted(group, key=lambda s: _key(s, seed))[:per_type]
    }
    return [s for s in samples if not s.is_defective or s.image_id in chosen]


def select_limited(dataset: Dataset, ids: Sequence[str], config: ShotSettings) -> list[Sample]:
    """Samples of one side of a fold, by id, as few as the settings say; see `limit_defects`."""
    return limit_defects(dataset.select(ids), config.shots_per_type, seed=config.seed)


def _key(sample: Sample, seed: int) -> str:
    return hashlib.sha256(f"{seed}\x00shots\x00{sample.image_id}".encode()).hexdigest()
