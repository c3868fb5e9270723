"""What the detector is, for everybody who trains or opens one."""

from typing import Final

from training.registry import Family, Method

FAMILY: Final = Family(
    name="detect",
    summary="Fine-tune a detector, which finds defects as boxes.",
    methods={
        "yolo": Method(
            "detect.config:DetectConfig",
            frozenset({"boxes", "masks"}),
            "few-defects",
            starts_from_run=True,
        )
    },
    default_method="yolo",
    train="detect.train:train_detector",
    open="detect.predict:load_box_predictor",
    other_names=("yolo", "detection", "detector", "boxes", "bbox", "rtdetr", "fasterrcnn"),
    examples=(
        "defectune train detect data/bottle",
        "defectune train detect data/bottle --model yolo11s.pt --image-size 640",
    ),
    # Mosaics shrink defects that are small as it is; without them fewer epochs do.
    demo={"image_size": 128, "epochs": 10, "batch_size": 4, "mosaic": 0.0, "lr0": 0.003},
)
