"""Bundles: made of a run, and checked against it."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from annotations import Dataset, InputError, UsageError
from annotations.errors import install_extra, shortened
from annotations.prediction_files import THRESHOLD
from annotations.run_files import CONFIG_FILE, RUNS_FOLDER
from defectune import families
from defectune.library.arguments import Place, as_dataset, as_path, checked
from defectune.library.environment import quiet_environment
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.refitting import REFIT, refit
from defectune.library.run import Run
from defectune.runs import find_run, operating_threshold

if TYPE_CHECKING:
    from deployment import Bundle
    from deployment.checking import BundleCheck
    from deployment.export import MadeBundle
    from training import Predictor, Reporter

ENSEMBLE: Final = "ensemble"
FORMATS: Final = {"onnx": "onnxruntime", "openvino": "openvino"}


@checked
def bundle(
    run: Annotated[Run | Place, Option(metavar="RUN")],
    file: Annotated[Place, Option(metavar="FILE")],
    *,
    models: str = "first",
    format: str = "onnx",  # noqa: A002 - as the command calls it
    operating_point: bool = False,
    progress: "bool | Reporter" = True,
) -> "MadeBundle":
    """Make one file of a finished run that gives the same verdicts without torch.

    `bundle check` proves that it does.

    Args:
        run: A run, its folder, or OUT/NAME.
        file: File to write; a new one.
        models: Models to put in: first (the lowest finished fold's, as predict takes it), fold-K
            (that fold's), ensemble (all finished folds', whose calibrated scores are averaged) or
            refit (one model that is trained now, on the test images too).
        format: Engine that runs the graphs: onnx (ONNX Runtime) or openvino.
        operating_point: Take the threshold that evaluate chose by costs or a bound, for one fold's
            model alone.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Raises:
        UsageError: an argument of a wrong type, or a fold that has not finished.
        DefectuneError: no such run, an existing file, or a model that cannot be exported.

    Example:
        >>> import defectune as dt
        >>> made = dt.bundle("out/runs/quick", "quick.bundle", progress=False)
        >>> made.folds
        (0,)
    """
    with shown(progress) as reporter:
        place = run.path if isinstance(run, Run) else find_run(as_path(run, what="run"))
        path = as_path(file, what="bundle")
        if path.exists():
            raise UsageError(f"{path} exists; nothing is overwritten. Choose another name.")
        if not (place / CONFIG_FILE).is_file():
            raise InputError(
                f"{place} holds predictions that were made elsewhere: it has no model."
            )
        if format not in FORMATS:
            raise UsageError(
                f"--format takes {' or '.join(FORMATS)}, got {shortened(format, 40)!r}."
            )
        # Said before PyTorch is imported, which takes seconds.
        reporter.say(f"Bundling {place.name}: opening its models")
        return _bundled(
            place, path, models, format, operating_point=operating_point, reporter=reporter
        )


def _bundled(
    place: Path,
    path: Path,
    models: str,
    format_: str,
    *,
    operating_point: bool,
    reporter: "Reporter",
) -> "MadeBundle":
    """See `bundle`."""
    from training import finished_folds

    folds = _folds(place, models, sorted(finished_folds(place)))
    quiet_environment()
    _require_installed(format_)
    from deployment.export import BundleOptions, make_bundle

    threshold, chosen_by = float(THRESHOLD), ""
    if operating_point:
        if models in (ENSEMBLE, REFIT):
            raise UsageError(
                "An operating point was chosen for one fold's model: bundle it with --models first "
                "or fold-K."
            )
        threshold = operating_threshold(place, folds[0])
        chosen_by = "evaluate's operating point, in leaderboard.json"
    source = refit(place, reporter) if models == REFIT else place
    return make_bundle(
        place,
        path,
        folds,
        lambda fold: families.open_predictor(source, fold, device="cpu"),
        BundleOptions(
            refitted=None if models != REFIT else source,
            engine=FORMATS[format_],
            threshold=threshold,
            chosen_by=chosen_by,
        ),
        say=reporter.say,
    )


def _require_installed(format_: str) -> None:
    """Refuse before a refit trains for an hour what would fail after it."""
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise InputError(
            f"Making a bundle needs {' and '.join(missing)}, not installed here. "
            f"{install_extra('bundle')}."
        )
    if format_ == "openvino" and find_spec("openvino") is None:
        raise InputError(
            f"--format openvino needs openvino, not installed here. {install_extra('openvino')}."
        )


def _folds(run: Path, models: str, done: list[int]) -> list[int]:
    if not done:
        raise InputError(f"The run {run} has no finished fold. Train it first.")
    if models == "first":
        return done[:1]
    if models == REFIT:
        return [0]
    if models == ENSEMBLE:
        return done
    number = models.removeprefix("fold-")
    if number not in map(str, done):
        raise UsageError(
            f"--models takes first, ensemble, refit or fold-K with a finished fold ({done}), got "
            f"{shortened(models, 40)!r}."
        )
    return [int(number)]


@checked
def check_bundle(
    file: Annotated[Place, Option(metavar="FILE")],
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    *,
    progress: "bool | Reporter" = True,
) -> "BundleCheck":
    """Evaluate the test images again with a bundle, and compare with what its run stored.

    Args:
        file: The bundle.
        dataset: The converted dataset that its run was trained on, with the run in it.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Raises:
        InputError: no bundle, or no such run.
        SplitMismatchError: the bundle belongs to another split.

    Example:
        >>> import defectune as dt
        >>> made = dt.bundle("out/runs/quick", "checked.bundle", progress=False)
        >>> dt.check_bundle(made.path, "out", progress=False).flips
        ()
    """
    from deployment import open_bundle
    from deployment.checking import check_bundle as compare

    opened, data = open_bundle(as_path(file, what="bundle")), as_dataset(dataset)
    total = sum(len(data.split.folds[f].test) for f in opened.folds if f < len(data.split.folds))
    reference = None
    if opened.refitted:
        reference, total = _refitted_model(opened, data), len(data.split.test_ids)
    with shown(progress) as reporter:
        advance = reporter.track(opened.path.name, total)
        return compare(opened, data, reference=reference, advance=advance)


def _refitted_model(opened: "Bundle", data: Dataset) -> "Predictor":
    run = data.root / RUNS_FOLDER / opened.run / REFIT / RUNS_FOLDER / REFIT
    if not run.is_dir():
        raise InputError(
            f"{opened.path} holds a refitted model, and its training, {run}, is not there: there "
            "is nothing to compare with."
        )
    quiet_environment()
    return families.open_predictor(run, 0, device="cpu")
