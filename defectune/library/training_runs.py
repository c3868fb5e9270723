"""Training a family on a converted dataset."""

from typing import TYPE_CHECKING, Any, Final, Literal, get_args, overload

from annotations import Dataset, TrainingError, UsageError
from annotations.errors import shortened
from defectune.library.arguments import Place, as_dataset, as_path, checked
from defectune.library.environment import quiet_environment
from defectune.library.progress import shown
from defectune.library.run import Run

if TYPE_CHECKING:
    from training import Reporter
    from training.configs import FamilyConfig

Family = Literal["detect", "segment", "classify"]
MOST_SEEDS: Final = 100


@overload
def train(
    dataset: Dataset | Place,
    family: "Family | FamilyConfig",
    *,
    recipe: Place | None = None,
    fold: int | str = "all",
    model: str | None = None,
    method: str | None = None,
    oversample: str | None = None,
    weights: Place | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    seeds: None = None,
    device: str | None = None,
    name: str | None = None,
    progress: "bool | Reporter" = True,
    **settings: Any,
) -> Run: ...


@overload
def train(
    dataset: Dataset | Place,
    family: "Family | FamilyConfig",
    *,
    recipe: Place | None = None,
    fold: int | str = "all",
    model: str | None = None,
    method: str | None = None,
    oversample: str | None = None,
    weights: Place | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    seeds: int,
    device: str | None = None,
    name: str | None = None,
    progress: "bool | Reporter" = True,
    **settings: Any,
) -> list[Run]: ...


@checked
def train(
    dataset: Dataset | Place,
    family: "Family | FamilyConfig",
    *,
    recipe: Place | None = None,
    fold: int | str = "all",
    model: str | None = None,
    method: str | None = None,
    oversample: str | None = None,
    weights: Place | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    device: str | None = None,
    name: str | None = None,
    progress: "bool | Reporter" = True,
    **settings: Any,
) -> Run | list[Run]:
    """Fine-tune on the folds of the split, and predict each fold's test images.

    Folds that have finished are skipped: the same call goes on with an interrupted training.

    Args:
        dataset: a dataset, or its folder.
        family: detect, segment or classify; or a configuration, which then holds all settings.
        recipe: settings to begin with: few-defects (the default), plain, fast, or a YAML file.
        fold: a fold's number from 0, or all.
        model: detect: yolo11n.pt, yolo-lite0 …; segment: an encoder; classify: a network.
        method: classify: pretrained, finetuned, patch-memory, autoencoder, gan or supervised.
        oversample: classify, supervised: none, repeat, injection or deepsmote.
        weights: auto (the default), none, or a file.
        epochs: passes over the training images.
        image_size: side in pixels.
        seed: of everything random.
        seeds: train so many runs, with seeds from `seed` (or the configuration's) on, to see the
            spread; `-seed-N` is added to their names. 1 to 100.
        device: auto (the default), cpu, or cuda:0 …
        name: of the run; the family's, and what is not the default, where None.
        progress: bars or lines; False shows nothing; or a reporter of your own.
        settings: any other field of the family's configuration.

    Returns:
        The run; a list of runs where `seeds` is given.

    Raises:
        UsageError: an argument of a wrong type, an unknown setting, or a value out of its range.
        OutputExistsError: a run of this name has other settings.
        DefectuneError: the split forbids it, weights are missing, or training failed.

    Example:
        >>> import defectune as dt
        >>> data = dt.convert("drawn/drawn_bottle", "half", protocol="holdout", progress=False)
        >>> config = dt.ClassifyConfig(model="resnet18", weights="none", image_size=64)
        >>> dt.train(data, config, name="from-config", progress=False).folds
        (0,)
        >>> runs = dt.train(data, config, seeds=2, name="spread", progress=False)
        >>> [run.name for run in runs]
        ['spread-seed-0', 'spread-seed-1']
    """
    from defectune.families import family_of, train_seeds
    from training.configs import FamilyConfig

    if not isinstance(family, FamilyConfig) and family not in get_args(Family):
        raise UsageError(
            f"train() takes {' or '.join(map(repr, get_args(Family)))} or a configuration as "
            f"'family', got {shortened(repr(family), 80)} ({type(family).__name__})."
        )

    values = {
        "weights": None if weights is None else str(weights),
        "epochs": epochs,
        "image_size": image_size,
        "device": device,
        **({} if method is None else {"method": method}),
        **({} if oversample is None else {"oversample": oversample}),
        **settings,
    }
    config = family if isinstance(family, FamilyConfig) else None
    given = [key for key, value in values.items() if value is not None]
    given += [key for key, value in (("model", model), ("recipe", recipe)) if value is not None]
    given += [] if seed is None else ["seed"]
    if config is not None and given:
        raise UsageError(
            f"A configuration holds all settings, and the call also gives {', '.join(given)}. Set "
            "them in the configuration, for instance by model_copy(update={...})."
        )
    if seeds is not None and not 1 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds should be 1 to {MOST_SEEDS}, got {seeds}.")
    quiet_environment()
    data = as_dataset(dataset)
    with shown(progress) as reporter:
        try:
            paths = train_seeds(
                family if isinstance(family, str) else family_of(family),
                data.root,
                seed=seed,
                seeds=1 if seeds is None else seeds,
                fold=str(fold),
                name=name,
                reporter=reporter,
                model=model,
                values=values,
                overrides=[],
                recipe=None if recipe is None else str(as_path(recipe, what="recipe")),
                config=config,
            )
        except SystemExit as error:
            # Lightning takes Ctrl-C for itself and leaves the process; a notebook must live on.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise TrainingError(f"Training left early, with the status {error.code}.") from error
    runs = [Run(path) for path in paths]
    return runs[0] if seeds is None else runs
