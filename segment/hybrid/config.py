"""Settings of the hybrid segmenter."""

from typing import Annotated, Literal

from pydantic import Field

from inference.tiling import MAX_TILES
from inference.views import Views
from segment.config import AimedConfig
from training.configs import MAX_EPOCHS


class HybridConfig(AimedConfig):
    """Settings of `train segment --recipe hybrid`.

    Example:
        >>> import defectune as dt
        >>> dt.HybridConfig(heads=3).encoder
        'efficientnet_lite0'
    """

    method: Literal["hybrid"] = "hybrid"
    """A frozen network and a head on its features, that learns from good images, from noise in
    feature space and from real defects."""
    encoder: str = "efficientnet_lite0"
    """The frozen network: any torchvision or timm name whose layers give maps of features."""
    image_size: int = Field(default=320, ge=32, le=4096, multiple_of=32)
    """Longer side in pixels that images are resized to; their aspect is kept, each side being
    rounded to a multiple of 32."""
    batch_size: int = Field(default=8, ge=1, le=1024)
    """Images a step."""
    epochs: int = Field(default=20, ge=1, le=MAX_EPOCHS)
    """Passes over the training images as sampled."""
    shots_per_type: int | None = Field(default=None, ge=0, le=1_000_000)
    """Learn from at most so many defective images of each type, on the training and on the
    validation side each; all if not given, 0 learns from good images alone."""
    tiles: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_TILES)] = "auto"
    """Overlapping tiles along an image's longer side, each of `image_size`; 1 looks at the whole
    image at once, `auto` takes as many as the training side's defects need to be seen."""
    views: Views = 4
    """Times that an image is looked at when predicting: 2 adds its mirror image, 4 both upside
    down, 8 both at a right angle as well."""
    cached_views: Views = 4
    """Views of each training image whose features are computed, once; one of them is drawn
    whenever the image is."""
    cache_gb: float = Field(default=4.0, ge=0, le=10_000)
    """Most that cached features may take on disk, in GB; fewer views are kept where four do not
    fit, and features are computed at every step where not even one does."""
    map_stride: Literal["auto", 2, 4, 8] = "auto"
    """Pixels of the resized image that one place of the map stands for; `auto` takes the coarsest
    that is no wider than three of four of the training side's defects."""
    width: int = Field(default=64, ge=4, le=1024)
    """Channels of the head at stride 8; finer levels have half and a quarter."""
    heads: int = Field(default=3, ge=1, le=32)
    """Heads trained on the same features, each from a start and with noise of its own; their mean
    answers. Steadier scores, at so many times the head's time."""
    good_per_defect: float = Field(default=1.0, ge=0, le=1000)
    """Good images drawn every epoch for each defective one drawn; all of them without defects."""
    fewest_images: int = Field(default=256, ge=1, le=1_000_000)
    """Images drawn every epoch at least, where there are defects: with a few of them, they and
    more good images are drawn again, so that training does not end after a handful of steps."""
    noise_deviation: float = Field(default=1.0, ge=0, le=100)
    """Standard deviation of the noise in feature space, in those of a feature over good images."""
    noise_share: float = Field(default=0.25, ge=0, le=1)
    """Part of the drawn images that get noise, in blobs outside of real defects."""
    learning_rate: float = Field(default=2e-3, gt=0, le=10)
    """Highest learning rate of the one-cycle schedule."""
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    """Weight decay of AdamW."""
    precision: str = Field(default="auto", pattern="^(auto|32-true|bf16-mixed)$")
    """Precision of training the head; `auto` is mixed bfloat16 on a GPU, and on a CPU that computes
    in it. Features and predictions are computed in 32 bits."""
    min_area_fraction: float = Field(default=2e-5, ge=0, le=1)
    """Predicted regions of fewer pixels than this part of the image are left out; on validation
    images a larger one is chosen where it makes for a better F1 of the regions found."""

    @property
    def stride(self) -> int:
        """`map_stride`, the coarsest for `auto`."""
        return 8 if self.map_stride == "auto" else self.map_stride
