"""What the segmenters are, for everybody who trains or opens one."""

from typing import Final

from training.registry import Family, Method

FAMILY: Final = Family(
    name="segment",
    summary="Fine-tune a segmenter, which finds defects pixel by pixel.",
    methods={
        "unet": Method(
            "segment.config:SegmentConfig",
            frozenset({"masks", "boxes", "image"}),
            "few-defects",
            starts_from_run=True,
        ),
        # Without a defect it learns from good images and from noise in feature space.
        "hybrid": Method(
            "segment.hybrid.config:HybridConfig",
            frozenset({"masks", "boxes", "image", "good"}),
            "hybrid",
            starts_from_run=True,
        ),
        "joined": Method(
            "segment.config:JoinedConfig", frozenset({"masks", "boxes", "image", "good"})
        ),
    },
    default_method="hybrid",
    train="segment.train:train_segmenter",
    open="segment.opening:load_segmenter",
    model_key="encoder",
    other_names=("unet", "segmentation", "segmenter", "segformer", "masks", "deeplab"),
    examples=(
        "defectune train segment data/bottle",
        "defectune train segment data/bottle --method unet --epochs 50",
    ),
    demo={
        "image_size": 160,
        "epochs": 10,
        "fewest_images": 96,
        "heads": 1,
        "cached_views": 1,
        "views": 1,
    },
)
