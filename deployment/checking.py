"""Does a bundle say what its run said? Every test image is predicted again and compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from annotations.dataset import Dataset
from annotations.errors import InputError, SplitMismatchError
from annotations.images import read_image_rgb
from annotations.later import read_predictions
from annotations.prediction import Prediction
from annotations.prediction_files import THRESHOLD
from annotations.regions import Regions
from annotations.run_files import RUNS_FOLDER
from annotations.store import StoredPredictions
from deployment.bundle import Bundle
from inference.base import ImageRgb
from inference.decision import Decision, decide

SAME_REGION: float = 0.5
"""Boxes of one type that overlap by this intersection over union are one region."""


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """One image, predicted twice.

    Attributes:
        image_id: of the image.
        score: calibrated score of the bundle, less the stored one.
        flipped: the verdicts differ.
        lost: stored regions that the bundle does not find.
        won: regions that the bundle finds and the run did not.
        heat_map: largest difference of the maps, as a part of the run's range of maps; None
            without maps.
    """

    image_id: str
    score: float
    flipped: bool
    lost: int
    won: int
    heat_map: float | None


@dataclass(frozen=True)
class BundleCheck:
    """What `check_bundle` found.

    Attributes:
        images: one entry for each image that was compared.
        note: what was compared, as a text.
    """

    images: tuple[ImageDifference, ...]
    note: str

    @property
    def flips(self) -> tuple[str, ...]:
        """Images with another verdict."""
        return tuple(one.image_id for one in self.images if one.flipped)

    @property
    def largest_score_difference(self) -> float:
        """On the calibrated scale, from 0 up."""
        return max((abs(one.score) for one in self.images), default=0.0)

    @property
    def lost(self) -> int:
        """Stored regions that the bundle does not find."""
        return sum(one.lost for one in self.images)

    @property
    def won(self) -> int:
        """Regions that the run did not find."""
        return sum(one.won for one in self.images)

    @property
    def largest_map_difference(self) -> float | None:
        """As a part of the run's range of maps; None without maps."""
        found = [one.heat_map for one in self.images if one.heat_map is not None]
        return max(found) if found else None


class Reference(Protocol):
    """The model that a bundle was made of."""

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Predict one image, uint8 (H, W, 3)."""
        ...


def check_bundle(
    bundle: Bundle,
    dataset: Dataset,
    *,
    reference: Reference | None = None,
    advance: Callable[[str], None] = lambda _note: None,
) -> BundleCheck:
    """Predict every test image with the model that predicted it in training, and compare.

    Of an ensemble, each model is compared on its own fold's test images. The mean of the models
    has no stored counterpart: the other models have learned from every image but their own folds'.

    Args:
        bundle: an opened one.
        dataset: that the run was trained on.
        reference: of a refitted bundle, the model that it was made of; its run stored no
            predictions, since it has no test images.
        advance: called once for each image.

    Raises:
        SplitMismatchError: the bundle belongs to another split.
        InputError: the run is not there, or its predictions are damaged.
    """
    if bundle.document["split_digest"] != dataset.split.digest:
        raise SplitMismatchError(
            f"{bundle.path} was made of a run under another split than {dataset.root}. Check it "
            "against the dataset that it was trained on."
        )
    run = dataset.root / RUNS_FOLDER / bundle.run
    if not run.is_dir():
        raise InputError(
            f"{bundle.path} was made of the run {run.name}, which {dataset.root} does not have: "
            "there is nothing to compare with."
        )
    stored = read_predictions(run, dataset)
    missing = sorted(set(bundle.folds) - set(stored.folds))
    if missing and reference is None:
        raise InputError(f"{run} has no predictions of fold {missing[0]}; train it again.")
    low, high = stored.score_range
    span = (high - low) or 1.0
    found = []
    for member in bundle.members:
        ids = dataset.split.folds[member.fold].test
        for image_id in dataset.split.test_ids if reference is not None else ids:
            image_rgb = read_image_rgb(dataset.by_id[image_id].image_path)
            got = decide(member.scorer.predict(image_id, image_rgb), member.thresholds, THRESHOLD)
            if reference is None:
                expected = _stored(stored, image_id)
            else:
                said = reference.predict(image_id, image_rgb)
                expected = decide(said, member.thresholds, THRESHOLD)
            lost, won = _unmatched(expected.regions, got.regions)
            away = _map_difference(expected.heat_map, got.heat_map)
            found.append(
                ImageDifference(
                    image_id,
                    got.score - expected.score,
                    got.defective != expected.defective,
                    lost,
                    won,
                    None if away is None else away / span,
                )
            )
            advance("")
    return BundleCheck(tuple(found), _note(bundle))


def _stored(stored: StoredPredictions, image_id: str) -> Decision:
    """What the run said of an image; its map only where one was stored, and not drawn boxes."""
    return Decision(
        image_id,
        stored.image_scores[image_id],
        THRESHOLD,
        stored.found_regions(image_id),
        stored.pixel_scores(image_id) if image_id in stored.map_ranges else None,
        None,
    )


def _note(bundle: Bundle) -> str:
    folds = ", ".join(map(str, bundle.folds))
    if bundle.refitted:
        return (
            "All test images of the split were compared with the refitted model itself, which has "
            "learned from them: the comparison proves the export, and say nothing of new images."
        )
    if len(bundle.members) == 1:
        return f"The test images of fold {folds} were compared with the run's stored predictions."
    return (
        f"Each of the models of the folds {folds} was compared on its own fold's test images. The "
        "mean of their scores, by which the bundle decides, has no stored counterpart: the other "
        "models have learned from those images."
    )


def _map_difference(
    expected: npt.NDArray[np.floating] | None, got: npt.NDArray[np.floating] | None
) -> float | None:
    if expected is None or got is None:
        return None
    return float(np.abs(got - expected).max())


def _unmatched(stored: Regions | None, got: Regions | None) -> tuple[int, int]:
    """Stored regions without a partner, and new ones without."""
    if stored is None or got is None:
        return 0, 0
    free = set(range(len(got)))
    lost = 0
    for box, label in zip(stored.boxes_xyxy, stored.labels.tolist(), strict=True):
        overlaps = {n: _iou(box, got.boxes_xyxy[n]) for n in free if got.labels[n] == label}
        best = max(overlaps, key=lambda n: overlaps[n], default=None)
        if best is None or overlaps[best] < SAME_REGION:
            lost += 1
        else:
            free.remove(best)
    return lost, len(free)


def _iou(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    common = float(sides.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - common
    return common / union if union > 0 else 0.0
