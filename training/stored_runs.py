"""What a run on disk says of itself: settings, thresholds, finished folds."""

from pathlib import Path
from typing import Any, Final

from annotations import (
    FoldThresholds,
    InputError,
    UsageError,
)
from annotations.errors import shortened
from annotations.files import (
    read_json,
)
from annotations.prediction_files import (
    common_range,
    damaged,
    read_thresholds,
)
from annotations.run_files import CONFIG_FILE, meta_path
from annotations.yaml_files import read_yaml
from training.configs import Config, build_config

MAX_CLASSES: Final = 255
"""As many as an 8-bit class mask tells apart from the background."""
RETIRED: Final = {"drawn_defects": 0.0, "memory_patches": 0}
"""Settings that earlier versions wrote, with the value that did nothing."""


def read_run_config(run: Path) -> dict[str, Any]:
    """Read a run's `config.yaml`: family, split_digest, class_names, bit_depth, config.

    Raises:
        InputError: not a run, or a damaged file.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        raise InputError(
            f"{run} is not a run: there is no {CONFIG_FILE} in it. Runs stand under OUT/runs/."
        )
    try:
        value = read_yaml(path, what="a run's settings")
        if not isinstance(value, dict):
            raise TypeError("it should hold settings by name")
        if not isinstance(value["config"], dict) or not isinstance(value["class_names"], list):
            raise TypeError("config or class_names has another type")
        depth = value.setdefault("bit_depth", None)
        if depth is not None and (type(depth) is not int or not 8 <= depth <= 16):
            raise TypeError("bit_depth should be a number from 8 to 16, or nothing")
        names = value["class_names"]
        if not 0 < len(names) <= MAX_CLASSES or not all(isinstance(n, str) for n in names):
            raise TypeError(f"class_names should be 1 to {MAX_CLASSES} texts")
        if not isinstance(value["family"], str) or not isinstance(value["split_digest"], str):
            raise TypeError("family or split_digest has another type")
        retired = {name: value["config"].pop(name, default) for name, default in RETIRED.items()}
        if retired != RETIRED:
            used = [name for name, default in RETIRED.items() if retired[name] != default]
            raise TypeError(
                f"it was trained with {', '.join(used)}, which the program no longer has; the "
                "version that trained it opens it"
            )
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({shortened(error)}). Train again.") from error
    return dict(value)


def stored_config(run: Path, kind: type[Config]) -> Config:
    """The settings that a run was trained with.

    Raises:
        InputError: not a run, or settings that are none of this family's.
    """
    values = read_run_config(run)["config"]
    try:
        return build_config(kind, values, [])
    except UsageError as error:
        raise InputError(
            f"{run / CONFIG_FILE} is damaged: {shortened(error)} Train again."
        ) from error


def finished_folds(run: Path) -> set[int]:
    """Folds whose predictions are complete.

    Raises:
        InputError: the run's meta.json is damaged.
    """
    return set(read_thresholds(run))


def run_thresholds(run: Path, fold: int) -> FoldThresholds:
    """Thresholds that a fold's training stored.

    Raises:
        InputError: that fold has not finished.
    """
    thresholds = read_thresholds(run)
    if fold not in thresholds:
        raise InputError(f"Fold {fold} of the run {run} has not finished training.")
    return thresholds[fold]


def map_range(run: Path) -> tuple[float, float]:
    """Scores at the ends of a heat map's colors, as the run's stored maps span them.

    Raises:
        InputError: the run's meta.json is damaged.
    """
    path = meta_path(run)
    meta = read_json(path, what="a run's predictions")
    try:
        ranges = [(float(low), float(high)) for low, high in meta.get("maps", {}).values()]
    except (TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error) from error
    return common_range(ranges)
