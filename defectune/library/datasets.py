"""Converted datasets: opened, checked, and written in other formats."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotations import Dataset
from annotations.dataset import load_version
from annotations.run_digests import run_problems
from converters.check import CheckResult, check_dataset
from converters.exporting import ExportReport, export_dataset
from defectune.library.arguments import Place, as_dataset, as_path, checked
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.run import Run
from defectune.runs import dataset_of, is_run

if TYPE_CHECKING:
    from training import Reporter


@checked
def load(dataset: Place) -> Dataset:
    """Open a converted dataset.

    Args:
        dataset: its folder.

    Raises:
        InputError: not a converted dataset, or a damaged one.
        SplitMismatchError: its split does not belong to its images.
        UsageError: an argument of a wrong type.

    Example:
        >>> import defectune as dt
        >>> data = dt.load("out")
        >>> data.class_names
        ('broken_large', 'broken_small', 'contamination')
    """
    return as_dataset(dataset)


@checked
def check(
    dataset: Annotated[Dataset | Run | Place, Option(metavar="OUT")],
    *,
    reshots: bool = True,
    progress: "bool | Reporter" = True,
) -> CheckResult:
    """Prove a converted dataset, or a run, again: files, labels, and that no part leaks.

    A dataset's masks are also read back from its COCO file. A run's models and predictions should
    belong together, and be as they were trained.

    Args:
        dataset: A converted dataset or a run, or the folder of either: OUT, or OUT/runs/NAME.
        reshots: Also look for photographs of one part on two sides of the split.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        What was looked at, and `problems`, which is empty where all holds.

    Raises:
        DefectuneError: not a converted dataset, or one whose split does not hold.

    Example:
        >>> import defectune as dt
        >>> dt.check("out", progress=False).problems
        ()
        >>> dt.check(dt.Run("out/runs/quick"), progress=False).problems
        ()
    """
    if isinstance(dataset, Run):
        dataset = dataset.path
    if isinstance(dataset, str | PathLike) and is_run(Path(dataset)):
        run = Path(dataset)
        problems, facts = run_problems(run, as_dataset(dataset_of(run)))
        return CheckResult(tuple(facts), tuple(problems))
    stages: dict[str, Callable[[str], None]] = {}
    with shown(progress) as reporter:

        def advance(stage: str, total: int) -> None:
            if stage not in stages:
                stages[stage] = reporter.track(stage, total)
            stages[stage]("")

        return check_dataset(as_dataset(dataset), reshots=reshots, progress=advance)


@checked
def export(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    output: Annotated[Place, Option(metavar="FOLDER")],
    format: Annotated[str, Option(named=True)] = "coco",  # noqa: A002
    *,
    version: Annotated[int | None, Option(least=1)] = None,
    progress: "bool | Reporter" = True,
) -> ExportReport:
    """Write a converted dataset in another format, and measure what that cannot hold.

    Args:
        dataset: A converted dataset, or its folder.
        output: Folder to write to; a new or an empty one. Images are copied.
        format: Format to write: coco, coco-polygons, yolo, yolo-seg, voc or masks.
        version: Number of the version to write, as `log` lists them; the current one if not given.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        What the format could and could not hold; the same stands in export.json.

    Raises:
        UsageError: an unknown format or version, or an argument of a wrong type.
        InputError: that version was deleted or damaged.
        OutputExistsError: `output` holds something.

    Example:
        >>> import defectune as dt
        >>> dt.export("out", "voc", "voc", progress=False).format
        'voc'
    """
    with shown(progress) as reporter:
        data = as_dataset(dataset)
        if version is not None:
            data = load_version(data.root, version)
        advance = reporter.track("writing", len(data.samples))
        return export_dataset(
            data,
            as_path(output, what="output"),
            format,
            progress=lambda _done, _total: advance(""),
        )
