"""What every method is: it learns from a fold's training images, and scores others.

A new method is one file beside this one that defines a subclass of `Method`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from annotations import FoldThresholds, InputError, Sample
from annotations.errors import shortened
from annotations.images import read_image_rgb
from classify.config import ClassifyConfig
from training import FoldJob, Predictor, quantile_threshold

Arrays = Mapping[str, npt.NDArray[np.generic]]
ImageRgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a method may learn from in one fold; nothing of the test side is in it.

    Attributes:
        job: fold, folder for logs and checkpoints, reporter.
        name: of the run, for progress.
        good: good images that the source gives for training.
        held_out: more of them, which choose thresholds and epochs.
        teaching: all images of the training side, defective ones too where the protocol lets
            them teach.
        validation: images, of all kinds, that choose thresholds and epochs.
    """

    job: FoldJob
    name: str
    good: Sequence[Sample]
    held_out: Sequence[Sample]
    teaching: Sequence[Sample]
    validation: Sequence[Sample]


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


class Method(ABC):
    """One way of learning.

    Attributes:
        name: as `--method` takes it.
        title: in words, for tables.
        has_map: whether it scores pixels.
        needs_defects: whether it learns from defective images; else from good ones alone.
        sees_through_network: whether `model` and `weights` concern it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    has_map: ClassVar[bool] = False
    needs_defects: ClassVar[bool] = False
    sees_through_network: ClassVar[bool] = True

    def __init__(self, config: ClassifyConfig, device: torch.device) -> None:
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
        """The network, where one is seen through, and the method in words: for tables."""
        if not self.sees_through_network:
            return self.words()
        drawn = " (random weights)" if self.config.weights == "none" else ""
        return f"{self.config.model} {self.words()}{drawn}"

    @abstractmethod
    def fit(self, lesson: Lesson) -> Arrays:
        """Learn, and return what was learnt as plain arrays.

        Raises:
            InputError, TrainingError: there is too little to learn from.
        """

    @abstractmethod
    def open(self, learnt: Arrays) -> Predictor:
        """What scores images, from what `fit` returned or a file kept.

        Raises:
            KeyError, ValueError, TypeError: these are not the arrays of such a model.
        """

    def calibrate(self, lesson: Lesson, predictor: Predictor) -> Calibration:
        """Choose the threshold on held-out good images, which the model was not fitted to."""
        scores = score_all(predictor, lesson.held_out, lesson, "held-out good images")
        thresholds = FoldThresholds(
            quantile_threshold(list(scores), self.config.good_quantile),
            "ratio",
            0.0,
            f"{self.config.good_quantile:.1%} quantile of {len(scores)} held-out good training "
            "images",
        )
        return Calibration(thresholds)

    def key(self, lesson: Lesson) -> tuple[str, ...]:
        """Lessons of equal keys teach the same."""
        chosen = (lesson.teaching, lesson.validation) if self.needs_defects else ()
        parts = chosen or (lesson.good, lesson.held_out)
        return tuple(f"{part}:{s.image_id}" for part, side in enumerate(parts) for s in side)


def need_good(lesson: Lesson, *, at_least: int = 2) -> None:
    """Refuse a lesson of too few good images.

    Raises:
        InputError: fewer than `at_least` to learn from, or none held out.
    """
    if len(lesson.good) < at_least or not lesson.held_out:
        raise InputError(
            f"Fold {lesson.job.fold} of {lesson.job.dataset.root} has {len(lesson.good)} good "
            f"training images to learn from and {len(lesson.held_out)} others to choose the "
            f"threshold on; at least {at_least} and 1 are needed. A few dozen are usual."
        )


def score_all(
    predictor: Predictor, samples: Sequence[Sample], lesson: Lesson, what: str
) -> npt.NDArray[np.float64]:
    """Image scores of samples, float64 (n,), with a bar."""
    advance = lesson.job.reporter.track(f"{lesson.name}: {what}", len(samples))
    scores = []
    for sample in samples:
        image_rgb = read_image_rgb(sample.image_path)
        scores.append(predictor.predict(sample.image_id, image_rgb).image_score)
        advance("")
    return np.asarray(scores, np.float64)


def state_arrays(network: torch.nn.Module, prefix: str = "") -> dict[str, npt.NDArray[np.generic]]:
    """A network's state as plain arrays, by prefixed name."""
    return {f"{prefix}{k}": v.detach().cpu().numpy() for k, v in network.state_dict().items()}


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
