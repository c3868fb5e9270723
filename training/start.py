"""`train --from RUN`: each fold begins with the weights of that fold of an older run.

It may only where the old model learned from nothing that judges the new one: no test image of the
fold, and no validation image of it, by part and by bytes, as the old run's version has them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from annotations import Dataset, InputError, SplitMismatchError, UsageError
from annotations.dataset import load_version
from annotations.files import read_json
from annotations.images import sha256_of
from annotations.later import learned_from, version_of_run
from annotations.run_digests import SELF_KEY
from annotations.run_files import meta_path
from training.configs import FamilyConfig
from training.job import RANDOM_WEIGHTS, Start
from training.registry import Family
from training.stored_runs import finished_folds, read_run_config

_NAMED = 5


def start_from(
    run: Path, dataset: Dataset, family: Family, config: FamilyConfig, folds: Sequence[int]
) -> Start:
    """Check that folds may begin with a run's weights.

    Args:
        run: the older run's folder.
        dataset: as it is now.
        family: that is trained.
        config: its settings.
        folds: that are trained.

    Raises:
        UsageError: a method that does not begin with a run's weights, or several devices.
        InputError: a run of another method, network or list of classes, an unfinished fold, or a
            model that learned from images that validate or test now.
        SplitMismatchError: a run of no version of this dataset.
    """
    settings = read_run_config(run)
    asked = config.model_dump().get("method") or family.default_method
    if not family.method_named(asked).starts_from_run:
        able = [name for name, method in family.methods.items() if method.starts_from_run]
        raise UsageError(
            f"--from: {family.name} --method {asked} does not begin with weights that were "
            f"trained. Those that do are {', '.join(able) or 'none'}."
        )
    if "," in config.device:
        raise UsageError(f"--from trains on one device, found --device {config.device}.")
    stored = settings["config"]
    differs = [
        (what, old, new)
        for what, old, new in (
            ("family", settings["family"], family.name),
            ("method", stored.get("method") or family.default_method, asked),
            ("network", stored.get(family.model_key), config.model_dump().get(family.model_key)),
        )
        if old != new and new != "auto"
    ]
    if differs:
        what, old, new = differs[0]
        raise InputError(
            f"--from {run.name}: its {what} is {old}, and this training's is {new}. Weights of one "
            "do not fit the other: name a run of the same, or leave --from out."
        )
    _require_classes(run, settings["class_names"], dataset.class_names)
    before = _dataset_of(run, dataset, settings["split_digest"])
    missing = sorted(set(folds) - finished_folds(run))
    if missing:
        raise InputError(
            f"--from {run.name}: fold {missing[0]} of it has not finished training. Finish it, or "
            "train other folds with --fold."
        )
    for fold in folds:
        _require_unseen(run, before, dataset, fold)
    meta: Any = read_json(meta_path(run), what="a run's predictions")
    digest = meta.get(SELF_KEY)
    return Start(
        run,
        # Earlier versions wrote none.
        digest if isinstance(digest, str) else sha256_of(meta_path(run)),
        before,
        random=str(meta.get("model", "")).endswith(RANDOM_WEIGHTS),
    )


def _require_classes(run: Path, old: Sequence[str], new: Sequence[str]) -> None:
    if list(old) == list(new):
        return
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    parts = [f"it knows {', '.join(gone)}, which the dataset does not have"] * bool(gone)
    parts += [f"the dataset has {', '.join(come)}, which it does not know"] * bool(come)
    raise InputError(
        f"--from {run.name}: its classes are not the dataset's: "
        f"{' and '.join(parts) or 'they stand in another order'}. Train without --from."
    )


def _dataset_of(run: Path, dataset: Dataset, digest: str) -> Dataset:
    """The dataset as it was when a run of it was trained."""
    number = version_of_run(run, dataset)
    if number is not None:
        return load_version(dataset.root, number)
    if digest != dataset.split.digest:
        raise SplitMismatchError(
            f"--from {run.name}: it was trained under the split {digest[:12]}…, which is none of "
            f"{dataset.root}, so that nobody can say which images it learned from. Name a run of "
            "this dataset."
        )
    return dataset


def _require_unseen(run: Path, before: Dataset, dataset: Dataset, fold: int) -> None:
    old, new = before.split.folds[fold], dataset.split.folds[fold]
    for what, ids, learned in (
        ("test", new.test, (*old.train, *old.val)),
        # The old validation images chose epochs alone, as they do again.
        ("validation", new.val, old.train),
    ):
        known = learned_from(before, dataset, learned)
        seen = [s.image_id for s in dataset.select(ids) if known.holds(s)]
        if seen:
            raise InputError(seen_text(run, fold, what, seen))


def seen_text(run: Path, fold: int, what: str, seen: Iterable[str]) -> str:
    """The refusal of a fold whose old model learned from images that judge it now."""
    ids = sorted(seen)
    return (
        f"--from {run.name}: the model of fold {fold} learned from the parts of {len(ids)} images "
        f"that are {what} images now: {', '.join(ids[:_NAMED])}{' …' if len(ids) > _NAMED else ''}."
        " What it learned would judge itself. Train without --from."
    )
