"""`update`, `log` and `diff`: a dataset that grows, in versions."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from annotations import Dataset, UsageError
from annotations.version_files import read_record, version_numbers
from converters.comparing import Difference, compare_versions
from converters.update_options import Updated, UpdateOptions
from converters.updating import update as update_dataset
from defectune.library.arguments import Place, as_dataset, as_path, checked
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.reading import Reading, as_options, parse_class_map

if TYPE_CHECKING:
    from training import Reporter

_SOURCE = Option("Source")
_LABELS = Option("Labels")
_SPLIT = Option("Split")
_PIXELS = Option("Pixels")
_LOG = Option("Log")
_PREFIX = re.compile(r"[^/\\\0\s][^\\\0]*")


@checked
def update(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    source: Annotated[Place | None, Option(metavar="SRC")] = None,
    *,
    remove: Annotated[Place | None, Option("Update", "LIST")] = None,
    tags: Annotated[Place | None, Option("Update", "TAGS.json")] = None,
    rename_class: Annotated[Mapping[str, str] | Sequence[str], Option("Update", "OLD=NEW")] = (),
    prefix: Annotated[str, Option("Update", "NAME")] = "",
    same_name: Annotated[Literal["refuse", "relabel"], Option("Update")] = "refuse",
    restore: Annotated[int | None, Option("Update", "VERSION", least=1)] = None,
    dry_run: Annotated[bool, Option("Update")] = False,
    message: Annotated[str, _LOG] = "",
    by: Annotated[str, Option("Log", "NAME")] = "",
    to: Annotated[Literal["auto", "train", "test", "folds"], _SPLIT] = "auto",
    leave_out: Annotated[bool, _SPLIT] = False,
    progress: "bool | Reporter" = True,
    **reading: Unpack[Reading],
) -> Updated:
    """Add images to a converted dataset and correct labels; no image that is there changes sides.

    Each update is a version that `log` lists. An update that was killed is finished by the next
    call, or has left everything as it was.

    Args:
        dataset: A converted dataset, or its folder.
        source: Folder of images and labels, a label file, or a .zip, in any layout. Images that
            are there, by their bytes or else by their id, get its labels; others are added.
        remove: File of ids or paths of images that go, one a line.
        tags: Tags saved from a report of this version. Images tagged ignore are left out of
            training; all else is listed in TAGS-worklist.csv beside it. No label changes.
        rename_class: Rename a class of the dataset, and of the source; into one that is there,
            the two are merged. Can be repeated.
        prefix: Folder to put the ids of new images in, for cameras that count anew every day.
        same_name: What another file under an old name is: refuse it, or take it for the same
            photograph saved again, and relabel that.
        restore: Bring labels and split of this version back, as a new version.
        dry_run: Say what would be done, and change nothing.
        message: Why, for the log.
        by: Who does it, for the log.
        to: Where parts go that are new: train and test are sides; folds deals them to be tested
            in one fold and trained on in the others; auto does what the split's protocol does.
        leave_out: Where new images show that a tested and a trained part are one, leave its images
            out of training from now on; refused if not given.
        progress: True for bars or lines, False for nothing, or a reporter of your own.
        reading: How the source is read, see `Reading`.

    Returns:
        What was done: counts by type, ids, the version.

    Raises:
        UsageError: an argument of a wrong type, or options that exclude each other.
        DefectuneError: a source that cannot be read, an image with two labels, or a part that
            would stand on two sides.

    Example:
        >>> import defectune as dt
        >>> dt.update("out", "drawn/drawn_bottle", dry_run=True, progress=False).changed
        False
    """
    if prefix and not (_PREFIX.fullmatch(prefix) and ".." not in prefix.split("/")):
        raise UsageError(f"--prefix should be a name such as week2, got {prefix[:60]!r}.")
    root = as_dataset_folder(dataset)
    with shown(progress) as reporter:
        return update_dataset(
            root,
            None if source is None else as_path(source, what="source"),
            UpdateOptions(
                convert=as_options(reading),
                remove=None if remove is None else as_path(remove, what="list"),
                tags=None if tags is None else as_path(tags, what="tags"),
                rename=parse_class_map(rename_class, option="--rename-class"),
                to=to,
                prefix=prefix.strip("/"),
                same_name=same_name,
                leave_out=leave_out,
                restore=restore,
                message=message,
                by=by,
                dry_run=dry_run,
            ),
            progress=_stages(reporter),
        )


def _stages(reporter: "Reporter") -> Callable[[int, int], None]:
    advance: Callable[[str], None] | None = None
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal advance, before
        # A smaller number begins the next stage.
        if advance is None or done <= before:
            stage = "reading" if advance is None else "looking for images of one part"
            advance = reporter.track(stage, total)
        before = done
        advance("")

    return progress


def as_dataset_folder(dataset: Dataset | Place) -> Path:
    """The folder of a dataset, without reading it: it may be in the middle of an update."""
    return dataset.root if isinstance(dataset, Dataset) else as_path(dataset, what="dataset")


@checked
def log(dataset: Annotated[Dataset | Place, Option(metavar="OUT")]) -> list[dict[str, Any]]:
    """List the versions of a dataset: what each update added, relabelled, removed and renamed.

    Args:
        dataset: A converted dataset, or its folder.

    Returns:
        The record of each version, oldest first; empty for a dataset that was never updated.

    Raises:
        DefectuneError: not a converted dataset, or a damaged record.

    Example:
        >>> import defectune as dt
        >>> dt.log("out")
        []
    """
    root = as_dataset(dataset).root
    return [read_record(root, number) for number in version_numbers(root)]


@checked
def diff(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    first: Annotated[int, Option(metavar="V1", least=1)],
    second: Annotated[int, Option(metavar="V2", least=1)],
) -> Difference:
    """Name the images that differ between two versions of a dataset, with both labels.

    Args:
        dataset: A converted dataset, or its folder.
        first: Number of a version, as `log` lists them.
        second: Number of another one.

    Returns:
        Images added, removed, relabelled and moved.

    Raises:
        UsageError: there never was such a version.
        DefectuneError: a version was deleted or damaged.

    Example:
        >>> import defectune as dt
        >>> try:
        ...     dt.diff("out", 1, 2)
        ... except dt.DefectuneError as error:
        ...     print(error)
        out has no version 1; it has no version yet.
    """
    return compare_versions(as_dataset(dataset).root, first, second)
