"""Training a family on a converted dataset."""

from typing import TYPE_CHECKING, Annotated, Any, Final, overload

from annotations import Dataset, TrainingError, UsageError
from annotations.errors import shortened
from defectune.library.arguments import Place, as_dataset, as_path, checked
from defectune.library.environment import quiet_environment
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.recommending import recommended
from defectune.library.run import Run
from defectune.runs import find_run

if TYPE_CHECKING:
    from training import Reporter
    from training.configs import FamilyConfig

MOST_SEEDS: Final = 100


# What the options are stands once, below; an overload tells the types of results alone.
@overload
def train(
    dataset: Dataset | Place,
    family: "str | FamilyConfig | None" = None,
    *,
    seeds: None = None,
    **options: Any,
) -> Run: ...


@overload
def train(
    dataset: Dataset | Place,
    family: "str | FamilyConfig | None" = None,
    *,
    seeds: int,
    **options: Any,
) -> list[Run]: ...


@checked
def train(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    family: "str | FamilyConfig | None" = None,
    *,
    recipe: Annotated[Place | None, Option(metavar="NAME|FILE")] = None,
    fold: Annotated[int | str, Option(metavar="K|all")] = "all",
    model: str | None = None,
    method: str | None = None,
    oversample: str | None = None,
    weights: Place | None = None,
    from_run: Annotated[Run | Place | None, Option("Model", "RUN", name="--from")] = None,
    epochs: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    seeds: Annotated[int | None, Option(metavar="N")] = None,
    device: str | None = None,
    name: str | None = None,
    progress: "bool | Reporter" = True,
    **settings: Any,
) -> Run | list[Run]:
    """Fine-tune on the folds of the split, and predict each fold's test images.

    Folds that have finished are skipped: the same call goes on with an interrupted training.

    Args:
        dataset: A converted dataset, or its folder.
        family: Name of a family (detect, segment, classify, or that of another package), or a
            configuration, which then holds all settings. Without one, what suits the labels is
            trained, and why is said.
        recipe: Named settings to begin with, or a YAML file of them. What is given besides wins.
        fold: Number of the fold to train, from 0, or all.
        model: Name of the network: yolo11n.pt or yolo-lite0 for detect, an encoder for segment.
        method: What is learned, and how; see the family's settings.
        oversample: How defect types get more images, for the method supervised of classify.
        weights: Pretrained weights: auto, none, or a file.
        from_run: Begin each fold with that fold's weights of this older run, of the same method and
            network; refused where they learned from images that validate or test now.
        epochs: Number of passes over the training images.
        image_size: Side in pixels that images are resized to.
        seed: Seed of everything random.
        seeds: Train this many runs with consecutive seeds, to see the spread; -seed-N is added to
            their names. 1 to 100.
        device: Device to compute on: auto, cpu or cuda:0.
        name: Name of the run; if not given, the family's and what is not the default.
        progress: True for bars or lines, False for nothing, or a reporter of your own.
        settings: Any other setting of the family, which wins over the options. Can be repeated.

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
    from defectune.families import train_seeds
    from training.configs import FamilyConfig
    from training.registry import families, family_named, family_of

    data = as_dataset(dataset)
    why = ""
    if family is None:
        chosen = recommended(data)
        family = chosen.family
        if len(family_named(family).methods) > 1:
            method = method or chosen.method
        why = f"Training {chosen.family} with the method {chosen.method}: {chosen.why}."
    if not isinstance(family, FamilyConfig | str):
        raise UsageError(
            f"train() takes {' or '.join(map(repr, families()))} or a configuration as "
            f"'family', got {shortened(repr(family), 80)} ({type(family).__name__})."
        )
    registered = family_named(family) if isinstance(family, str) else family_of(family)
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
    if from_run is not None and weights is not None:
        raise UsageError(
            "--from and --weights both say what a training begins with. Give one of them."
        )
    older = from_run.path if isinstance(from_run, Run) else from_run
    start = None if older is None else find_run(as_path(older, what="run"), data.root)
    quiet_environment()
    with shown(progress) as reporter:
        if why:
            reporter.say(why)
        try:
            paths = train_seeds(
                registered.name,
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
                start=start,
            )
        except SystemExit as error:
            # Lightning takes Ctrl-C for itself and leaves the process; a notebook must live on.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise TrainingError(f"Training left early, with the status {error.code}.") from error
    runs = [Run(path) for path in paths]
    return runs[0] if seeds is None else runs
