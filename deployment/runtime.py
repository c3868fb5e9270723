"""The models of a bundle as one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction
from annotations.prediction_files import THRESHOLD, FoldThresholds
from annotations.regions import Regions
from annotations.scores import RawScore
from inference.base import ImageRgb, Scorer
from inference.boxes import BoxScorer
from inference.distances import DistanceScorer
from inference.joined import JoinedMasks
from inference.masks import FittedMaskScorer, Look, MaskScorer, SegmentPredictor
from inference.patches import PatchScorer
from inference.reconstruction import ErrorScorer
from inference.types import TypeScorer
from inference.views import fuse_boxes

SCORERS: Final[Mapping[str, type[Scorer]]] = {
    kind.kind: kind
    for kind in (
        BoxScorer,
        DistanceScorer,
        ErrorScorer,
        FittedMaskScorer,
        JoinedMasks,
        MaskScorer,
        PatchScorer,
        TypeScorer,
    )
}


@dataclass(frozen=True)
class Member:
    """One fold's model.

    Attributes:
        fold: its number.
        scorer: the model.
        thresholds: chosen on its own validation images.
    """

    fold: int
    scorer: Scorer
    thresholds: FoldThresholds


def joint_thresholds(each: Sequence[FoldThresholds], folds: Sequence[int]) -> FoldThresholds:
    """Of one model, its own; of several, those of the mean of their calibrated scores.

    Calibrated scores have their threshold at 0.5; regions of the joint map are cut at the mean of
    the models' thresholds.
    """
    if len(each) == 1:
        return each[0]
    return FoldThresholds(
        raw_threshold=THRESHOLD,
        scale="odds",
        region_threshold=float(np.mean([one.region_threshold for one in each])),
        chosen_on=f"the validation images of each of the folds {', '.join(map(str, folds))}",
        min_area_fraction=float(np.mean([one.min_area_fraction for one in each])),
        low_fraction=float(np.mean([one.low_fraction for one in each])),
        merge_fraction=float(np.mean([one.merge_fraction for one in each])),
    )


def predict_jointly(
    members: Sequence[Member], joint: FoldThresholds, image_id: str, image_rgb: ImageRgb
) -> Prediction:
    """What one model says, or several: the mean of their calibrated scores.

    Maps of probabilities are averaged and cut into regions once; maps of distances are averaged
    after each is scaled to a common threshold; boxes go through weighted boxes fusion; of types,
    the one most often named is taken, the earliest fold's among equals.
    """
    if len(members) == 1:
        return members[0].scorer.predict(image_id, image_rgb)
    first = members[0].scorer
    if isinstance(first, SegmentPredictor):
        return _joint_masks(members, joint, image_id, image_rgb)
    each = [member.scorer.predict(image_id, image_rgb) for member in members]
    scores = [m.thresholds.calibrate(p.image_score) for m, p in zip(members, each, strict=True)]
    types = Counter(p.predicted_type for p in each if p.predicted_type is not None)
    found = [p.regions for p in each if p.regions is not None]
    return Prediction(
        image_id,
        RawScore(float(np.mean(scores))),
        regions=_fused(found) if found else None,
        pixel_scores=_mean_map(members, each),
        predicted_type=types.most_common(1)[0][0] if types else None,
    )


def _joint_masks(
    members: Sequence[Member], joint: FoldThresholds, image_id: str, image_rgb: ImageRgb
) -> Prediction:
    total: npt.NDArray[np.float32] | None = None
    scores = []
    for member in members:
        seen = cast(SegmentPredictor, member.scorer).look(image_rgb)
        scores.append(member.thresholds.calibrate(RawScore(seen.image_score)))
        maps = seen.probabilities
        if total is None:
            total = maps.copy()
            continue
        if maps.shape != total.shape:
            # Folds may look through different numbers of tiles.
            size = (total.shape[2], total.shape[1])
            maps = np.stack([cv2.resize(one, size) for one in maps])
        total += maps
    if total is None:
        raise ValueError("A bundle needs a model.")
    look = Look(np.asarray(total / np.float32(len(members)), np.float32), float(np.mean(scores)))
    # Cuts by its own thresholds, so that the joint ones are lent to it.
    first = cast(SegmentPredictor, members[0].scorer)
    return first.prediction(
        image_id,
        look,
        (image_rgb.shape[0], image_rgb.shape[1]),
        region_threshold=joint.region_threshold,
        min_area_fraction=joint.min_area_fraction,
        low_fraction=joint.low_fraction,
        merge_fraction=joint.merge_fraction,
    )


def _mean_map(
    members: Sequence[Member], each: Sequence[Prediction]
) -> npt.NDArray[np.float32] | None:
    goal = float(np.mean([member.thresholds.raw_threshold for member in members]))
    maps = [
        p.pixel_scores * (goal / m.thresholds.raw_threshold if m.thresholds.scale == "ratio" else 1)
        for m, p in zip(members, each, strict=True)
        if p.pixel_scores is not None
    ]
    return np.asarray(np.mean(maps, axis=0), np.float32) if maps else None


def _fused(found: Sequence[Regions]) -> Regions:
    none = np.zeros(0, np.float32)
    joined = Regions(
        np.concatenate([one.boxes_xyxy for one in found]),
        None,
        np.concatenate([one.labels for one in found]),
        np.concatenate([none if one.scores is None else one.scores for one in found]),
        found[0].image_hw,
    )
    return fuse_boxes(joined, len(found))
