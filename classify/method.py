"""What every method is: it learns from a fold's training images, and scores others.

A new method is a class of settings in `classify.config` and one file in `anomaly` or `supervised`
that defines a subclass of `Method`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from annotations import FoldThresholds, InputError, Sample
from annotations.errors import shortened
from annotations.images import read_image_rgb
from classify.config import ClassifyConfig, NetworkConfig
from training import FoldJob, Predictor
from training.array_files import Arrays
from training.job import RANDOM_WEIGHTS

ImageRgb = npt.NDArray[np.uint8]
SomeConfig = TypeVar("SomeConfig", bound=ClassifyConfig)


@dataclass(frozen=True, slots=True)
class FoldData:
    """What a method may learn from in one fold; nothing of the test side is in it.

    Attributes:
        job: fold, folder for logs and checkpoints, reporter.
        name: of the run, for progress.
        good: good images that the source gives for training.
        held_out: more of them, which choose thresholds and epochs.
        train: all images of the training side, defective ones too where the protocol allows it.
        validation: images, of all kinds, that choose thresholds and epochs.
        start: what an older run learned in this fold, to begin with; None begins anew.
    """

    job: FoldJob
    name: str
    good: Sequence[Sample]
    held_out: Sequence[Sample]
    train: Sequence[Sample]
    validation: Sequence[Sample]
    start: Arrays | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How raw scores become verdicts.

    Attributes:
        thresholds: of the fold.
        held_out_scores: by image id, of images that the stored model was fitted to: the score
            that a fit without them gives.
    """

    thresholds: FoldThresholds
    held_out_scores: Mapping[str, float] = field(default_factory=dict)


class Method(ABC, Generic[SomeConfig]):
    """One way of learning.

    Attributes:
        name: as `--method` takes it.
        title: the method's name in tables.
        has_map: whether it scores pixels.
        needs_defects: whether it learns from defective images; else from good ones alone.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    has_map: ClassVar[bool] = False
    needs_defects: ClassVar[bool] = False

    def __init__(self, config: SomeConfig, device: torch.device) -> None:
        """Take the settings and where to compute.

        Raises:
            UsageError, WeightsNotFoundError: settings that cannot work, before anything is done.
        """
        self.config = config
        self.device = device

    def words(self) -> str:
        """The title, and what settings add to it."""
        return self.title

    def described(self) -> str:
        """Names of the network, where there is one, and of the method, for tables."""
        if not isinstance(self.config, NetworkConfig):
            return self.words()
        drawn = RANDOM_WEIGHTS if self.config.weights == "none" else ""
        return f"{self.config.model} {self.words()}{drawn}"

    @abstractmethod
    def fit(self, data: FoldData) -> Arrays:
        """Learn, and return what was learned as plain arrays.

        Raises:
            InputError, TrainingError: there is too little to learn from.
        """

    @abstractmethod
    def open(self, learned: Arrays) -> Predictor:
        """What scores images, from what `fit` returned or a file kept.

        Raises:
            KeyError, ValueError, TypeError: these are not the arrays of such a model.
        """

    @abstractmethod
    def calibrate(self, data: FoldData, predictor: Predictor) -> Calibration:
        """Choose the threshold on images that the model was not fitted to."""

    def key(self, data: FoldData) -> tuple[str, ...]:
        """Folds of equal keys learn the same."""
        chosen = (data.train, data.validation) if self.needs_defects else ()
        parts = chosen or (data.good, data.held_out)
        return tuple(f"{part}:{s.image_id}" for part, side in enumerate(parts) for s in side)


def need_good(data: FoldData, *, at_least: int = 2) -> None:
    """Refuse a fold of too few good images.

    Raises:
        InputError: fewer than `at_least` to learn from, or none held out.
    """
    if len(data.good) < at_least or not data.held_out:
        raise InputError(
            f"Fold {data.job.fold} of {data.job.dataset.root} has {len(data.good)} good "
            f"training images to learn from and {len(data.held_out)} others to choose the "
            f"threshold on; at least {at_least} and 1 are needed. A few dozen are usual."
        )


def score_all(
    predictor: Predictor, samples: Sequence[Sample], data: FoldData, what: str
) -> npt.NDArray[np.float64]:
    """Image scores of samples, float64 (n,), with a bar."""
    advance = data.job.reporter.track(f"{data.name}: {what}", len(samples))
    scores = []
    for sample in samples:
        image_rgb = read_image_rgb(sample.image_path)
        scores.append(predictor.predict(sample.image_id, image_rgb).image_score)
        advance("")
    return np.asarray(scores, np.float64)


def state_arrays(network: torch.nn.Module, prefix: str = "") -> dict[str, npt.NDArray[np.generic]]:
    """A network's state as plain arrays, by prefixed name."""
    return {f"{prefix}{k}": v.detach().cpu().numpy() for k, v in network.state_dict().items()}


def begin_with(network: torch.nn.Module, arrays: Arrays, prefix: str, data: FoldData) -> None:
    """Give a network the state that an older run's fold learned.

    Raises:
        InputError: it is another network's.
    """
    try:
        load_arrays_into(network, arrays, prefix)
    except ValueError as error:
        where = data.job.start.run if data.job.start else data.name
        raise InputError(
            f"--from: fold {data.job.fold} of {where} does not fit this network "
            f"({shortened(error)}). Train with the settings of that run, or leave --from out."
        ) from error


def load_arrays_into(network: torch.nn.Module, arrays: Arrays, prefix: str = "") -> None:
    """Give a network the state that `state_arrays` returned.

    Raises:
        ValueError: it is another network's.
    """
    state = {
        name.removeprefix(prefix): torch.from_numpy(np.array(value))
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the arrays are another network's: {shortened(error)}") from error
