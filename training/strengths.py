"""What the labels of a fold's training images teach, in words."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from annotations import LabelStrength, Sample
from training.job import FoldJob

_LACKS: Final[dict[str, str]] = {
    "image": "an image label alone",
    "boxes": "boxes and no mask",
}


def say_unlearned(job: FoldJob, *, learns_from: frozenset[LabelStrength]) -> None:
    """Say how many defective training images are not learned from, for what their labels lack.

    Args:
        job: dataset, fold and reporter.
        learns_from: strengths of label that the trainer can use.
    """
    dataset = job.dataset
    train = dataset.select(dataset.split.folds[job.fold].train)
    for strength, lacks in _LACKS.items():
        if strength in learns_from:
            continue
        n = sum(s.is_defective and dataset.strengths[s.image_id] == strength for s in train)
        if n:
            job.reporter.say(
                f"Fold {job.fold}: {n} of {sum(s.is_defective for s in train)} defective training "
                f"images have {lacks}, and are not learned from."
            )


def say_taught(job: FoldJob, samples: Sequence[Sample], *, held_out: bool) -> None:
    """Say how many images of each strength of label teach what.

    Args:
        job: dataset, fold and reporter.
        samples: that are trained on.
        held_out: each is scored by a part of the model that was not trained on it.
    """
    strengths = Counter(job.dataset.strengths[s.image_id] for s in samples if s.is_defective)
    taught = [f"{sum(not s.is_defective for s in samples)} good images"]
    taught += [f"{strengths[kind]} {said}" for kind, said in _TEACH.items() if strengths[kind]]
    scored = "; each is scored without itself, for the thresholds" if held_out else ""
    job.reporter.say(f"Fold {job.fold} learns from {', '.join(taught)}{scored}.")


_TEACH: Final[dict[LabelStrength, str]] = {
    "masks": "defective ones pixel by pixel",
    "boxes": "by boxes (good outside, a defect within)",
    "image": "by image labels (a defect somewhere)",
}
