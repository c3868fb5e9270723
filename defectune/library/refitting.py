"""One more training of a finished run's settings, for the line: no image is kept for testing."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from annotations import Dataset, InputError, SplitMismatchError, load_dataset
from annotations.split import Fold, Split, split_digest
from defectune.families import config_kind, train_config
from defectune.runs import dataset_of

if TYPE_CHECKING:
    from training import Reporter

REFIT: Final = "refit"


def refit(run: Path, reporter: "Reporter") -> Path:
    """Train a run's settings on all images but the first fold's validation images.

    Those images choose epochs and thresholds, as they do in that fold: a score of an image that
    was learned from says nothing of new ones. The model has no test images; its expected quality is
    that of the folds' models on theirs.

    Args:
        run: its folder, within its dataset.
        reporter: for progress.

    Returns:
        The refitted run's folder, RUN/refit/runs/refit. One that is there is not trained again; an
        interrupted one goes on.

    Raises:
        InputError: the run was moved out of its dataset.
        SplitMismatchError: the dataset has another split than the run.
        DefectuneError: see `families.train_config`.
    """
    from training import read_run_config, stored_config
    from training.registry import family_named

    settings = read_run_config(run)
    if settings.get("from"):
        raise InputError(
            f"{run} began with the weights of {settings['from'].get('run')}, which learned from "
            "other images than a refit does: it would be another model. Bundle the folds' models "
            "instead (--models first or ensemble)."
        )
    dataset = load_dataset(dataset_of(run))
    if dataset.split.digest != settings["split_digest"]:
        raise SplitMismatchError(
            f"{run} was trained under another split than {dataset.root} has. Train it again."
        )
    family = str(settings["family"])
    config = stored_config(run, config_kind(family, settings["config"], {}))
    own_good = any(not s.is_defective and s.source_split != "test" for s in dataset.samples)
    learns_from = family_named(family).method_named(settings["config"].get("method")).learns_from
    if own_good and learns_from == {"good"}:
        reporter.say(
            "This method learns from the good images alone that the source gives for training, and "
            "the test images add none: --models first is the same model."
        )
    return train_config(
        without_test_side(dataset, run / REFIT),
        family,
        config,
        name=REFIT,
        folds=[0],
        reporter=reporter,
    )


def without_test_side(dataset: Dataset, root: Path) -> Dataset:
    """The dataset with one fold: the first fold's, its test images among those to learn from.

    Args:
        dataset: a converted dataset.
        root: folder for runs of it.

    Raises:
        InputError: the first fold has no validation images.
    """
    first = dataset.split.folds[0]
    if not first.val:
        raise InputError(
            f"The first fold of {dataset.root} has no validation images to choose thresholds on. "
            "Bundle the folds' models instead (--models first or ensemble)."
        )
    folds = (Fold((*first.train, *first.test), first.val, ()),)
    split = Split(
        protocol="custom",
        seed=dataset.split.seed,
        folds=folds,
        digest=split_digest("custom", folds, {s.image_id: s.sha256 for s in dataset.samples}),
        left_out=dataset.split.left_out[:1],
        detail=f"a refit under {dataset.split.digest}",
    )
    return replace(dataset, root=root, split=split)
