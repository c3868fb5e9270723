"""One door to the three families."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import Dataset, InputError, UsageError, load_dataset, select_folds

if TYPE_CHECKING:
    from training import Predictor, Reporter
    from training.configs import Config, FamilyConfig

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
    config: "FamilyConfig | None" = None,
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
        config: all settings at once, in place of recipe, model, values and overrides.

    Returns:
        The run's folder.

    Raises:
        DefectuneError: bad settings, protocol, weights or data.
    """
    dataset = load_dataset(dataset_root)
    folds = select_folds(dataset.split, fold)
    chosen, default_name = choose_config(
        family,
        recipe=recipe,
        model=model,
        values=values,
        overrides=overrides,
        config=config,
        notice=reporter.say,
    )
    return train_config(
        dataset, family, chosen, name=(name or default_name) + suffix, folds=folds,
        reporter=reporter,
    )  # fmt: skip


def train_config(
    dataset: Dataset,
    family: str,
    config: "FamilyConfig",
    *,
    name: str,
    folds: Sequence[int],
    reporter: "Reporter",
) -> Path:
    """Train one family with all its settings given.

    Args:
        dataset: a converted dataset.
        family: detect, segment or classify.
        config: of that family.
        name: of the run.
        folds: numbers.
        reporter: for progress.

    Returns:
        The run's folder.

    Raises:
        DefectuneError: see `train_family`.
    """
    if family == "detect":
        from detect import DetectConfig, train_detector

        detect = _of_kind(config, DetectConfig)
        return train_detector(dataset, detect, name=name, folds=folds, reporter=reporter)
    if family == "segment":
        from segment import HybridConfig, SegmentConfig, train_segmenter

        segment = config if isinstance(config, HybridConfig) else _of_kind(config, SegmentConfig)
        return train_segmenter(dataset, segment, name=name, folds=folds, reporter=reporter)
    from classify import ClassifyConfig, train_classifier

    classify = _of_kind(config, ClassifyConfig)
    return train_classifier(dataset, classify, name=name, folds=folds, reporter=reporter)


def choose_config(
    family: str,
    *,
    recipe: str | None,
    model: str | None,
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    config: "FamilyConfig | None" = None,
    notice: Callable[[str], None] | None = None,
) -> "tuple[FamilyConfig, str]":
    """All settings of a training, and the name that its run gets where none is given.

    Args:
        family: detect, segment or classify.
        recipe: see `train_family`, as are the other arguments.
        model: network by name.
        values: settings by key; None means not given.
        overrides: `key=value`; they win.
        config: all settings at once.
        notice: called with a line where a setting was rounded.

    Raises:
        UsageError: an unknown setting or recipe (near ones are named), or a bad value.
        InputError: a recipe's file that cannot be read.
    """
    from training import DEFAULT_RECIPE, build_config, read_recipe, recipe_names

    settings = {**values, MODEL_KEYS[family]: model}
    method = values.get("method")
    if config is None:
        if recipe is None and method in recipe_names(family):
            # Of a method's own, since no settings suit all of them.
            recipe = str(method)
        if recipe is None and DEFAULT_RECIPE in recipe_names(family):
            recipe = DEFAULT_RECIPE
        base = read_recipe(family, recipe) if recipe is not None else {}
    else:
        base, recipe = config.model_dump(exclude_defaults=True), None
        if family != "detect":
            # The method says whose settings they are.
            base = {**base, "method": config.model_dump()["method"]}
    name = _run_name(family, recipe, {**base, **_given(settings)})
    kind = config_kind(family, base, settings, overrides)
    if isinstance(config, kind):
        return config, name
    return build_config(kind, settings, overrides, recipe=base, notice=notice), name


