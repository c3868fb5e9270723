"""What a reader of a conversion must not miss: consequences that nobody asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from annotations import Sample, Split

FEW_PARTS: Final = 10
MANY_SHOTS: Final = 20
"""Images of one part from which on it is asked whether it is one part."""


def warnings_about(
    samples: Sequence[Sample], split: Split, texture_pairs: Sequence[tuple[str, str, float]]
) -> list[str]:
    """Sentences for the screen and conversion.json.

    Args:
        samples: all images.
        split: as it was made.
        texture_pairs: ids of images that were taken for one part by their texture.
    """
    return [*_left_out(samples, split), *_swallowed(samples, bool(texture_pairs))]


def _left_out(samples: Sequence[Sample], split: Split) -> list[str]:
    """Training images that no fold trains on as it might, since their part is tested there."""
    by_id = {sample.image_id: sample for sample in samples}
    trainable = [s.image_id for s in samples if s.source_split in ("train", "val")]
    most: list[tuple[str, str]] = []
    for fold, left in zip(split.folds, split.left_out, strict=True):
        tested = {by_id[image_id].group: image_id for image_id in reversed(fold.test)}
        lost = [
            (image_id, tested[by_id[image_id].group])
            for image_id in left
            if by_id[image_id].source_split in ("train", "val") and by_id[image_id].group in tested
        ]
        most = max(most, lost, key=len)
    if not most:
        return []
    one, other = most[0]
    same = by_id[one].sha256 == by_id[other].sha256
    how = (
        "They are equal bytes: take the copy out of the source's test side to train on it."
        if same
        else "Where they show different parts, convert with --no-find-groups or name parts with "
        "--group-by; else take the tested one out of the source to train on the other."
    )
    where = "" if len(split.folds) == 1 else " of a fold"
    return [
        f"{len(most):,} of {len(trainable):,} training images{where} are left out, as their part "
        f"is tested (for instance {one}, which shows the same as {other}). {how}"
    ]


def _swallowed(samples: Sequence[Sample], by_texture: bool) -> list[str]:
    """Most images in a few parts: folds are then few parts each, or the parts are none."""
    sizes = Counter(sample.group for sample in samples)
    large = [(name, size) for name, size in sizes.most_common(FEW_PARTS) if size >= MANY_SHOTS]
    inside = sum(size for _, size in large)
    if 2 * inside <= len(samples):
        return []
    members = _some_of(samples, dict(large[:1]))
    how = (
        "Where they are different parts that look alike, convert with --no-find-groups or name "
        "parts with --group-by."
        if by_texture
        else "Where they are different parts, name them otherwise (--group-by)."
    )
    return [
        f"{inside:,} of {len(samples):,} images are taken for shots of {len(large)} parts (the "
        f"largest has {large[0][1]:,}, for instance {members}). A part is never divided, so that "
        f"sides and folds are uneven and intervals wide. {how}"
    ]


def _some_of(samples: Sequence[Sample], group: Mapping[str, int]) -> str:
    return ", ".join([s.image_id for s in samples if s.group in group][:3])
