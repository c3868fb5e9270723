"""Settings of the baseline classifiers."""

from typing import Literal

from pydantic import Field

from training import FamilyConfig


class ClassifyConfig(FamilyConfig):
    """Settings of `train classify`."""

    model: str = "efficientnet_lite0"
    """Network that images are seen through: efficientnet_lite0, resnet18 or vgg16."""
    method: Literal["mahalanobis", "knn", "patch-memory"] = "mahalanobis"
    """What is learnt from good images: a Gaussian a stage, the images themselves (k nearest
    neighbours), or a memory of good patches, which gives a map."""
    neighbours: int = Field(default=5, ge=1, le=1000)
    """For knn: k."""
    memory_size: int = Field(default=2000, ge=10, le=100_000)
    """For patch-memory: patches to keep."""
    image_size: int = Field(default=256, ge=32, le=4096)
    """Side in pixels that images are resized to."""
    batch_size: int = Field(default=32, ge=1, le=1024)
    """Images a step."""
    good_quantile: float = Field(default=0.98, gt=0, lt=1)
    """The threshold lets this part of held-out good training images pass."""
    parts: int = Field(default=5, ge=2)
    """Good training images are held out in this many turns to choose the threshold."""
