"""Learning by one of the methods, and predicting a fold's test images."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from annotations import (
    Dataset,
    FoldThresholds,
    InputError,
    Prediction,
    Sample,
    require_defects_in_training,
)
from annotations.files import write_bytes_atomic
from classify.config import ClassifyConfig
from classify.loop import remove_checkpoints
from classify.methods import method_named
from classify.methods.base import Arrays, Calibration, Lesson
from training import (
    FoldJob,
    Predictor,
    Reporter,
    fold_folder,
    read_run_config,
    resolve_device,
    seed_everything,
    train_run,
)

MODEL_FILE = "model.npz"


class _WithHeldOutScores:
    """A predictor, and scores of images that its model was fitted to by fits without them."""

    def __init__(self, predictor: Predictor, scores: Mapping[str, float]) -> None:
        self._predictor = predictor
        self.held_out_scores = dict(scores)

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        return self._predictor.predict(image_id, image_rgb)


def train_classifier(
    dataset: Dataset,
    config: ClassifyConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
) -> Path:
    """Learn on folds of a dataset and score their test images.

    Methods that do without defects learn, under every protocol, from the good images alone that
    the source gives for training.

    Returns:
        The run's folder.

    Raises:
        ProtocolError: the method needs defects, and the protocol keeps them out of training.
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        UsageError: an unknown model or method.
        InputError: too few training images.
    """
    kind = method_named(config.method)
    if kind.needs_defects:
        require_defects_in_training(dataset.split, family=f"classify --method {kind.name}")
    seed_everything(config.seed)
    method = kind(config, resolve_device(config.device))
    _say_if_enlarged(dataset.samples, config.image_size, reporter)
    learnt: dict[tuple[str, ...], tuple[Arrays, Calibration]] = {}

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        lesson = _lesson(job, name)
        key = method.key(lesson)
        # Folds of kfold share their good images, and so what is learnt from them.
        if key not in learnt:
            arrays = method.fit(lesson)
            learnt.clear()
            learnt[key] = arrays, method.calibrate(lesson, method.open(arrays))
        arrays, calibration = learnt[key]
        save_arrays(job.folder / MODEL_FILE, arrays)
        remove_checkpoints(job.folder)
        predictor = _WithHeldOutScores(method.open(arrays), calibration.held_out_scores)
        return predictor, calibration.thresholds

    return train_run(
        dataset,
        name,
        family="classify",
        model=method.described(),
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
    )


def _say_if_enlarged(samples: Sequence[Sample], side: int, reporter: Reporter) -> None:
    small = sum(min(sample.image_hw) < side for sample in samples)
    if small:
        reporter.say(f"{small} of {len(samples)} images are enlarged to {side} pixels.")


def _lesson(job: FoldJob, name: str) -> Lesson:
    fold = job.dataset.split.folds[job.fold]
    teaching = job.dataset.select(fold.train)
    validation = job.dataset.select(fold.val)
    return Lesson(job, name, _good(teaching), _good(validation), tuple(teaching), tuple(validation))


def _good(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Good images that the source gives for training."""
    return tuple(s for s in samples if not s.is_defective and s.source_split == "train")


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write what was learnt as plain arrays (no pickle)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read what `save_arrays` wrote.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"The trained model {path} is missing. Train this fold again.")
    try:
        # Opened here, since a damaged file would stay open otherwise.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}). Train this fold again.") from error


def load_classifier(run: Path, fold: int, *, device: str = "auto") -> Predictor:
    """Open one fold of a finished classifier run.

    Raises:
        InputError: not a classifier run, or that fold has no model.
    """
    config = ClassifyConfig(**read_run_config(run)["config"])
    path = fold_folder(run, fold) / MODEL_FILE
    if not path.is_file() and path.with_name("gaussians.npz").is_file():
        path = path.with_name("gaussians.npz")  # as runs of 0.1.0's beginnings call it
    arrays = load_arrays(path)
    # With random weights the same seed makes the same network again.
    seed_everything(config.seed)
    method = method_named(config.method)(config, resolve_device(device))
    try:
        return method.open(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}). Train this fold again.") from error
