"""What the labels of a fold's training images teach, in words."""

from typing import Final

from annotations import LabelStrength
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
