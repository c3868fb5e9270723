"""What an update is asked for, and what it did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from annotations import Dataset
from annotations.placing import To, sides_of
from annotations.version_files import VERSION_FORMAT, Version
from converters.report import ConvertOptions
from converters.versions import Labels, write_unlabelled, write_version

ADDED, RELABELLED, REMOVED, RENAMED = "added", "relabelled", "removed", "renamed"
COUNTED: Final = (ADDED, RELABELLED, REMOVED, RENAMED)


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """What an update does.

    Attributes:
        convert: how the source is read, as for a conversion.
        remove: a file of ids or paths of images that go, one a line.
        tags: tags saved from a report; none of them changes a label.
        rename: new name by old name of classes.
        to: where new parts go.
        prefix: folder that new images' ids get; empty for none.
        same_name: what another file under an old name is: `refuse`d, or the same photograph that
            gets a new label (`relabel`).
        leave_out: leave images out of training whose part is tested elsewhere, by a new image.
        restore: number of the version whose labels and split come back.
        message: why, for the log.
        by: who, for the log.
        dry_run: change nothing.
    """

    convert: ConvertOptions = field(default_factory=ConvertOptions)
    remove: Path | None = None
    tags: Path | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    to: To = "auto"
    prefix: str = ""
    same_name: str = "refuse"
    leave_out: bool = False
    restore: int | None = None
    message: str = ""
    by: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did, or would do.

    Attributes:
        root: the dataset's folder.
        version: the version that the dataset has now; None before the first one.
        changed: False where there was nothing to do.
        dry_run: nothing was written.
        counts: images `added`, `relabelled`, `removed` and `renamed`, by type.
        ids: their ids.
        placed: new images by fold and side, such as `fold 0, test`.
        unchanged: images of the source that the dataset has with the same label.
        notes: what was decided, a sentence each.
        record: of the version, as it is or would be written; empty where none is made, as
            for images without a label alone.
    """

    root: Path
    version: Version | None
    changed: bool
    dry_run: bool
    counts: Mapping[str, Mapping[str, int]]
    ids: Mapping[str, Sequence[str]]
    placed: Mapping[str, int]
    unchanged: int
    notes: Sequence[str]
    record: Mapping[str, Any]


def nothing_done(
    dataset: Dataset, options: UpdateOptions, notes: Sequence[str], unchanged: int
) -> Updated:
    """What is said where there was nothing to do."""
    none: dict[str, dict[str, int]] = {what: {} for what in COUNTED}
    return Updated(
        dataset.root,
        dataset.version,
        False,
        options.dry_run,
        none,
        {what: [] for what in COUNTED},
        {},
        unchanged,
        tuple(notes),
        {},
    )


def list_written(
    dataset: Dataset,
    labels: Labels,
    options: UpdateOptions,
    notes: Sequence[str],
    unchanged: int,
) -> Updated:
    """Write the list of images without a label alone, unless in a dry run, and say what was done.

    Labels and split stay as they are, and so does the version.
    """
    if not options.dry_run:
        write_unlabelled(labels, copy=options.convert.copy_images)
    return replace(nothing_done(dataset, options, notes, unchanged), changed=True)


def write_update(
    dataset: Dataset,
    labels: Labels,
    options: UpdateOptions,
    record: dict[str, Any],
    ids: Mapping[str, Sequence[str]],
    counts: Mapping[str, Mapping[str, int]],
    unchanged: int,
    notes: Sequence[str],
) -> Updated:
    """Write a version, unless in a dry run, and say what was done."""
    placed: Counter[str] = Counter()
    for number, fold in enumerate(sides_of(labels.split)):
        for image_id in ids[ADDED]:
            placed[f"fold {number}, {fold[image_id].replace('_', ' ')}"] += 1
    record = {
        "format": VERSION_FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": options.by,
        "message": options.message,
        **record,
        "classes": list(labels.class_names),
        "images": len(labels.samples),
        "split_digest": labels.split.digest,
        "notes": list(notes),
    }
    version = dataset.version
    if not options.dry_run:
        version, record = write_version(dataset, labels, record, copy=options.convert.copy_images)
        if labels.textures is not None:
            # Only what saves time the next time, and no part of the version.
            labels.textures.save([s.sha256 for s in labels.samples.values()])
    return Updated(
        dataset.root,
        version,
        True,
        options.dry_run,
        counts,
        ids,
        MappingProxyType(dict(sorted(placed.items()))),
        unchanged,
        tuple(notes),
        record,
    )
