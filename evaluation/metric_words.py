"""Names of the metrics in plain words, each with its definition in a sentence."""

from typing import Final

METRIC_WORDS: Final[dict[str, tuple[str, str]]] = {
    "image_auroc": (
        "ranking of images (AUROC)",
        "Chance that a defective image scores higher than a good one; 0.5 is guessing.",
    ),
    "image_ap": (
        "ranking of images (average precision)",
        "Area under precision over recall of defective images, over all thresholds.",
    ),
    "accuracy": ("right verdicts", "Share of images with the right verdict."),
    "accuracy_oracle": (
        "right verdicts, best case",
        "Share of right verdicts at the best threshold on the test images themselves: out of reach "
        "in use.",
    ),
    "precision": ("precision", "Share of images called defective that are defective."),
    "recall": ("defective parts caught", "Share of defective images called defective."),
    "f1": ("F1", "Harmonic mean of precision and recall of defective images."),
    "f1_oracle": ("F1, best case", "F1 at the best threshold on the test images themselves."),
    "escape_rate": ("escapes", "Defective parts called good (false negatives)."),
    "overkill_rate": ("overkill", "Good parts called defective (false positives)."),
    "balanced_accuracy": (
        "right verdicts, balanced",
        "Mean of the share of good and the share of defective images called right; 0.5 is "
        "guessing.",
    ),
    "type_accuracy": (
        "right types, balanced",
        "Mean over good and each defect type of the share of images that were called so.",
    ),
    "box_map50": (
        "boxes (mAP50)",
        "Average precision of boxes that overlap the truth by half or more, mean over types.",
    ),
    "box_map": (
        "boxes (mAP)",
        "Average precision of boxes after COCO, mean over types and overlaps from 0.50 to 0.95.",
    ),
    "mask_map50": (
        "masks (mAP50)",
        "Average precision of masks that overlap the truth by half or more, mean over types.",
    ),
    "mask_map": (
        "masks (mAP)",
        "Average precision of masks after COCO, mean over types and overlaps from 0.50 to 0.95.",
    ),
    "pixel_ap": (
        "ranking of pixels (average precision)",
        "Area under precision over recall of defective pixels.",
    ),
    "pixel_auroc": (
        "ranking of pixels (AUROC)",
        "Chance that a defective pixel scores higher than a good one; easy to have, since most "
        "pixels are good.",
    ),
    "pixel_f1_oracle": (
        "pixel F1, best case",
        "F1 of pixels at the best threshold on the test images themselves.",
    ),
    "aupro_30": (
        "region overlap (AUPRO)",
        "Mean share of each defect region that is covered, over false positive rates up to 30 %.",
    ),
    "aupro_5": (
        "region overlap (AUPRO, 5 %)",
        "Mean share of each defect region that is covered, over false positive rates up to 5 %.",
    ),
    "aupimo": (
        "defect pixels found, good images almost clean (AUPIMO)",
        "Mean share of an image's defect pixels that are found while almost no pixel of the good "
        "images is called.",
    ),
    "dice": ("mask overlap (Dice)", "Twice the common pixels over the pixels of both masks."),
    "iou": ("mask overlap (IoU)", "Common pixels over the pixels of either mask."),
    "dice_defective": (
        "mask overlap, defective images (Dice)",
        "Dice of the pixels of defective images alone.",
    ),
    "iou_defective": (
        "mask overlap, defective images (IoU)",
        "IoU of the pixels of defective images alone.",
    ),
    "dice_per_image": (
        "mask overlap an image (Dice)",
        "Mean of the Dice of each image, so that small defects count as much as large ones.",
    ),
    "iou_per_image": (
        "mask overlap an image (IoU)",
        "Mean of the IoU of each image, so that small defects count as much as large ones.",
    ),
    "good_images_clean": (
        "good images without a mark",
        "Share of good images where no pixel is called defective.",
    ),
    "good_pixels_called": (
        "good pixels called defective",
        "Share of the pixels of good images that are called defective.",
    ),
    "pointing_game": (
        "maps that point at a defect",
        "Share of defective images where the highest point of the map lies in a true box or mask.",
    ),
    "region_recall": (
        "regions found",
        "True defect regions of which at least 30 % of the pixels are covered by found regions.",
    ),
    "false_alarms_per_image": (
        "false alarms an image",
        "Found regions an image of which less than 10 % lies on a true defect.",
    ),
    "false_alarms_per_good_image": (
        "false alarms a good image",
        "Found regions a good image.",
    ),
}
"""By the name in leaderboard.json: words and definition."""