def config_kind(
    family: str,
    base: Mapping[str, Any],
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> "type[FamilyConfig]":
    """The class of a family's configuration; but for a detector's it depends on the method."""
    if family == "detect":
        from detect import DetectConfig

        return DetectConfig
    if family == "segment":
        from segment import HybridConfig, SegmentConfig

        chosen = _method(base, settings, overrides, default="unet")
        return HybridConfig if chosen == "hybrid" else SegmentConfig
    from classify import config_class

    return config_class(_method(base, settings, overrides, default="pretrained"))


def _of_kind(config: "FamilyConfig", kind: "type[Config]") -> "Config":
    if not isinstance(config, kind):
        raise UsageError(f"A {kind.__name__} is needed here, got {type(config).__name__}.")
    return config


def family_of(config: "FamilyConfig") -> str:
    """The family that a configuration is of.

    Raises:
        UsageError: of none.
    """
    from classify import ClassifyConfig
    from detect import DetectConfig
    from segment import HybridConfig, SegmentConfig

    for family, kind in (
        ("detect", DetectConfig),
        ("segment", SegmentConfig),
        ("segment", HybridConfig),
        ("classify", ClassifyConfig),
    ):
        if isinstance(config, kind):
            return family
    raise UsageError(
        f"A configuration should be a DetectConfig, SegmentConfig or ClassifyConfig, got "
        f"{type(config).__name__}."
    )


def _method(
    recipe: Mapping[str, Any],
    settings: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    default: str,
) -> str:
    """Whose settings they are; the last word wins, as for every setting."""
    chosen = str({"method": default, **recipe, **_given(settings)}["method"])
    for text in overrides:
        key, _, value = text.partition("=")
        chosen = value.strip() if key.strip() == "method" else chosen
    return chosen


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _run_name(family: str, recipe: str | None, settings: Mapping[str, Any]) -> str:
    """The family, and what is not the default."""
    from training import DEFAULT_RECIPE

    parts = [family]
    method = settings.get("method", "pretrained")
    if family == "classify":
        from classify import config_class

        if "model" in config_class(method).model_fields:
            parts.append(str(settings.get("model", "efficientnet_lite0")))
        parts += [method] if method not in ("pretrained", "mahalanobis") else []
    if settings.get("oversample", "none") != "none":
        parts.append(str(settings["oversample"]))
    if family == "segment" and method == "hybrid":
        parts.append(method)
    if recipe not in (None, DEFAULT_RECIPE, method):
        parts.append(Path(str(recipe)).stem)
    return "-".join(parts)


def train_seeds(
    family: str,
    dataset_root: Path,
    *,
    seed: int | None,
    seeds: int,
    name: str | None,
    values: Mapping[str, Any],
    config: "FamilyConfig | None" = None,
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
        config: all settings at once, in place of values; its seed is the first where none is given.
        options: see `train_family`.

    Returns:
        The runs' folders.

    Raises:
        UsageError: `seed` and an override of it disagree.
        DefectuneError: see `train_family`.
    """
    overrides = [str(text) for text in options.get("overrides", ())]
    set_seeds = [text for text in overrides if text.partition("=")[0].strip() == "seed"]
    if set_seeds and (seed is not None or seeds > 1):
        raise UsageError(
            f"The seed is given twice: {set_seeds[-1]} among the settings, and "
            f"{'a number of seeds' if seed is None else f'the seed {seed}'}. Give the first seed "
            "as --seed (in Python seed=) alone."
        )
    if seeds == 1:
        chosen = {**values, "seed": seed}
        return [
            train_family(family, dataset_root, name=name, values=chosen, config=config, **options)
        ]
    first = _first_seed(family, values, config, seed, options)
    return [
        train_family(
            family,
            dataset_root,
            name=name,
            suffix=f"-seed-{number}",
            values={**values, "seed": number},
            config=None if config is None else config.model_copy(update={"seed": number}),
            **options,
        )
        for number in range(first, first + seeds)
    ]


def _first_seed(
    family: str,
    values: Mapping[str, Any],
    config: "FamilyConfig | None",
    seed: int | None,
    options: Mapping[str, Any],
) -> int:
    """The one that is given, else that of the configuration or the recipe."""
    if seed is not None:
        return seed
    if config is not None:
        return config.seed
    chosen, _ = choose_config(
        family,
        recipe=options.get("recipe"),
        model=options.get("model"),
        values=values,
        overrides=options.get("overrides", ()),
    )
    return chosen.seed


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
        from segment import load_segmenter

        return load_segmenter(run, fold, device=device)
    if family == "classify":
        from classify import load_classifier

        return load_classifier(run, fold, device=device)
    raise InputError(f"{run} is a run of the unknown family {family!r}.")
