"""One training job: run folder, folds, predictions of the test images. Shared by all families."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import yaml

from annotations import (
    Dataset,
    FoldThresholds,
    InputError,
    OutputExistsError,
    Prediction,
    PredictionWriter,
    SplitMismatchError,
    TrainingError,
    UsageError,
)
from annotations.errors import shortened
from annotations.files import (
    PARTIAL,
    own_folder,
    refuse_links_in,
    remove_tree,
    write_json_atomic,
    write_text_atomic,
)
from annotations.images import read_image_rgb, sha256_of
from annotations.locks import LOCK_FILE, hold_lock
from annotations.run_digests import model_files
from annotations.run_files import CONFIG_FILE, RUNS_FOLDER, TIMING_FILE, fold_folder
from annotations.scores import RawScore
from training.configs import FamilyConfig
from training.device import keep_freed_memory
from training.reporter import Reporter
from training.stored_runs import finished_folds, read_run_config

RANDOM_WEIGHTS: Final = " (random weights)"
"""What a model's name ends in that began with none."""
DATA_FOLDER: Final = "data"
"""Of a fold: what a detector learns from, pictures as links."""
STATES: Final = ("checkpoints", DATA_FOLDER, "features", "saved", "state.pt", "ultralytics/weights")
"""Of a fold: what an interrupted training goes on from, of all families."""


