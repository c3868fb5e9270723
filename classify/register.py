"""What the classifiers are, for everybody who trains or opens one."""

from typing import Final

from training.registry import Family, Method, Strength

_GOOD: Final = frozenset[Strength]({"good"})

FAMILY: Final = Family(
    name="classify",
    summary="Train a classifier or a one-class model, which judges whole images.",
    methods={
        "autoencoder": Method("classify.config:AutoencoderConfig", _GOOD, "autoencoder"),
        "finetuned": Method("classify.config:FineTunedConfig", _GOOD, "finetuned"),
        "gan": Method("classify.config:GanConfig", _GOOD, "gan"),
        "patch-memory": Method("classify.config:PatchMemoryConfig", _GOOD, "patch-memory"),
        "pretrained": Method("classify.config:PretrainedConfig", _GOOD),
        "supervised": Method(
            "classify.config:SupervisedConfig",
            frozenset({"image"}),
            "supervised",
            starts_from_run=True,
        ),
    },
    default_method="pretrained",
    train="classify.train:train_classifier",
    open="classify.train:load_classifier",
    # Distances of the method pretrained; `--method knn` says all that is needed.
    aliases={"mahalanobis": "pretrained", "knn": "pretrained"},
    other_names=(
        "resnet", "efficientnet", "classification", "classifier", "patchcore", "patchmemory",
        "anomaly", "gan", "ganomaly", "autoencoder", "panda", "padim", "timm",
    ),
    unnamed=("mahalanobis",),
    named_by_model=True,
    # So small that some small chips escape, and the report has something to show.
    demo={"image_size": 64},
    examples=(
        "defectune train classify data/bottle --method patch-memory",
        "defectune train classify data/bottle --method supervised --epochs 20",
    ),
)  # fmt: skip
