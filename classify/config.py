"""Settings of the baseline classifiers: a class for each method, told apart by `method`."""

from typing import Any, Final, Literal

from pydantic import Field, model_validator

from classify.register import FAMILY
from training.configs import MAX_EPOCHS, FamilyConfig

DISTANCES: Final = ("mahalanobis", "knn")


class ClassifyConfig(FamilyConfig):
    """Settings of `train classify`. Called with a `method`, it gives that method's own class.

    A setting that the method does not use is refused.

    Raises:
        UsageError: an unknown method (near ones are named).
        pydantic.ValidationError: a setting that the method does not have, or a bad value.

    Example:
        >>> import defectune as dt
        >>> config = dt.ClassifyConfig(method="patch-memory", memory_size=500)
        >>> type(config).__name__, config.memory_size
        ('PatchMemoryConfig', 500)
    """

    method: str = "pretrained"
    """What is learned, and how: one of those in `register.py`."""
    batch_size: int = Field(default=32, ge=1, le=1024)
    """Number of images in a batch."""

    def __new__(cls, **values: Any) -> "ClassifyConfig":
        """Choose the method's class."""
        if cls is ClassifyConfig:
            cls = config_class(values.get("method", "pretrained"))
        return super().__new__(cls)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)

    @classmethod
    def hint_for_unknown(cls, key: str) -> str:
        """The methods that have a setting which this one does not have."""
        having = [
            name for name, kind in FAMILY.config_classes().items() if key in kind.model_fields
        ]
        if not having:
            return ""
        own = cls.model_fields["method"].default
        return f" Method {own} does not use it; {', '.join(having)} {_do(having)}."


class GoodOnlyConfig(ClassifyConfig):
    """What the methods that learn from good images alone have in common."""

    good_quantile: float = Field(default=0.98, gt=0, lt=1)
    """The threshold lets this part of held-out good training images pass."""


class NetworkConfig(ClassifyConfig):
    """What the methods that see images through a pretrained network have in common."""

    model: str = "efficientnet_lite0"
    """Network that images are seen through: efficientnet_lite0, or any name that torchvision or
    timm knows."""
    stages: tuple[str, ...] = ()
    """Layers to read, by the network's own names; none reads the end of every stage."""


class PooledConfig(NetworkConfig):
    """What the methods that make one vector of an image have in common."""

    pooling: Literal["mean", "max"] = "mean"
    """How a stage's map becomes one vector."""


class DistanceConfig(PooledConfig, GoodOnlyConfig):
    """What the methods that measure a distance to good images have in common."""

    distance: Literal["mahalanobis", "knn"] = "mahalanobis"
    """Distance to measure: to a Gaussian for each stage, or to the k nearest good images."""
    neighbors: int = Field(default=5, ge=1, le=1000)
    """Number of nearest good images (k) that the distance knn takes."""


class TrainedConfig(ClassifyConfig):
    """What the methods that train a network have in common."""

    epochs: int = Field(default=10, ge=0, le=MAX_EPOCHS)
    """Number of passes over the training images."""
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Step size of Adam."""


class BestEpochConfig(TrainedConfig):
    """What the methods that can tell which epoch is best have in common."""

    keep: Literal["best", "last"] = "best"
    """Weights to keep: those of the epoch that does best on held-out training images, or of the
    last one."""


class AugmentedConfig(TrainedConfig):
    """What the methods that vary their training images have in common."""

    augment: bool = True
    """Show images shifted, brighter and darker, and turned or mirrored where the good images show
    a part that allows it."""


class ReconstructionConfig(AugmentedConfig, GoodOnlyConfig):
    """What the methods that reconstruct images have in common."""

    latent: int = Field(default=128, ge=2, le=4096)
    """How many numbers an image is squeezed into."""


class PretrainedConfig(DistanceConfig):
    """Settings of the method pretrained."""

    method: Literal["pretrained"] = "pretrained"
    """Distance to good images in the features of a frozen, pretrained network."""
    parts: int = Field(default=5, ge=2, le=1000)
    """Good training images are held out in this many turns for the threshold."""

    @model_validator(mode="before")
    @classmethod
    def _distances_are_methods_too(cls, values: Any) -> Any:
        # `--method knn` says all that is needed.
        if isinstance(values, dict) and values.get("method") in DISTANCES:
            return {**values, "method": "pretrained", "distance": values["method"]}
        return values


class FineTunedConfig(DistanceConfig, BestEpochConfig):
    """Settings of the method finetuned."""

    method: Literal["finetuned"] = "finetuned"
    """The same distance, through a network that was fine-tuned on good images."""
    anchor: float = Field(default=1e-3, ge=0, le=1e6)
    """Weight of the squared distance of the parameters to the pretrained ones."""


class PatchMemoryConfig(NetworkConfig, GoodOnlyConfig):
    """Settings of the method patch-memory."""

    method: Literal["patch-memory"] = "patch-memory"
    """Distance of each patch to a memory of good ones."""
    memory_size: int = Field(default=2000, ge=10, le=100_000)
    """Number of patches that the memory keeps."""


class AutoencoderConfig(ReconstructionConfig, BestEpochConfig):
    """Settings of the method autoencoder."""

    method: Literal["autoencoder"] = "autoencoder"
    """Error of reconstruction."""
    ssim_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of 1 - SSIM in the loss and the map; the rest is squared error."""


class GanConfig(ReconstructionConfig):
    """Settings of the method gan; its last epoch is kept."""

    method: Literal["gan"] = "gan"
    """Error of reconstruction by a generator, and the features of its discriminator."""


class SupervisedConfig(PooledConfig, BestEpochConfig, AugmentedConfig):
    """Settings of the method supervised."""

    method: Literal["supervised"] = "supervised"
    """A classifier of good images and each type of defect."""
    class_weights: Literal["none", "balanced"] = "balanced"
    """Whether a class of few images weighs as much as one of many."""
    oversample: Literal["none", "repeat", "injection", "deepsmote"] = "none"
    """How defect types get more images: nothing, the same ones again, real defects pasted into
    good images, or decoded interpolations (DeepSMOTE)."""
    oversample_to: float = Field(default=1.0, gt=0, le=1)
    """Share of the largest class that every type is brought to."""
    smote_size: int = Field(default=64, ge=32, le=256, multiple_of=16)
    """Side in pixels of the images that DeepSMOTE generates."""
    smote_latent: int = Field(default=300, ge=2, le=4096)
    """How many numbers DeepSMOTE squeezes an image into."""
    smote_neighbours: int = Field(default=5, ge=1, le=100)
    """Number of nearest images of one type (k) that DeepSMOTE draws between."""
    smote_epochs: int = Field(default=100, ge=1, le=100_000)
    """Number of passes of DeepSMOTE's encoder and decoder over the training images."""
    smote_penalty: float = Field(default=1.0, ge=0, le=100)
    """Weight of DeepSMOTE's penalty beside the reconstruction; 1 is the paper's. The lower,
    the sharper what is decoded, and the less the decoder learns of codes between images."""


def config_class(method: object) -> type[ClassifyConfig]:
    """The class of a method's settings.

    Args:
        method: its name; mahalanobis and knn are pretrained with that distance.

    Raises:
        UsageError: there is none of this name; the message names near ones.
    """
    kind = FAMILY.config_class(method)
    if not issubclass(kind, ClassifyConfig):
        raise TypeError(f"{kind.__name__} is no ClassifyConfig")
    return kind


def _do(names: list[str]) -> str:
    return "does" if len(names) == 1 else "do"