class Predictor(Protocol):
    """A trained model that looks at one image at a time."""

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Predict one image, uint8 (H, W, 3), at native size; the score is not calibrated."""
        ...


@runtime_checkable
class CrossFitted(Protocol):
    """A model that was also fitted to images that it is to be judged on.

    Attributes:
        held_out_scores: raw scores of images of the training side, by id, each by a fit without
            it.
    """

    held_out_scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Start:
    """An older run whose weights folds begin with; see `training.start.start_from`.

    Attributes:
        run: its folder.
        digest: SHA-256 over its models and predictions.
        dataset: as it was when the run was trained.
        random: whether that run began with random weights.
    """

    run: Path
    digest: str
    dataset: Dataset
    random: bool


@dataclass(frozen=True, slots=True)
class FoldJob:
    """What a family gets to train one fold.

    Attributes:
        dataset: the converted dataset.
        fold: number of the fold.
        folder: where weights and logs of this fold go; exists.
        reporter: for progress.
        start: run whose model of this fold is to begin with; None begins with pretrained weights.
    """

    dataset: Dataset
    fold: int
    folder: Path
    reporter: Reporter
    start: Start | None = None


TrainFold = Callable[[FoldJob], tuple[Predictor, FoldThresholds]]


def run_folder(dataset: Dataset, name: str) -> Path:
    """Where a run of a dataset stands.

    Raises:
        UsageError: a name that is not a plain folder name.
    """
    if not name or name != Path(name).name or name.startswith(".") or "\0" in name:
        raise UsageError(f"--name takes a plain name without folders, got {shortened(name)!r}.")
    return dataset.root / RUNS_FOLDER / name


def _being_trained(run: Path, who: str) -> TrainingError:
    return TrainingError(
        f"The run {run} is being trained already{who}. Two trainings of one run would spoil each "
        "other's files: wait until that one has ended, or train under another --name."
    )


def remove_leftovers(run: Path) -> None:
    """Remove what killed trainings left: half-written files, and what finished folds need no more.

    Only whoever holds the run's lock may call it: nobody else is writing then.
    """
    for folder, _, names in os.walk(run):
        for name in names:
            if name.endswith(PARTIAL):
                Path(folder, name).unlink(missing_ok=True)
    for fold in finished_folds(run):
        for name in STATES:
            place = fold_folder(run, fold) / name
            if place.is_dir():
                remove_tree(place)
            else:
                place.unlink(missing_ok=True)


def open_run(
    dataset: Dataset,
    name: str,
    *,
    family: str,
    config: FamilyConfig,
    start: Start | None = None,
) -> Path:
    """Make a run folder, or open one that was begun with the same settings.

    Raises:
        UsageError: a name that is not a plain folder name.
        OutputExistsError: a run of this name with other settings.
        SplitMismatchError: a run of this name under another split.
    """
    run = run_folder(dataset, name)
    document: dict[str, Any] = {
        "family": family,
        "split_digest": dataset.split.digest,
        "class_names": list(dataset.class_names),
        "bit_depth": dataset.bit_depth,
        "config": config.model_dump(mode="json"),
    }
    if start is not None:
        document["from"] = {"run": start.run.name, "digest": start.digest}
    path = run / CONFIG_FILE
    if path.is_file():
        before = read_run_config(run)
        if before["split_digest"] != document["split_digest"]:
            raise SplitMismatchError(
                f"The run {run} belongs to another split of the data. Use another --name."
            )
        if before != document:
            changed = sorted(
                key
                for key in {*before["config"], *config.model_dump()}
                if before["config"].get(key) != document["config"].get(key)
            )
            changed += ["--from"] * (before.get("from") != document.get("from"))
            raise OutputExistsError(
                f"The run {run} was begun with other settings "
                f"({', '.join(changed) or 'another family'}). Use another --name, or the "
                f"settings in {path} to go on with it."
            )
        return run
    if run.exists() and any(path.name != LOCK_FILE for path in run.iterdir()):
        raise OutputExistsError(f"{run} holds something that is not a run. Use another --name.")
    write_text_atomic(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return run


def require_images(dataset: Dataset, folds: Iterable[int]) -> None:
    """Refuse images that are gone or were replaced since conversion.

    Raises:
        InputError: names the first ones and says how many there are.
    """
    ids: set[str] = set()
    for fold in folds:
        parts = dataset.split.folds[fold]
        ids.update(parts.train, parts.val, parts.test)
    gone, changed = [], []
    for sample in dataset.select(sorted(ids)):
        if not sample.image_path.is_file():
            gone.append(sample)
        elif sha256_of(sample.image_path) != sample.sha256:
            changed.append(sample)
    for samples, what in ((gone, "are gone"), (changed, "were replaced")):
        if samples:
            some = ", ".join(str(s.image_path) for s in samples[:3])
            raise InputError(
                f"{len(samples)} of {len(ids)} images of {dataset.root} {what} since conversion: "
                f"{some}{' …' if len(samples) > 3 else ''}. Restore them, or convert again into a "
                "new folder."
            )


def train_run(
    dataset: Dataset,
    name: str,
    *,
    family: str,
    model: str,
    config: FamilyConfig,
    folds: Iterable[int],
    train_fold: TrainFold,
    reporter: Reporter,
    start: Start | None = None,
) -> Path:
    """Train folds one after the other, and predict exactly the test images of each.

    Folds that have finished are skipped, so that an interrupted run goes on when called again.

    Returns:
        The run's folder.

    Raises:
        DefectuneError: see `open_run`, and what the family raises.
    """
    run = own_folder(run_folder(dataset, name).parent, name)
    # A detector's pictures are links of ours, in a folder that is made anew.
    passed = [fold_folder(run, n) / DATA_FOLDER for n in range(len(dataset.split.folds))]
    refuse_links_in(run, passed=passed)
    with hold_lock(run / LOCK_FILE, partial(_being_trained, run)):
        open_run(dataset, name, family=family, config=config, start=start)
        remove_leftovers(run)
        keep_freed_memory()
        folds = list(folds)
        require_images(dataset, [f for f in folds if f not in finished_folds(run)])
        for fold in folds:
            if fold in finished_folds(run):
                reporter.say(f"{name}: fold {fold} has finished before; skipped.")
                continue
            folder = own_folder(run, fold_folder(run, fold).name)
            began = time.perf_counter()
            predictor, thresholds = train_fold(FoldJob(dataset, fold, folder, reporter, start))
            trained = time.perf_counter()
            samples = dataset.select(dataset.split.folds[fold].test)
            n_validation = len(dataset.split.folds[fold].val)
            advance = reporter.track(
                f"{name}: fold {fold}, test and validation images", len(samples) + n_validation
            )
            about: dict[str, Any] = {
                "family": family,
                "model": model,
                "class_names": list(dataset.class_names),
            }
            if start is not None:
                about["model"] = model.removesuffix(RANDOM_WEIGHTS) + RANDOM_WEIGHTS * start.random
                about["notes"] = [
                    f"Each fold began with the weights of {start.run.name} ({start.digest[:12]}…)."
                ]
            model_of_fold = model_files(folder)
            with PredictionWriter(run, dataset, fold, thresholds, about, model_of_fold) as writer:
                for sample in samples:
                    image_rgb = read_image_rgb(sample.image_path)
                    writer.write(predictor.predict(sample.image_id, image_rgb))
                    advance("")
                predicted = time.perf_counter()
                # Kept for whoever chooses an operating point later, by costs of their own.
                held_out = predictor.held_out_scores if isinstance(predictor, CrossFitted) else {}
                parts = dataset.split.folds[fold]
                for image_id in (*parts.train, *parts.val):
                    if image_id in held_out:
                        writer.write_validation(image_id, RawScore(held_out[image_id]))
                for sample in dataset.select(parts.val):
                    if sample.image_id not in held_out:
                        image_rgb = read_image_rgb(sample.image_path)
                        score = predictor.predict(sample.image_id, image_rgb).image_score
                        writer.write_validation(sample.image_id, score)
                    advance("")
            timing = {
                "training_s": round(trained - began, 2),
                "predicting_s_per_image": round((predicted - trained) / max(len(samples), 1), 4),
            }
            write_json_atomic(folder / TIMING_FILE, timing)
            remove_leftovers(run)
    return run
