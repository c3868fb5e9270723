"""Settings of the U-Net segmenter, and what every segmenter's have in common."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from inference.thresholds import ThresholdAim
from inference.tiling import MAX_TILES
from inference.views import Views
from training.configs import MAX_EPOCHS, FamilyConfig


class AimedConfig(FamilyConfig):
    """What the image threshold, chosen on validation images, is to achieve.

    Without either, escapes and overkill are to be alike.
    """

    max_escape: float | None = Field(default=None, ge=0, lt=1)
    """Highest rate of defective validation images that may be called good: overkill is then as
    low as that allows."""
    max_overkill: float | None = Field(default=None, ge=0, lt=1)
    """Highest rate of good validation images that may be called defective: escapes are then as
    few as that allows."""

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        if self.max_escape is not None and self.max_overkill is not None:
            raise ValueError("give max_escape or max_overkill, not both")
        return self

    @property
    def aim(self) -> ThresholdAim:
        """As the choice of a threshold takes it."""
        return ThresholdAim(max_escape=self.max_escape, max_overkill=self.max_overkill)


class SegmentConfig(AimedConfig):
    """Settings of `train segment` with a U-Net or another network of its kind.

    Example:
        >>> import defectune as dt
        >>> dt.SegmentConfig(image_size=512).architecture
        'Unet'
    """

    method: Literal["unet"] = "unet"
    """A network trained from end to end on defects; `hybrid` has settings of its own."""

    architecture: str = "Unet"
    """A segmentation-models-pytorch architecture by class name."""
    encoder: str = "tu-tf_efficientnet_lite0"
    """Its encoder; this one has ImageNet weights wherever the program is installed."""
    image_size: int = Field(default=256, ge=32, le=4096, multiple_of=32)
    """Side in pixels that images are resized to; encoders halve it five times."""
    batch_size: int = Field(default=8, ge=2, le=1024)
    """Images a step; batch normalization needs two."""
    epochs: int = Field(default=30, ge=1, le=MAX_EPOCHS)
    """Passes over the training images as sampled."""
    shots_per_type: int | None = Field(default=None, ge=1, le=1_000_000)
    """Learn from at most so many defective images of each type, on the training and on the
    validation side each; all if not given. Shows what more images would be worth."""
    tiles: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_TILES)] = "auto"
    """Overlapping tiles along an image's longer side, each of `image_size`; 1 looks at the whole
    image at once, `auto` takes as many as the training side's defects need to be seen."""
    views: Views = 8
    """Times that an image is looked at when predicting: 2 adds its mirror image, 4 both upside
    down, 8 both at a right angle as well. Steadier scores and edges, at so many times the time."""
    good_per_defect: float = Field(default=0.5, ge=0, le=1000)
    """Good images drawn every epoch for each defective one."""
    inject_per_defect: float = Field(default=0.5, ge=0, le=100)
    """Injected images (real defects of the training side, pasted into good images) made every
    epoch for each defective one."""
    augment: bool = True
    """Rotation, scale, shift, light and noise; else left and right flips alone."""
    loss: Literal["defect", "cross_entropy"] = "defect"
    """`defect` is cross-entropy and pooled Dice of "any defect", and balanced cross-entropy of
    its type; `cross_entropy` is over background and types."""
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    """Highest learning rate of the one-cycle schedule, for the decoder."""
    encoder_lr_factor: float = Field(default=0.3, ge=0, le=100)
    """The pretrained encoder learns at this part of it."""
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    """Weight decay of AdamW."""
    precision: str = Field(default="auto", pattern="^(auto|32-true|bf16-mixed|16-mixed)$")
    """Lightning's precision; `auto` is mixed bfloat16 on a GPU, and on a CPU that computes in it,
    where it halves the time of training; else 32 bits."""
    accumulate: int = Field(default=1, ge=1, le=1024)
    """Batches gathered for one step of the optimizer; with little memory, half the batch size
    and twice this give the same steps."""
    val_every: int = Field(default=3, ge=1, le=MAX_EPOCHS)
    """Epochs from one validation to the next."""
    min_area_fraction: float = Field(default=2e-5, ge=0, le=1)
    """Predicted regions of fewer pixels than this part of the image are left out; on validation
    images a larger one is chosen where it makes for a better F1 of the regions found."""


class JoinedConfig(AimedConfig):
    """Settings of `train segment --method joined`.

    Members keep settings of their own; of those that all families have, `seed` and `device` alone
    are of use here.

    Example:
        >>> import defectune as dt
        >>> dt.JoinedConfig(members=("hybrid", "unet")).members
        ('hybrid', 'unet')
    """

    method: Literal["joined"] = "joined"
    """Several segmenters as one, each counting for as much as it tells on validation images."""
    members: tuple[str, ...] = Field(default=("hybrid", "unet"), min_length=2, max_length=8)
    """Runs of segmenters to join, by name. A method stands for a run that is trained first, with
    that method's own recipe, under the name of this run with the method added."""

    @model_validator(mode="after")
    def _own_settings_alone(self) -> Self:
        fields = FamilyConfig.model_fields
        given = [
            key
            for key in ("image_size", "batch_size", "weights")
            if getattr(self, key) != fields[key].default
        ]
        if given:
            raise ValueError(
                f"a joined segmenter has no {' and no '.join(given)} of its own; train the members "
                "first, each with its settings, and name their runs in members"
            )
        return self

    min_area_fraction: float = Field(default=2e-5, ge=0, le=1)
    """Predicted regions of fewer pixels than this part of the image are left out; on validation
    images a larger one is chosen where it makes for a better F1 of the regions found."""
