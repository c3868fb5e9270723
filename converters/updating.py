"""An update: new images, corrected labels, removals and renamed classes in a converted dataset."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from annotations import GOOD, Dataset, InputError, OutputExistsError, UsageError, load_dataset
from annotations.dataset import COCO_ALL
from annotations.locks import hold_lock
from annotations.placing import require_sides
from annotations.version_files import require_current
from converters.batches import Batch, Matched, match, read_batch
from converters.moving import UPDATE_LOCK, roll_forward
from converters.pool import Pool
from converters.restoring import restored
from converters.tags import read_tags
from converters.unlabelled import read_incoming, require_apart
from converters.update_labels import (
    apply_tags,
    remove_images,
    removed_entries,
    rename_classes,
    write_tags,
)
from converters.update_options import (
    ADDED,
    RELABELLED,
    REMOVED,
    RENAMED,
    Updated,
    UpdateOptions,
    list_written,
    nothing_done,
    write_update,
)
from converters.update_sides import place_new
from converters.versions import Labels


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    def refusal(who: str) -> OutputExistsError:
        return OutputExistsError(
            f"{root} is being updated{who}. Wait until that is done; one at a time."
        )

    if not (root / COCO_ALL).is_file():
        # So that no lock is left in a folder that is none of ours.
        load_dataset(root)
    with hold_lock(root / UPDATE_LOCK, refusal):
        yield


def update(
    root: Path,
    source: Path | None = None,
    options: UpdateOptions | None = None,
    *,
    pool: Pool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Updated:
    """Update a converted dataset, whole or not at all.

    An update that was killed while it was moved into place is finished first.

    Args:
        root: the dataset's folder.
        source: images and labels, in any layout; None for removals, renames or a version to
            restore.
        options: what is done.
        pool: reads images and masks in place of this machine's processes.
        progress: called with images done and images in all.

    Raises:
        DefectuneError: a source that cannot be read, an image with two labels, another image under
            an old name, a late leak, a fold that would lose its last image of a kind; or another
            update is under way.
    """
    options = options or UpdateOptions()
    with _locked(root):
        finished = not options.dry_run and roll_forward(root)
        dataset = load_dataset(root)
        notes = ["finished an update that had been interrupted"] if finished else []
        if options.restore is not None:
            return restored(dataset, options, notes)
        require_current(root)
        folder = options.convert.unlabelled
        if source is None and not (options.remove or options.rename or options.tags or folder):
            if finished:
                return nothing_done(dataset, options, notes, 0)
            raise UsageError(
                "Nothing to do: give SRC, a folder of new images or labels; or --unlabelled, "
                "--remove, --tags, --rename-class or --restore."
            )
        _refuse_overlap(root, source)
        _refuse_overlap(root, folder)
        if folder is not None and source is not None:
            require_apart(folder, [source])
        if source is None:
            return _updated(dataset, None, options, notes, progress)
        with read_batch(source, dataset, options.convert, pool=pool, progress=progress) as batch:
            return _updated(dataset, batch, options, notes, progress)


def _refuse_overlap(root: Path, source: Path | None) -> None:
    if source is None:
        return
    here, there = root.resolve(), source.resolve()
    if there.is_relative_to(here) or (source.is_dir() and here.is_relative_to(there)):
        raise InputError(
            f"The source {source} and the dataset {root} lie in each other, so that the dataset's "
            "own files would be read as new ones. Give a source elsewhere."
        )


def _updated(
    dataset: Dataset,
    batch: Batch | None,
    options: UpdateOptions,
    notes: list[str],
    progress: Callable[[int, int], None] | None,
) -> Updated:
    labels = Labels.of(dataset)
    n_before = Counter(sample.defect_type for sample in dataset.samples)
    tagged = None if options.tags is None else read_tags(options.tags, dataset)
    renamed = rename_classes(labels, options.rename, batch, notes)
    gone = remove_images(labels, options.remove, notes)
    matched = Matched()
    if batch is not None:
        matched = match(
            batch,
            labels,
            rename=options.rename,
            gone=gone,
            prefix=options.prefix,
            same_name=options.same_name,
        )
        notes += matched.notes
    new_ids = place_new(dataset, labels, matched, batch, options, notes, progress)
    ignored = apply_tags(labels, tagged, options, notes)
    if gone or ignored:
        types = {s.image_id: s.defect_type for s in dataset.samples}
        types |= {i: s.defect_type for i, s in labels.samples.items()}
        require_sides(dataset.split, labels.split, types, "What is to be removed or ignored")
    unlabelled = _settle_unlabelled(labels, options, notes)
    after = Counter(sample.defect_type for sample in labels.samples.values())
    lost = sorted(set(n_before) - set(after) - set(options.rename))
    notes += [
        f"no image of {kind} is left; the class keeps its number" for kind in lost if kind != GOOD
    ]
    ids = {
        ADDED: new_ids,
        RELABELLED: sorted(matched.relabelled),
        REMOVED: sorted(gone),
        RENAMED: sorted(renamed),
    }
    old = dataset.by_id
    counts = {
        what: dict(
            sorted(
                Counter(
                    (old[i] if what == REMOVED else labels.samples[i]).defect_type for i in some
                ).items()
            )
        )
        for what, some in ids.items()
    }
    same_classes = labels.class_names == list(dataset.class_names)
    write_tags(tagged, options)
    if not any(ids.values()) and same_classes and not ignored:
        if any(unlabelled.values()) or labels.unlisted:
            return list_written(dataset, labels, options, notes, matched.unchanged)
        return nothing_done(dataset, options, notes, matched.unchanged)
    record = {
        "source": batch.named.name if batch is not None else None,
        "layout": batch.layout if batch is not None else None,
        "counts": counts,
        "added": new_ids,
        "relabelled": {
            i: [old[i].defect_type, labels.samples[i].defect_type] for i in ids[RELABELLED]
        },
        "removed": removed_entries(dataset, gone),
        "renamed": dict(options.rename),
        "matched_by_name": sorted(matched.by_name),
        "late_leaks": labels.late_leaks,
        "ignored": ignored,
        "restored": None,
        **({"unlabelled": unlabelled} if any(unlabelled.values()) else {}),
    }
    return write_update(dataset, labels, options, record, ids, counts, matched.unchanged, notes)


def _settle_unlabelled(labels: Labels, options: UpdateOptions, notes: list[str]) -> dict[str, int]:
    """Take up images without a label, and count those that have one now."""
    digests = {sample.sha256 for sample in labels.samples.values()}
    labelled = sum(image.sha256 in digests for image in labels.unlabelled.waiting)
    if labelled:
        notes.append(f"{labelled} of the unlabelled images have labels now")
    if options.convert.unlabelled is not None:
        labels.incoming = read_incoming(
            options.convert.unlabelled,
            labels.root,
            labels.unlabelled,
            digests,
            replace(options.convert.read, bit_depth=labels.bit_depth),
            workers=options.convert.workers,
            prefix=options.prefix,
            sources={sample.source for sample in labels.samples.values() if sample.source},
        )
        notes += labels.incoming.notes
    return {"came": len(labels.incoming.images), "labelled": labelled}
