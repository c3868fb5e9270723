"""How much a label says of its image."""

from typing import Final, Literal, get_args

from annotations.regions import Regions
from annotations.samples import Sample

LabelStrength = Literal["image", "boxes", "masks"]
"""`masks`: every pixel is known, as it is of a good image, too. `boxes`: where the defects are, but
not which pixels. `image`: that it is defective, and of which type, but not where. Images without a
label are `annotations.unlabelled`'s."""
STRENGTHS: Final = get_args(LabelStrength)
"""Weakest first."""


def label_strength(sample: Sample, truth: Regions) -> LabelStrength:
    """How much the label of a sample says.

    It follows from the truth itself, so that the two cannot contradict each other: a defective
    image without any region has an image label, and one with boxes alone has no pixels.

    Args:
        sample: the image.
        truth: its regions.
    """
    if not sample.is_defective:
        return "masks"
    if not len(truth):
        return "image"
    return "boxes" if truth.masks is None else "masks"
