"""One door to the three families."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import InputError, load_dataset, select_folds

if TYPE_CHECKING:
    from training import Predictor, Reporter

MODEL_KEYS = {"detect": "model", "segment": "encoder", "classify": "model"}


def train_family(
    family: str,
    dataset_root: Path,
    *,
    fold: str,
    name: str | None,
    reporter: "Reporter",
    model: str | None,
    values: Mapping[str, Any],
    overrides: Sequence[str],
) -> Path:
    """Train one family on a converted dataset.

    Returns:
        The run's folder.

    Raises:
        DefectuneError: bad settings, protocol, weights or data.
    """
    from training import build_config

    dataset = load_dataset(dataset_root)
    folds = select_folds(dataset.split, fold)
    settings = {**values, MODEL_KEYS[family]: model}
    run_name = name or (
        f"classify-{model or 'efficientnet_lite0'}" if family == "classify" else family
    )
    if family == "detect":
        from detect import DetectConfig, train_detector

        detect = build_config(DetectConfig, settings, overrides)
        return train_detector(dataset, detect, name=run_name, folds=folds, reporter=reporter)
    if family == "segment":
        from segment import SegmentConfig, train_segmenter

        segment = build_config(SegmentConfig, settings, overrides)
        return train_segmenter(dataset, segment, name=run_name, folds=folds, reporter=reporter)
    from classify import ClassifyConfig, train_classifier

    classify = build_config(ClassifyConfig, settings, overrides)
    return train_classifier(dataset, classify, name=run_name, folds=folds, reporter=reporter)


def open_predictor(run: Path, fold: int, *, device: str) -> "Predictor":
    """Open one fold of a finished run.

    Raises:
        InputError: not a run, an unknown family, or an unfinished fold.
    """
    from training import read_run_config

    family = read_run_config(run)["family"]
    if family == "detect":
        from detect import load_box_predictor

        return load_box_predictor(run, fold, device=device)
    if family == "segment":
        from segment import load_mask_predictor

        return load_mask_predictor(run, fold, device=device)
    if family == "classify":
        from classify import load_distance_predictor

        return load_distance_predictor(run, fold, device=device)
    raise InputError(f"{run} is a run of the unknown family {family!r}.")
