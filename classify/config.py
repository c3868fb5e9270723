"""Settings of the baseline classifiers."""

from typing import Any, Literal

from pydantic import Field, model_validator

from training import FamilyConfig

DISTANCES = ("mahalanobis", "knn")


class ClassifyConfig(FamilyConfig):
    """Settings of `train classify`; a method uses those that concern it.

    Example:
        >>> import defectune as dt
        >>> dt.ClassifyConfig(method="patch-memory").memory_size
        2000
    """

    model: str = "efficientnet_lite0"
    """Network that images are seen through: efficientnet_lite0, or any name that torchvision or
    timm knows. For pretrained, finetuned, patch-memory and supervised."""
    method: str = "pretrained"
    """What is learnt, and how: a file of `classify/methods`."""
    distance: Literal["mahalanobis", "knn"] = "mahalanobis"
    """For pretrained and finetuned: the distance to a Gaussian a stage, or to the k nearest good
    images."""
    stages: tuple[str, ...] = ()
    """Layers to read, by the network's own names; none reads the end of every stage."""
    pooling: Literal["mean", "max"] = "mean"
    """How a stage's map becomes one vector."""
    neighbours: int = Field(default=5, ge=1, le=1000)
    """For the distance knn: k."""
    memory_size: int = Field(default=2000, ge=10, le=100_000)
    """For patch-memory: patches to keep."""
    image_size: int = Field(default=256, ge=32, le=4096)
    """Side in pixels that images are resized to."""
    batch_size: int = Field(default=32, ge=1, le=1024)
    """Images a step."""
    epochs: int = Field(default=10, ge=0, le=100_000)
    """For the methods that train a network: passes over the training images."""
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Step size of Adam."""
    keep: Literal["best", "last"] = "best"
    """Weights of the epoch that does best on held-out training images, or of the last one."""
    anchor: float = Field(default=1e-3, ge=0, le=1e6)
    """For finetuned: weight of the squared distance of the parameters to the pretrained ones."""
    latent: int = Field(default=128, ge=2, le=4096)
    """For autoencoder and gan: numbers that an image is squeezed into."""
    ssim_weight: float = Field(default=0.5, ge=0, le=1)
    """For autoencoder: share of 1 - SSIM in the loss and the map; the rest is squared error."""
    augment: bool = True
    """For autoencoder, gan and supervised: show images shifted, brighter and darker, and turned or
    mirrored where the good images show a part that allows it."""
    class_weights: Literal["none", "balanced"] = "balanced"
    """For supervised: whether a class of few images weighs as much as one of many."""
    oversample: Literal["none", "repeat", "injection", "deepsmote"] = "none"
    """For supervised, how defect types get more images: nothing, the same ones again, real defects
    pasted into good images, or decoded interpolations (DeepSMOTE)."""
    oversample_to: float = Field(default=1.0, gt=0, le=1)
    """For supervised: part of the largest class that every type is brought to."""
    smote_size: int = Field(default=64, ge=32, le=256, multiple_of=16)
    """For deepsmote: side in pixels that images are generated at."""
    smote_latent: int = Field(default=300, ge=2, le=4096)
    """For deepsmote: numbers that an image is squeezed into."""
    smote_neighbours: int = Field(default=5, ge=1, le=100)
    """For deepsmote: k."""
    smote_epochs: int = Field(default=100, ge=1, le=100_000)
    """For deepsmote: passes of its encoder and decoder over the training images."""
    smote_penalty: float = Field(default=1.0, ge=0, le=100)
    """For deepsmote: weight of the penalty beside the reconstruction; 1 is the paper's. The lower,
    the sharper what is decoded, and the less the decoder learns of codes between images."""
    good_quantile: float = Field(default=0.98, gt=0, lt=1)
    """The threshold lets this part of held-out good training images pass."""
    parts: int = Field(default=5, ge=2, le=1000)
    """For pretrained: good training images are held out in this many turns for the threshold."""

    @model_validator(mode="before")
    @classmethod
    def _distances_are_methods_too(cls, values: Any) -> Any:
        # `--method knn` says all that is needed; runs of 0.1.0's beginnings are stored so.
        if isinstance(values, dict) and values.get("method") in DISTANCES:
            return {**values, "method": "pretrained", "distance": values["method"]}
        return values
