"""Settings of the detector."""

from typing import Annotated, Literal

from pydantic import Field

from inference.tiling import MAX_TILES
from inference.views import Views
from training.configs import MAX_EPOCHS, FamilyConfig


class DetectConfig(FamilyConfig):
    """Settings of `train detect`.

    Example:
        >>> import defectune as dt
        >>> dt.DetectConfig(image_size=640, epochs=100).model
        'auto'
    """

    model: str = "auto"
    """An ultralytics detection model by file name, yolo11n.pt: its architecture and its COCO
    weights. yolo-lite0 has EfficientNet-Lite0 in place of YOLO's own backbone, with ImageNet
    weights that come with the installation. `auto` is yolo11n.pt where its weights are found, else
    yolo-lite0."""
    image_size: int = Field(default=320, ge=32, le=4096, multiple_of=32)
    """Side in pixels that images are resized to; YOLO needs a multiple of 32."""
    batch_size: int = Field(default=8, ge=1, le=1024)
    """Number of images in a batch; every batch is one step of the optimizer."""
    epochs: int = Field(default=60, ge=1, le=MAX_EPOCHS)
    """Number of passes over the training images."""
    shots_per_type: int | None = Field(default=None, ge=1, le=1_000_000)
    """Learn from at most so many defective images of each type, on the training and on the
    validation side each; all if not given. Shows what more images would be worth."""
    tiles: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_TILES)] = "auto"
    """Overlapping tiles along an image's longer side, each of `image_size`; 1 looks at the whole
    image at once, `auto` takes as many as the training side's defects need to be seen."""
    views: Views = 8
    """Copies of an image that test-time augmentation predicts: 1 is the image alone, 2 adds its
    mirror image, 4 both upside down, 8 both at a right angle as well. More copies give steadier
    scores and edges, and take so many times the time."""
    good_per_defect: float = Field(default=0.5, ge=0, le=1000)
    """Number of good images for each defective one; they teach the detector to stay silent."""
    inject_per_defect: float = Field(default=1.0, ge=0, le=100)
    """Injected images (real defects of the training side, pasted into good images) for every
    defective one."""
    tight_boxes: bool = True
    """Train on outlines, so that the box of a rotated defect stays tight. Without it, the detector
    trains on boxes, which grow when rotated."""
    optimizer: str = Field(default="AdamW", pattern="^(SGD|AdamW|Adam|RMSProp|auto)$")
    """Optimizer of ultralytics; its `auto` ignores `lr0`."""
    lr0: float = Field(default=1e-3, gt=0, le=10)
    """Learning rate at the start."""
    degrees: float = Field(default=180.0, ge=0, le=180)
    """Largest random rotation in degrees, either way: parts may lie at any angle."""
    flipud: float = Field(default=0.5, ge=0, le=1)
    """Probability of an upside-down flip."""
    mosaic: float = Field(default=1.0, ge=0, le=1)
    """Probability of a mosaic of four images."""
    scale: float = Field(default=0.3, ge=0, le=1)
    """Largest random change of scale, as a part of the size, either way."""
    close_mosaic: int = Field(default=10, ge=0, le=MAX_EPOCHS)
    """Number of epochs at the end that draw no mosaics."""
    nominal_batch: int | None = Field(default=None, ge=1, le=65_536)
    """Number of images gathered for one step of the optimizer; `batch_size` if not given."""
    freeze: int = Field(default=0, ge=0, le=1000)
    """Number of first layers that keep their pretrained weights."""
    max_detections: int = Field(default=100, ge=1, le=1000)
    """Most boxes kept for an image; COCOeval looks at 100."""
