"""Training and opening any family, with settings from wherever they come."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations import Dataset, InputError, UsageError, load_dataset, select_folds

if TYPE_CHECKING:
    from training import Predictor, Reporter
    from training.configs import FamilyConfig
    from training.registry import Family


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
    start: Path | None = None,
) -> Path:
    """Train one family on a converted dataset.

    Args:
        family: name of a registered one.
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
        start: older run whose weights folds begin with; its name is added to the default one.

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
    if start is not None:
        default_name += f"-from-{start.name}"
    return train_config(
        dataset, family, chosen, name=(name or default_name) + suffix, folds=folds,
        reporter=reporter, start=start,
    )  # fmt: skip


def train_config(
    dataset: Dataset,
    family: str,
    config: "FamilyConfig",
    *,
    name: str,
    folds: Sequence[int],
    reporter: "Reporter",
    start: Path | None = None,
) -> Path:
    """Train one family with all its settings given.

    Args:
        dataset: a converted dataset.
        family: name of a registered one.
        config: of that family.
        name: of the run.
        folds: numbers.
        reporter: for progress.
        start: older run whose weights folds begin with.

    Returns:
        The run's folder.

    Raises:
        DefectuneError: see `train_family`.
    """
    from training.registry import family_named

    registered = family_named(family)
    if not registered.owns(config):
        raise UsageError(
            f"{type(config).__name__} holds no settings of {family}, whose settings are "
            f"{' or '.join(k.__name__ for k in registered.config_classes().values())}."
        )
    train = registered.train_function()
    if start is None:
        return Path(train(dataset, config, name=name, folds=folds, reporter=reporter))
    from training.job import run_folder
    from training.start import start_from

    if run_folder(dataset, name).resolve() == start.resolve():
        raise UsageError(f"--from {start.name} is the run itself. Give the new one another --name.")
    begins = start_from(start, dataset, registered, config, folds)
    # Every network is drawn, and then gets the older run's weights.
    config = config.model_copy(update={"weights": "none"})
    return Path(train(dataset, config, name=name, folds=folds, reporter=reporter, start=begins))


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
        family: name of a registered one.
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
    from training.configs import build_config
    from training.recipes import read_recipe
    from training.registry import family_named

    registered = family_named(family)
    settings = dict(values)
    if model is not None:
        settings[registered.model_key] = model
    if settings.get("method") is None:
        settings.pop("method", None)
        named = {} if recipe is None else read_recipe(family, recipe)
        implied = _implied_method(registered, {**named, **settings}, overrides)
        if config is None and implied is not None:
            settings["method"] = implied
            if notice is not None:
                notice(f"The settings given are those of --method {implied}, which is taken.")
    if config is None:
        if recipe is None:
            # Of a method's own, since no settings suit all of them.
            recipe = registered.method_named(settings.get("method")).recipe
        base = read_recipe(family, recipe) if recipe is not None else {}
    else:
        base, recipe = config.model_dump(exclude_defaults=True), None
        if "method" in type(config).model_fields:
            # The method says whose settings they are.
            base = {**base, "method": config.model_dump()["method"]}
    kind = config_kind(family, base, settings, overrides)
    name = _run_name(registered, recipe, {**base, **_given(settings)})
    if isinstance(config, kind):
        return config, name
    return build_config(kind, settings, overrides, recipe=base, notice=notice), name


def config_kind(
    family: str,
    base: Mapping[str, Any],
    settings: Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> "type[FamilyConfig]":
    """The class of a family's configuration, which depends on the method."""
    from training.registry import family_named

    # The last word wins, as for every setting.
    chosen = {**base, **_given(settings)}.get("method")
    for text in overrides:
        key, _, value = text.partition("=")
        chosen = value.strip() if key.strip() == "method" else chosen
    registered = family_named(family)
    kind = registered.config_class(None)
    if "method" not in kind.model_fields and len(registered.methods) == 1:
        # What is no setting of its only method is refused with all other unknown ones.
        return kind
    return registered.config_class(chosen)


def _implied_method(
    family: "Family", settings: Mapping[str, Any], overrides: Sequence[str]
) -> str | None:
    """The one method besides the default that has all settings given, where the default lacks
    some of them."""
    keys = {*_given(settings), *(text.partition("=")[0].strip() for text in overrides)}
    kinds = family.config_classes()
    if "method" in keys or keys <= {*kinds[family.default_method].model_fields}:
        return None
    having = [method for method, kind in kinds.items() if keys <= {*kind.model_fields}]
    return having[0] if len(having) == 1 else None


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _run_name(family: "Family", recipe: str | None, settings: Mapping[str, Any]) -> str:
    """The family, and what is not the default."""
    parts = [family.name]
    method = settings.get("method") or family.default_method
    fields = family.config_class(method).model_fields
    if family.named_by_model and family.model_key in fields:
        default = fields[family.model_key].default
        parts.append(str(settings.get(family.model_key, default)))
    if method not in (family.default_method, *family.unnamed):
        parts.append(str(method))
    if settings.get("oversample", "none") != "none":
        parts.append(str(settings["oversample"]))
    own = family.method_named(method).recipe
    if recipe not in (None, own, method):
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
        family: name of a registered one.
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
    from training.registry import families

    family = read_run_config(run)["family"]
    if family not in families():
        raise InputError(
            f"{run} is a run of the unknown family {family!r}. Install the package that has it."
        )
    opened: Predictor = families()[family].open_function()(run, fold, device=device)
    return opened
