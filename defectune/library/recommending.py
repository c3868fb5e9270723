"""What to train where nothing is named: by what the labels of the training side know."""

from collections import Counter
from dataclasses import dataclass

from annotations import Dataset


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A family and one of its methods.

    Attributes:
        family: its name.
        method: the method's name.
        why: a sentence.
    """

    family: str
    method: str
    why: str


def recommended(dataset: Dataset) -> Recommendation:
    """What suits the labels that folds may train on.

    Without a defective image it is a memory of good patches; with boxes alone a detector, whose
    boxes are judged like those of the labels; else the hybrid segmenter, which learns from masks,
    boxes, image labels and good images at once.

    Args:
        dataset: a converted dataset.

    Example:
        >>> import defectune as dt
        >>> data = dt.convert("drawn/drawn_bottle", "some", folds=2, progress=False)
        >>> recommended(data).method
        'hybrid'
    """
    ids = {i for fold in dataset.split.folds for i in (*fold.train, *fold.val)}
    strengths = Counter(
        dataset.strengths[s.image_id]
        for s in dataset.samples
        if s.is_defective and s.image_id in ids
    )
    n = strengths.total()
    if not n:
        return Recommendation(
            "classify",
            "patch-memory",
            "no defective image may be trained on, and this method learns from good ones alone",
        )
    if strengths["boxes"] == n:
        return Recommendation(
            "detect", "yolo", f"all {n} defective images to train on are known by boxes"
        )
    known = (
        (strengths["masks"], "with masks"),
        (strengths["boxes"], "with boxes"),
        (strengths["image"], "with an image label alone"),
    )
    listed = ", ".join(f"{count} {what}" for count, what in known if count)
    return Recommendation(
        "segment",
        "hybrid",
        f"of {n} defective images to train on there are {listed}, and this method learns from all "
        "of them and from good images",
    )
