"""An update: new images, corrected labels, removals and renamed classes in a converted dataset."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from annotations import (
    GOOD,
    Dataset,
    InputError,
    OutputExistsError,
    Regions,
    Sample,
    UsageError,
    load_dataset,
)
from annotations.dataset import COCO_ALL, SPLIT_FILE, kept_image, load_version
from annotations.files import read_json
from annotations.locks import hold_lock
from annotations.placing import To, place, require_sides, sides_of
from annotations.version_files import (
    TEXTURES_FILE,
    VERSION_FORMAT,
    Version,
    read_record,
    read_state,
    require_current,
    version_numbers,
)
from converters.batches import Batch, Matched, match, read_batch
from converters.comparing import label_of
from converters.leaks import joined_parts, require_no_late_leak
from converters.moving import UPDATE_LOCK, roll_forward
from converters.new_reshots import KnownTextures, layers_of
from converters.pool import Pool
from converters.report import ConvertOptions
from converters.sides import UNSPLIT, choose_sides
from converters.tags import (
    Tagged,
    read_tags,
    require_free,
    without_training,
    worklist_path,
    worklist_text,
    write_worklist,
)
from converters.versions import Labels, write_version

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
        record: of the version, as it is or would be written.
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
            return _restored(dataset, options, notes)
        require_current(root)
        if source is None and not (options.remove or options.rename or options.tags):
            if finished:
                return _nothing(dataset, options, notes, 0)
            raise UsageError(
                "Nothing to do: give SRC, a folder of new images or labels; or --remove, "
                "--tags, --rename-class or --restore."
            )
        _refuse_overlap(root, source)
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
    renamed = _rename(labels, options.rename, batch, notes)
    gone = _remove(labels, options.remove, notes)
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
    new_ids = _place(dataset, labels, matched, batch, options, notes, progress)
    ignored = _apply_tags(labels, tagged, options, notes)
    if gone or ignored:
        types = {s.image_id: s.defect_type for s in dataset.samples}
        types |= {i: s.defect_type for i, s in labels.samples.items()}
        require_sides(dataset.split, labels.split, types, "What is to be removed or ignored")
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
    _write_tags(tagged, options)
    if not any(ids.values()) and same_classes and not ignored:
        return _nothing(dataset, options, notes, matched.unchanged)
    record = {
        "source": batch.named.name if batch is not None else None,
        "layout": batch.layout if batch is not None else None,
        "counts": counts,
        "added": new_ids,
        "relabelled": {
            i: [old[i].defect_type, labels.samples[i].defect_type] for i in ids[RELABELLED]
        },
        "removed": _removed_entries(dataset, gone),
        "renamed": dict(options.rename),
        "matched_by_name": sorted(matched.by_name),
        "late_leaks": labels.late_leaks,
        "ignored": ignored,
        "restored": None,
    }
    return _write(dataset, labels, options, record, ids, counts, matched.unchanged, notes)


def _nothing(
    dataset: Dataset, options: UpdateOptions, notes: Sequence[str], unchanged: int
) -> Updated:
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


def _apply_tags(
    labels: Labels, tagged: Tagged | None, options: UpdateOptions, notes: list[str]
) -> list[str]:
    """Leave ignored images out of training, and say what waits for a label; ids of the former."""
    if tagged is None or options.tags is None:
        return []
    path = worklist_path(options.tags)
    if tagged.work:
        require_free(path, worklist_text(tagged))
        listed = ", ".join(f"{n} {tag}" for tag, n in tagged.counts().items())
        notes.append(f"tags that wait for a label, in {path}: {listed}; no label was changed")
    there = [i for i in tagged.ignored if i in labels.samples]
    labels.split, ignored = without_training(labels.split, there, labels.samples.values())
    if ignored:
        notes.append(
            f"ignored images left out of training from now on: {len(ignored)}; where they are "
            "tested they stay"
        )
    if len(there) > len(ignored):
        notes.append(
            f"ignored images that no fold trained on: {len(there) - len(ignored)}; they stay where "
            "they are"
        )
    return ignored


def _write_tags(tagged: Tagged | None, options: UpdateOptions) -> None:
    if tagged is not None and tagged.work and options.tags is not None and not options.dry_run:
        write_worklist(worklist_path(options.tags), worklist_text(tagged))


def _rename(
    labels: Labels, rename: Mapping[str, str], batch: Batch | None, notes: list[str]
) -> set[str]:
    """Rename classes; ids of the images whose label reads otherwise."""
    from converters.read_options import fault_of_name

    touched: set[str] = set()
    in_batch = set(batch.class_names) if batch is not None else set()
    for old, new in rename.items():
        why = fault_of_name(new)
        if GOOD in (old, new) or old == new or new in rename or why:
            raise UsageError(
                f"--rename-class {old}={new} cannot be done: "
                + (why or "both are classes of defects, and a new name is no old one of another.")
            )
        if old not in labels.class_names:
            if old not in in_batch and new not in labels.class_names:
                raise UsageError(
                    f"--rename-class {old}={new}: there is no class {old!r}; there are "
                    f"{', '.join(labels.class_names) or 'none'}."
                )
            continue
        index = labels.class_names.index(old)
        merged = new in labels.class_names
        target = labels.class_names.index(new) if merged else index
        for image_id, sample in labels.samples.items():
            here = index in labels.truths[image_id].labels
            if here or sample.defect_type == old:
                touched.add(image_id)
            if here and merged:
                labels.truths[image_id] = _relabelled(labels.truths[image_id], index, target)
            if sample.defect_type == old:
                labels.samples[image_id] = replace(sample, defect_type=new)
        for image_id, regions in labels.ignored.items():
            if merged and index in regions.labels:
                labels.ignored[image_id] = _relabelled(regions, index, target)
        if not merged:
            labels.class_names[index] = new
        elif touched:
            notes.append(
                f"{old} was merged into {new}, which was there; its number {index} stays and has "
                "no region any more, so that all other classes keep theirs"
            )
    return touched


def _relabelled(regions: Regions, old: int, new: int) -> Regions:
    changed = regions.labels.copy()
    changed[changed == old] = new
    return replace(regions, labels=changed)


def _remove(labels: Labels, path: Path | None, notes: list[str]) -> dict[str, Sample]:
    """Take the listed images out; the samples that went."""
    if path is None:
        return {}
    if not path.is_file():
        raise InputError(f"--remove names {path}, which should be a file of ids, one a line.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; --remove takes ids, one a line.") from error
    places = {s.image_path.resolve(): i for i, s in labels.samples.items()}
    known_gone = removed_before(labels.root)
    gone: dict[str, Sample] = {}
    unknown, before = [], 0
    for line in filter(None, lines):
        found = line if line in labels.samples else places.get(Path(line).resolve())
        if found is not None:
            gone[found] = labels.samples[found]
        elif any(entry["image_id"] == line for entry in known_gone.values()):
            before += 1
        else:
            unknown.append(line)
    if unknown:
        raise InputError(
            f"{path} lists {len(unknown)} images that {labels.root} does not have: "
            f"{', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}. Its ids look like "
            f"{next(iter(labels.samples))}."
        )
    if before:
        notes.append(f"{before} of the images to remove had been removed before")
    for image_id in gone:
        labels.drop(image_id)
    return gone


def removed_before(root: Path) -> dict[str, dict[str, Any]]:
    """What versions say of the images that they removed, by SHA-256; the newest word counts."""
    found: dict[str, dict[str, Any]] = {}
    for number in version_numbers(root):
        for entry in read_record(root, number).get("removed", ()):
            found[entry["sha256"]] = entry
    return found


def _removed_entries(dataset: Dataset, gone: Mapping[str, Sample]) -> list[dict[str, Any]]:
    sides = sides_of(dataset.split)
    return [
        {
            "image_id": image_id,
            "sha256": gone[image_id].sha256,
            "defect_type": gone[image_id].defect_type,
            "group": gone[image_id].group,
            "sides": [fold[image_id] for fold in sides],
        }
        for image_id in sorted(gone)
    ]


def _place(
    dataset: Dataset,
    labels: Labels,
    matched: Matched,
    batch: Batch | None,
    options: UpdateOptions,
    notes: list[str],
    progress: Callable[[int, int], None] | None,
) -> list[str]:
    """Find the parts of new images, and place them; the ids of the new images."""
    sides = [
        {i: side for i, side in fold.items() if i in labels.samples}
        for fold in sides_of(dataset.split)
    ]
    new = dict(matched.new)
    before = removed_before(labels.root) if new else {}
    returned = {i: before[s.sha256] for i, s in new.items() if s.sha256 in before}
    if returned:
        notes.append(
            f"{len(returned)} images had been removed before; they come back to their old sides"
        )
    if batch is not None and new:
        n = len(labels.samples) + len(new)
        known = KnownTextures.open(labels.root / TEXTURES_FILE, layers_of(n))
        parts = joined_parts(
            labels.samples,
            new,
            batch,
            returned=returned,
            known=known,
            progress=progress,
            notes=notes,
        )
        labels.textures = known
        for image_id, group in parts.items():
            where = new if image_id in new else labels.samples
            where[image_id] = replace(where[image_id], group=group)
        labels.late_leaks = require_no_late_leak(
            dataset, sides, labels.samples, new, leave_out=options.leave_out, notes=notes
        )
    share = batch.read.options.good_test_share if batch is not None else 0.0
    labels.samples.update(_with_sides(labels.samples, new, options.to, share))
    samples = [labels.samples[i] for i in sorted(labels.samples)]
    usable = {i: e["sides"] for i, e in returned.items() if len(e["sides"]) == len(sides)}
    labels.split = place(dataset.split, sides, samples, to=options.to, returned=usable)
    return sorted(new)


def _with_sides(
    old: Mapping[str, Sample], new: Mapping[str, Sample], to: To, share: float
) -> dict[str, Sample]:
    """New samples with the side of the source that their part has, or that a person gave."""
    side_of_group = {s.group: s.source_split for s in old.values()}
    forced = {"train": "train", "test": "test", "folds": "test"}.get(to)
    known, fresh = {}, []
    for image_id, sample in new.items():
        if sample.group in side_of_group:
            known[image_id] = replace(sample, source_split=side_of_group[sample.group])
        else:
            fresh.append(replace(sample, source_split=forced or sample.source_split or UNSPLIT))
    chosen, _ = choose_sides(fresh, share)
    return known | {sample.image_id: sample for sample in chosen}


def _restored(dataset: Dataset, options: UpdateOptions, notes: list[str]) -> Updated:
    number = options.restore or 0
    if options.remove or options.rename or options.tags:
        raise UsageError(
            "--restore brings a version back as it was; remove, rename and tags come after it."
        )
    wanted = load_version(dataset.root, number)
    state = read_state(dataset.root, number)
    labels = Labels.of(wanted, state["labels"])
    now, then = dataset.by_id, wanted.by_id
    missing = [
        s.image_path
        for i, s in then.items()
        if (i not in now or now[i].sha256 != s.sha256) and not kept_image(dataset.root, s).exists()
    ]
    if missing:
        raise InputError(
            f"{len(missing)} images of version {number} are gone, such as {missing[0]}. Restore "
            "them from a backup, or update from the source that has them."
        )
    back = sorted(set(then) - set(now))
    gone = {i: now[i] for i in sorted(set(now) - set(then))}
    changed = [
        i for i in sorted(set(now) & set(then)) if label_of(dataset, i) != label_of(wanted, i)
    ]
    ids = {ADDED: back, RELABELLED: changed, REMOVED: list(gone), RENAMED: []}
    counts = {
        what: dict(sorted(Counter((now if what == REMOVED else then)[i].defect_type
                                  for i in some).items()))
        for what, some in ids.items()
    }  # fmt: skip
    same = state["labels"] == read_json(dataset.root / COCO_ALL, what="labels") and state[
        "split"
    ] == read_json(dataset.root / SPLIT_FILE, what="a split")
    if same:
        return _nothing(dataset, options, [*notes, f"version {number} is what is there"], 0)
    record = {
        "source": None,
        "layout": None,
        "counts": counts,
        "added": back,
        "relabelled": {i: [now[i].defect_type, then[i].defect_type] for i in changed},
        "removed": _removed_entries(dataset, gone),
        "renamed": {},
        "matched_by_name": [],
        "late_leaks": [],
        "restored": number,
    }
    return _write(dataset, labels, options, record, ids, counts, 0, notes)


def _write(
    dataset: Dataset,
    labels: Labels,
    options: UpdateOptions,
    record: dict[str, Any],
    ids: Mapping[str, Sequence[str]],
    counts: Mapping[str, Mapping[str, int]],
    unchanged: int,
    notes: Sequence[str],
) -> Updated:
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
