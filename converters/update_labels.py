"""Classes renamed, images removed and tags obeyed in the labels of a dataset."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotations import GOOD, Dataset, InputError, Regions, Sample, UsageError
from annotations.placing import sides_of
from annotations.version_files import read_record, version_numbers
from converters.batches import Batch
from converters.tags import (
    Tagged,
    require_free,
    without_training,
    worklist_path,
    worklist_text,
    write_worklist,
)
from converters.update_options import UpdateOptions
from converters.versions import Labels


def rename_classes(
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


def remove_images(labels: Labels, path: Path | None, notes: list[str]) -> dict[str, Sample]:
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
    waiting = {name: image for image in labels.unlabelled.waiting
               for name in (image.image_id, str(image.image_path.resolve()))}  # fmt: skip
    gone: dict[str, Sample] = {}
    unlisted: set[str] = set()
    unknown, before = [], 0
    for line in filter(None, lines):
        found = line if line in labels.samples else places.get(Path(line).resolve())
        if found is not None:
            gone[found] = labels.samples[found]
        elif (one := waiting.get(line) or waiting.get(str(Path(line).resolve()))) is not None:
            unlisted.add(one.sha256)
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
    if unlisted:
        notes.append(f"{len(unlisted)} images without a label were taken off the list")
    for image_id in gone:
        labels.drop(image_id)
    # Who removes an image wants it nowhere, also where it came without a label first.
    labels.unlist(unlisted | {sample.sha256 for sample in gone.values()})
    return gone


def removed_before(root: Path) -> dict[str, dict[str, Any]]:
    """What versions say of the images that they removed, by SHA-256; the newest word counts."""
    found: dict[str, dict[str, Any]] = {}
    for number in version_numbers(root):
        for entry in read_record(root, number).get("removed", ()):
            found[entry["sha256"]] = entry
    return found


def removed_entries(dataset: Dataset, gone: Mapping[str, Sample]) -> list[dict[str, Any]]:
    """What the record of a version holds of images that it removes."""
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


def apply_tags(
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


def write_tags(tagged: Tagged | None, options: UpdateOptions) -> None:
    """Write the worklist of what waits for a label, where there is any."""
    if tagged is not None and tagged.work and options.tags is not None and not options.dry_run:
        write_worklist(worklist_path(options.tags), worklist_text(tagged))
