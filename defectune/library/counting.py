"""Which verdicts an acceptance may count: out of fold, at thresholds not chosen on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import Dataset, InputError, StoredPredictions, UsageError, read_predictions
from annotations.dataset import COCO_ALL
from annotations.errors import SplitMismatchError
from annotations.files import read_json
from annotations.images import sha256_of
from annotations.prediction_files import THRESHOLD
from annotations.run_digests import run_problems
from annotations.run_files import (
    CONFIG_FILE,
    LEADERBOARD_FILE,
    meta_path,
)
from defectune.library.arguments import Place, as_path
from defectune.library.run import Run
from defectune.runs import find_run, operating_threshold

if TYPE_CHECKING:
    from training import Reporter


@dataclass(frozen=True)
class Counted:
    """Which verdicts are counted, at which threshold.

    Attributes:
        predictions: of a run.
        thresholds: by fold.
        chosen: by whom, by which rule and on which images they were chosen.
        bundle: what was looked at again, where a bundle is accepted.
    """

    predictions: StoredPredictions
    thresholds: Mapping[int, float]
    chosen: Mapping[str, Any]
    bundle: Mapping[str, Any] | None


def require_labels_unchanged(dataset: Dataset) -> None:
    """Labels are the truth of every figure: refuse those that were edited by hand."""
    from converters.manifest import MANIFEST

    path = dataset.root / MANIFEST
    listed = read_json(path, what="the digests of a converted dataset")
    digests = listed.get("sha256") if isinstance(listed, dict) else None
    digest = digests.get(COCO_ALL.as_posix()) if isinstance(digests, dict) else None
    if digest != sha256_of(dataset.root / COCO_ALL):
        raise InputError(
            f"{dataset.root / COCO_ALL} was changed after conversion (another SHA-256 than in "
            f"{path}): what is counted would not be what was converted. Restore it, or convert "
            "again."
        )


def counted_verdicts(
    data: Dataset, run: Run | Place, *, operating_point: bool, reporter: "Reporter"
) -> Counted:
    """The verdicts that are counted, each out of fold, or why they cannot be had.

    Raises:
        InputError: no such run; thresholds of which nobody knows what they were chosen on; a run
            that was changed; a bundle whose model has seen the test images, or says otherwise.
    """
    place = run.path if isinstance(run, Run) else as_path(run, what="run")
    if place.is_file():
        if operating_point:
            raise UsageError(
                "--operating-point is of a run; a bundle has the threshold that it was made with."
            )
        return _counted_of_bundle(data, place, reporter)
    stored = out_of_fold(find_run(place, data.root), data)
    chosen: dict[str, Any] = {
        "by": "training",
        "rule": "the thresholds that training chose",
        "chosen_on": {str(fold): part.chosen_on for fold, part in sorted(stored.folds.items())},
    }
    thresholds = {fold: float(THRESHOLD) for fold in stored.folds}
    if operating_point:
        digest = data.split.digest
        thresholds = {
            f: operating_threshold(stored.run, f, split_digest=digest) for f in stored.folds
        }
        point = read_json(data.root / LEADERBOARD_FILE, what="the leaderboard")["operating_point"]
        mine = next(row for row in point["runs"] if row["run"] == stored.name)
        chosen = {
            "by": "evaluate",
            "rule": str(point.get("rule")),
            "chosen_on": {"all folds": str(mine.get("validation"))},
        }
    return Counted(stored, thresholds, chosen, None)


def out_of_fold(run: Path, data: Dataset) -> StoredPredictions:
    """Verdicts of a run on test images, none of which its threshold was chosen on.

    Raises:
        InputError: there are none, nobody knows what their threshold was chosen on, or the run
            was changed after training.
    """
    stored = read_predictions(run, data)
    if stored.no_threshold:
        raise InputError(
            f"The run {run} has no verdicts: {stored.no_threshold}. Give scores of the split's "
            "validation images with the predictions (validation.csv)."
        )
    if stored.given_threshold:
        raise InputError(
            f"The threshold of {run} came with its predictions, and nobody here knows which "
            "images it was chosen on: chosen on those that are counted, it would prove nothing. "
            "Give scores of the split's validation images (validation.csv) in place of a threshold."
        )
    if meta_path(run).is_file() and (run / CONFIG_FILE).is_file():
        problems, _ = run_problems(run, data)
        if problems:
            raise InputError(f"{run} cannot be counted as it is: {problems[0]}")
    return stored


def _counted_of_bundle(data: Dataset, place: Path, reporter: "Reporter") -> Counted:
    from deployment import open_bundle
    from deployment.checking import check_bundle

    opened = open_bundle(place)
    if opened.document["split_digest"] != data.split.digest:
        raise SplitMismatchError(
            f"{place} was made of a run under another split than {data.root}. Accept it on the "
            "dataset that it was trained on."
        )
    if opened.refitted:
        raise InputError(
            f"The model of {place} has learnt from the test images (--models refit), so that no "
            "image is left to count. Accept the run that it was made of, or photograph new parts."
        )
    stored = out_of_fold(find_run(opened.run, data.root), data)
    total = sum(len(data.split.folds[f].test) for f in opened.folds if f < len(data.split.folds))
    check = check_bundle(opened, data, advance=reporter.track(place.name, total))
    limit = opened.threshold
    flips = [
        one.image_id
        for one in check.images
        if (stored.image_scores[one.image_id] >= limit)
        != (stored.image_scores[one.image_id] + one.score >= limit)
    ]
    if flips:
        raise InputError(
            f"{place} says otherwise than the run {stored.name} of {len(flips)} test images "
            f"({', '.join(flips[:3])}{' …' if len(flips) > 3 else ''}). It is no bundle of the run "
            "as it is now: make it again."
        )
    kept = {i: s for i, s in stored.image_scores.items() if stored.fold_of[i] in opened.folds}
    from dataclasses import replace

    chosen = {
        "by": "the bundle",
        "rule": opened.chosen_by,
        "chosen_on": {str(f): stored.folds[f].chosen_on for f in opened.folds},
    }
    about = {
        "file": place.name,
        "digest": opened.digest,
        "folds": list(opened.folds),
        "images_predicted_again": len(check.images),
        "other_verdicts": 0,
        "note": check.note,
    }
    return Counted(
        replace(stored, image_scores=kept), dict.fromkeys(opened.folds, limit), chosen, about
    )
