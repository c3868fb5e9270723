"""One door to the three families."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import InputError, load_dataset, select_folds

if TYPE_CHECKING:
    from training import Predictor, Reporter
    from training.configs import Config

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
    recipe: str | None = None,
    suffix: str = "",
) -> Path:
    """Train one family on a converted dataset.

    Args:
        family: detect, segment or classify.
        dataset_root: a converted dataset.
        fold: a number, or all.
        name: of the run; the family's, and the recipe's where it is not the default.
        reporter: for progress.
        model: network by name.
        values: settings by key; None means not given.
        overrides: `key=value`; they win.
        recipe: settings to begin with, by name or path; None is the family's default.
        suffix: added to the run's name.

    Returns:
        The run's folder.

    Raises:
        DefectuneError: bad settings, protocol, weights or data.
    """
    from training import DEFAULT_RECIPE, build_config, read_recipe, recipe_names

    dataset = load_dataset(dataset_root)
    folds = select_folds(dataset.split, fold)
    settings = {**values, MODEL_KEYS[family]: model}
    run_name = name or (
        f"classify-{model or 'efficientnet_lite0'}" if family == "classify" else family
    )
    method = values.get("method")
    if name is None and family == "classify" and method not in (None, "mahalanobis"):
        run_name += f"-{method}"
    if name is None and recipe not in (None, DEFAULT_RECIPE):
        run_name += f"-{Path(str(recipe)).stem}"
    run_name += suffix
    if recipe is None and DEFAULT_RECIPE in recipe_names(family):
        recipe = DEFAULT_RECIPE
    base = read_recipe(family, recipe) if recipe is not None else {}

    def configure(kind: "type[Config]") -> "Config":
        return build_config(kind, settings, overrides, recipe=base, notice=reporter.say)

    if family == "detect":
        from detect import DetectConfig, train_detector

        detect = configure(DetectConfig)
        return train_detector(dataset, detect, name=run_name, folds=folds, reporter=reporter)
    if family == "segment":
        from segment import SegmentConfig, train_segmenter

        segment = configure(SegmentConfig)
        return train_segmenter(dataset, segment, name=run_name, folds=folds, reporter=reporter)
    from classify import ClassifyConfig, train_classifier

    classify = configure(ClassifyConfig)
    return train_classifier(dataset, classify, name=run_name, folds=folds, reporter=reporter)


def train_seeds(
    family: str,
    dataset_root: Path,
    *,
    seed: int | None,
    seeds: int,
    name: str | None,
    values: Mapping[str, Any],
    **options: Any,
) -> list[Path]:
    """Train the same settings with several seeds, one run each, to see the spread.

    Args:
        family: detect, segment or classify.
        dataset_root: a converted dataset.
        seed: the first one.
        seeds: how many; beyond one, `-seed-N` is added to the runs' names.
        name: of the runs.
        values: settings by key.
        options: see `train_family`.

    Returns:
        The runs' folders.

    Raises:
        DefectuneError: see `train_family`.
    """
    if seeds == 1:
        chosen = {**values, "seed": seed}
        return [train_family(family, dataset_root, name=name, values=chosen, **options)]
    first = seed or 0
    return [
        train_family(
            family,
            dataset_root,
            name=name,
            suffix=f"-seed-{number}",
            values={**values, "seed": number},
            **options,
        )
        for number in range(first, first + seeds)
    ]


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
