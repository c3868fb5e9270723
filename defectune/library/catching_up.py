"""Predictions of test images that came to a dataset after a run was trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from annotations import Dataset, InputError
from annotations.files import own_folder
from annotations.images import read_image_rgb
from annotations.later import Catching, Later, catching
from annotations.locks import LOCK_FILE, hold_lock
from annotations.run_files import LATER_FOLDER

if TYPE_CHECKING:
    from training import Reporter


def catch_up(dataset: Dataset, runs: Sequence[Path], *, reporter: "Reporter") -> None:
    """Predict what runs of earlier versions have not predicted; others are passed over.

    Every prediction is kept the moment it is made, so that a killed call goes on.

    Args:
        dataset: as it is now.
        runs: folders.
        reporter: for progress.

    Raises:
        InputError: a test image that all models learned from, a model that is gone, or another
            call that predicts for the run at this moment.
        SplitMismatchError: a run of no version of this dataset.
        ImageReadError: an image cannot be read.
    """
    plans = [plan for plan in (catching(run, dataset) for run in runs) if plan is not None]
    for plan in plans:
        # All that can be refused is refused before the first model is opened.
        plan.require_no_leak()
    for plan in plans:
        reporter.say(f"{plan.run.name}: {plan.notes[0]}")
        if Later.open(plan.run).missing(plan):
            folder = own_folder(plan.run, LATER_FOLDER)
            with hold_lock(folder / LOCK_FILE, lambda who, plan=plan: _busy(plan, who)):  # type: ignore[misc]
                _predict(plan, reporter)


def _busy(plan: Catching, who: str) -> InputError:
    return InputError(
        f"Another call predicts new images with the run {plan.run} at this moment{who}. Wait for "
        "it."
    )


def _predict(plan: Catching, reporter: "Reporter") -> None:
    from defectune.families import open_predictor

    later = Later.open(plan.run)
    missing = later.missing(plan)
    advance = reporter.track(f"{plan.run.name}: images that came later", len(missing))
    for number in sorted({number for _, number in missing}):
        predictor = open_predictor(plan.run, number, device="auto")
        for image_id in (image_id for image_id, of in missing if of == number):
            sample = plan.dataset.by_id[image_id]
            prediction = predictor.predict(image_id, read_image_rgb(sample.image_path))
            later.add(
                plan.path,
                sample,
                number,
                plan.stored.folds[number],
                prediction,
                whole=number == plan.models[image_id][0],
            )
            advance("")
