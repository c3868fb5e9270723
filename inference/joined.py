"""Several segmenters as one: the mean of their calibrated log odds, of images and of pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from annotations.prediction_files import FoldThresholds
from annotations.scores import RawScore
from inference.base import Arrays, ImageRgb, Network
from inference.masks import Look, SegmentPredictor
from inference.thresholds import from_log_odds, log_odds

LIMIT: Final = 8.0
"""Log odds beyond which all count as this: no member is surer than one in three thousand."""
_TINY: Final = 1e-6

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class JoinedMember:
    """A segmenter and what it counts for.

    Attributes:
        name: of the run that it is of.
        thresholds: its own; scores and maps are shifted so that these lie at log odds of 0.
        image_weight: of its image score, from 0; those of all members add up to 1.
        map_weight: of its map; likewise.
        scorer: the segmenter; None where only looks are joined.
    """

    name: str
    thresholds: FoldThresholds
    image_weight: float
    map_weight: float
    scorer: SegmentPredictor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # Also refuses what is no number.
        if not (0 <= self.image_weight <= 1 and 0 <= self.map_weight <= 1):
            raise ValueError(
                f"a member's weights should be 0 to 1, got {self.image_weight} and "
                f"{self.map_weight}"
            )

    @property
    def counts(self) -> bool:
        """Whether it has any weight."""
        return self.image_weight > 0 or self.map_weight > 0


def image_log_odds(thresholds: FoldThresholds, raw_score: float) -> float:
    """Log odds of an image's calibrated score, 0 at the threshold, within `LIMIT`."""
    score = thresholds.calibrate(RawScore(raw_score))
    return float(np.clip(log_odds([score], tiny=_TINY)[0], -LIMIT, LIMIT))


def map_log_odds(thresholds: FoldThresholds, defect: Maps) -> Maps:
    """Log odds of a map (h, w) of probabilities, 0 at the region threshold, within `LIMIT`."""
    shift = log_odds([thresholds.region_threshold], tiny=_TINY)[0]
    return np.asarray(np.clip(log_odds(defect, tiny=_TINY) - shift, -LIMIT, LIMIT), np.float32)


def join_looks(
    members: Sequence[JoinedMember],
    looks: Sequence[Look],
    image_odds: Sequence[float] | None = None,
) -> Look:
    """What members see, as one.

    Args:
        members: one or more.
        looks: of each of them, at sizes of their own.
        image_odds: of each of them, in place of those of the looks' scores.

    Returns:
        At the size of the largest map. Its defect probability is that of the weighted mean of
        `map_log_odds`, its types are the weighted mean of the members' shares, and its score is
        that of the weighted mean of `image_log_odds`.
    """
    height, width = max((seen.probabilities.shape[1:] for seen in looks), key=np.prod)
    if image_odds is None:
        image_odds = [
            image_log_odds(member.thresholds, seen.image_score)
            for member, seen in zip(members, looks, strict=True)
        ]
    weights = [member.image_weight for member in members]
    score = float(np.dot(weights, image_odds))
    odds = np.zeros((height, width), np.float32)
    types: Maps | None = None
    for member, seen in zip(members, looks, strict=True):
        if member.map_weight == 0:
            continue
        maps = seen.probabilities
        if maps.shape[1:] != (height, width):
            maps = np.stack([cv2.resize(one, (width, height)) for one in maps])
        defect = np.asarray(1 - maps[0], np.float32)
        odds += np.float32(member.map_weight) * map_log_odds(member.thresholds, defect)
        share = maps[1:] * (np.float32(member.map_weight) / np.maximum(defect, np.float32(_TINY)))
        types = np.asarray(share if types is None else types + share, np.float32)
    if types is None:
        raise ValueError("One member's map has to count.")
    defect = np.asarray(1 / (1 + np.exp(-odds)), np.float32)
    shares = types / np.maximum(types.sum(axis=0), _TINY)
    joint = np.concatenate([1 - defect[None], shares * defect])
    return Look(np.asarray(joint, np.float32), from_log_odds(score))


class JoinedMasks(SegmentPredictor):
    """Segmenters whose looks are joined.

    Attributes:
        members: what is joined; those without any weight are not asked.
    """

    kind: ClassVar[str] = "joined-masks"

    def __init__(
        self,
        members: Sequence[JoinedMember],
        *,
        region_threshold: float = 0.5,
        min_area_fraction: float = 2e-5,
    ) -> None:
        """Take members with their scorers.

        Raises:
            ValueError: none that counts, or one without its scorer.
        """
        self.members = tuple(member for member in members if member.counts)
        scorers = [member.scorer for member in self.members if member.scorer is not None]
        if not scorers or len(scorers) < len(self.members):
            raise ValueError("A joined segmenter needs members, each with its scorer.")
        super().__init__(
            scorers[0].network,
            image_size=max(scorers[0].example_hw),
            views=1,
            tiles=1,
            region_threshold=region_threshold,
            min_area_fraction=min_area_fraction,
        )
        self.parts = self._scorers = scorers

    def _own_recipe(self) -> dict[str, Any]:
        return {
            "members": [
                {
                    "name": member.name,
                    "image_weight": member.image_weight,
                    "map_weight": member.map_weight,
                    "thresholds": member.thresholds.to_json(),
                }
                for member in self.members
            ]
        }

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """A joined segmenter is no single network.

        Raises:
            ValueError: always; see `join`.
        """
        del recipe, arrays, network
        raise ValueError("a joined model is made of the models that it joins")

    @classmethod
    def join(cls, recipe: Mapping[str, Any], parts: Sequence[SegmentPredictor]) -> Self:
        """Make it again of the recipe and its parts, in their order.

        Raises:
            KeyError, TypeError, ValueError: they are not those of a joined segmenter.
        """
        members = [
            JoinedMember(
                str(one["name"]),
                FoldThresholds.from_json(one["thresholds"]),
                float(one["image_weight"]),
                float(one["map_weight"]),
                scorer,
            )
            for one, scorer in zip(recipe["members"], parts, strict=True)
        ]
        return cls(
            members,
            region_threshold=float(recipe["region_threshold"]),
            min_area_fraction=float(recipe["min_area_fraction"]),
        ).group_by(recipe)

    def look(self, image_rgb: ImageRgb) -> Look:
        """What the members see, as one."""
        return join_looks(self.members, [scorer.look(image_rgb) for scorer in self._scorers])
