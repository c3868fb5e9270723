"""Writing a version of a dataset: what changed on disk, its record, and the state to restore."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from annotations import Dataset, InputError, Regions, Sample, Split, coco_document
from annotations.dataset import COCO_ALL, IMAGES_FOLDER, LABELS_FOLDER, SPLIT_FILE, kept_image
from annotations.files import read_json, write_bytes_atomic, write_json_atomic
from annotations.images import plain_png, sha256_of
from annotations.split import split_document
from annotations.unlabelled import UNLABELLED_FOLDER, UnlabelledList, read_unlabelled
from annotations.version_files import (
    VERSION_FORMAT,
    Version,
    current_version,
    record_path,
    sealed,
    state_bytes,
    state_path,
)
from converters.manifest import FORMAT as MANIFEST_FORMAT
from converters.manifest import MANIFEST
from converters.masks import mask_file_name, write_class_masks
from converters.moving import Journal, abandon, begin, finish, staged_files
from converters.new_reshots import KnownTextures
from converters.unlabelled import Incoming, write_list
from converters.writing import texts_stand_in
from converters.yolo import fold_place, image_file_name, place_image, write_data_files, write_labels


@dataclass(slots=True)
class Labels:
    """Labels and split of a dataset while they are changed.

    Attributes:
        root: the dataset's folder.
        class_names: by number; numbers never change.
        samples: by id.
        truths: regions by id.
        ignored: regions to be ignored by id, of the images that have any.
        split: of these images, once they are placed.
        file_names: image file by id, relative to the dataset.
        mask_places: the source's mask by id, as annotations/all.json says it.
        new_files: of new images, the file in the source and whether it is remade as a PNG.
        bit_depth: see `Dataset`.
        late_leaks: parts that turned out to stand on two sides, as the record says it.
        textures: of all images, where they were compared.
        unlabelled: images without a label, as they are listed on disk.
        incoming: images that come to that list.
        unlisted: files of images that were taken off it, relative to the dataset.
    """

    root: Path
    class_names: list[str]
    samples: dict[str, Sample]
    truths: dict[str, Regions]
    ignored: dict[str, Regions]
    split: Split
    file_names: dict[str, str]
    mask_places: dict[str, str | None]
    new_files: dict[str, tuple[Path, bool]] = field(default_factory=dict)
    bit_depth: int | None = None
    late_leaks: list[dict[str, Any]] = field(default_factory=list)
    textures: KnownTextures | None = None
    unlabelled: UnlabelledList = field(default_factory=UnlabelledList)
    incoming: Incoming = field(default_factory=Incoming)
    unlisted: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, dataset: Dataset, document: Mapping[str, Any] | None = None) -> "Labels":
        """Those of a dataset, with its labels as a COCO document; None reads the current one."""
        if document is None:
            document = read_json(dataset.root / COCO_ALL, what="the labels of a dataset")
        entries = {entry["defectune"]["image_id"]: entry for entry in document["images"]}
        return cls(
            dataset.root,
            list(dataset.class_names),
            dict(dataset.by_id),
            dict(dataset.truths),
            dict(dataset.ignored),
            dataset.split,
            {i: entry["file_name"] for i, entry in entries.items()},
            {i: entry["defectune"]["mask"] for i, entry in entries.items()},
            bit_depth=dataset.bit_depth,
            unlabelled=read_unlabelled(dataset.root),
        )

    def take(self, sample: Sample, truth: Regions, ignored: Regions) -> None:
        """Take a sample with its label, in place of one that is there."""
        self.samples[sample.image_id] = sample
        self.truths[sample.image_id] = truth
        self.ignored.pop(sample.image_id, None)
        if len(ignored):
            self.ignored[sample.image_id] = ignored

    def drop(self, image_id: str) -> None:
        """Take an image out."""
        for part in (self.samples, self.truths, self.ignored, self.file_names, self.mask_places):
            part.pop(image_id, None)

    def unlist(self, digests: Collection[str]) -> None:
        """Take images of these bytes off the list of those without a label."""
        self.unlisted += [
            image.image_path.relative_to(self.root).as_posix()
            for image in self.unlabelled.every
            if image.sha256 in digests
        ]
        self.unlabelled = self.unlabelled.without(digests)

    @property
    def listed(self) -> UnlabelledList:
        """The list of images without a label, as these labels make it."""
        labelled = {sample.sha256 for sample in self.samples.values()}
        return self.unlabelled.settled(labelled, more=self.incoming.images)

    def says(self, image_id: str, defect_type: str, truth: Regions, ignored: Regions) -> bool:
        """Whether an image has this very label."""
        return (
            self.samples[image_id].defect_type == defect_type
            and same_regions(self.truths[image_id], truth)
            and same_regions(self.ignored.get(image_id, Regions.empty(truth.image_hw)), ignored)
        )

    def dataset(self, root: Path) -> Dataset:
        """The dataset that these make, in a folder."""
        samples = tuple(self.samples[i] for i in sorted(self.samples))
        truths = {s.image_id: self.truths[s.image_id] for s in samples}
        return Dataset(
            root,
            tuple(self.class_names),
            samples,
            MappingProxyType(truths),
            self.split,
            MappingProxyType(self.ignored),
            self.bit_depth,
        )


def same_regions(one: Regions, other: Regions) -> bool:
    """Whether two regions are equal to the last bit; masks of none are as good as none."""
    return (
        len(one) == len(other)
        and np.array_equal(one.labels, other.labels)
        and np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
        and (not len(one) or one.masks == other.masks)
    )


def write_version(
    old: Dataset, labels: Labels, record: dict[str, Any], *, copy: bool
) -> tuple[Version, dict[str, Any]]:
    """Write a version into a dataset, whole or not at all. The caller holds the lock.

    Args:
        old: the dataset as it stands.
        labels: as they shall be.
        record: what the version says of itself, without number, digests and what is before it.
        copy: copy images in place of linking them.

    Returns:
        The version, and its record.

    Raises:
        InputError: two images would get one file name, or a label did not come back.
    """
    root = old.root
    folder = begin(root)
    try:
        journal = Journal()
        new = labels.dataset(folder)
        _name_files(labels)
        documents = _write_labels(folder, new, labels)
        _write_changed(folder, old, new, labels, journal, copy=copy)
        _write_unlabelled(folder, labels, journal, copy=copy)
        version, record = _write_records(folder, old, documents, record)
        _write_manifest(folder, root, journal)
    except BaseException:
        abandon(root)
        raise
    finish(root, journal)
    return version, record


def write_unlabelled(labels: Labels, *, copy: bool) -> None:
    """Write the list of images without a label alone, whole or not at all; no version is made.

    The caller holds the lock.
    """
    folder = begin(labels.root)
    try:
        journal = Journal()
        _write_unlabelled(folder, labels, journal, copy=copy)
        _write_manifest(folder, labels.root, journal)
    except BaseException:
        abandon(labels.root)
        raise
    finish(labels.root, journal)


def _write_unlabelled(folder: Path, labels: Labels, journal: Journal, *, copy: bool) -> None:
    now = labels.listed
    if now != read_unlabelled(labels.root):
        depth = labels.bit_depth
        write_list(folder, labels.root, now, labels.incoming, copy=copy, bit_depth=depth)
        staged = set(staged_files(folder))
        journal.removes += [name for name in labels.unlisted if name not in staged]


def _name_files(labels: Labels) -> None:
    for image_id, (path, remade) in labels.new_files.items():
        sample = replace(labels.samples[image_id], image_path=path)
        labels.file_names[image_id] = image_file_name(sample, remade=remade)
    if len({name.casefold() for name in labels.file_names.values()}) != len(labels.file_names):
        raise InputError(
            "Two images would get one file name on a system that ignores case. Give the new ones a "
            "folder of their own with --prefix NAME."
        )


def _write_labels(folder: Path, new: Dataset, labels: Labels) -> dict[str, Any]:
    """Write all.json, the folds' files and split.json; gives what a version keeps of them."""
    places = {i: place for i, place in labels.mask_places.items() if place is not None}

    def document(part: Sequence[Sample]) -> dict[str, Any]:
        return coco_document(
            part,
            new.truths,
            new.class_names,
            coco_ids=new.coco_ids,
            file_names=labels.file_names,
            split_digest=new.split.digest,
            ignored=new.ignored,
            bit_depth=new.bit_depth,
            mask_places=places,
        )

    whole = document(new.samples)
    write_json_atomic(folder / COCO_ALL, whole, indent=None)
    for number, fold in enumerate(new.split.folds):
        place = fold_place(folder / COCO_ALL.parent, new.split, number)
        for side, ids in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
            write_json_atomic(place / f"{side}.json", document(new.select(ids)), indent=None)
    failed = set(new.by_id) - texts_stand_in(folder / COCO_ALL, new)
    if failed:
        raise InputError(
            f"The labels of {', '.join(sorted(failed)[:5])} did not come back bit for bit from the "
            "COCO file. This is a fault of this program; nothing was written."
        )
    split = split_document(new.split, new.samples)
    write_json_atomic(folder / SPLIT_FILE, split)
    strengths = new.strengths
    placed = {i: name for i, name in labels.file_names.items() if strengths[i] != "image"}
    write_data_files(folder, placed, new.split, new.class_names)
    return {"labels": whole, "split": split}


def _write_changed(
    folder: Path, old: Dataset, new: Dataset, labels: Labels, journal: Journal, *, copy: bool
) -> None:
    """Write images, label files and class masks that are new or others than before."""
    before, now = old.by_id, new.by_id
    changed = []
    for image_id, sample in now.items():
        was = before.get(image_id)
        if was is None or was.sha256 != sample.sha256:
            _write_image(folder, sample, labels, journal, copy=copy)
            changed.append(sample)
        elif was.defect_type != sample.defect_type or not (
            old.truths[image_id] is new.truths[image_id]
            or same_regions(old.truths[image_id], new.truths[image_id])
        ):
            changed.append(sample)
    write_labels(folder, changed, new.truths)
    write_class_masks(new, changed, folder)
    gone = [s for i, s in before.items() if i not in now or now[i].sha256 != s.sha256]
    for sample in gone:
        kept = kept_image(old.root, sample).relative_to(old.root).as_posix()
        journal.sets_aside(sample.image_path.relative_to(old.root).as_posix(), kept)
    staged = set(staged_files(folder))
    for sample in (*gone, *(before[s.image_id] for s in changed if s.image_id in before)):
        for name in (
            mask_file_name(sample).as_posix(),
            (LABELS_FOLDER / f"{sample.stem}.txt").as_posix(),
        ):
            if name not in staged and name not in journal.removes:
                journal.removes.append(name)


def _write_image(
    folder: Path, sample: Sample, labels: Labels, journal: Journal, *, copy: bool
) -> None:
    name = labels.file_names[sample.image_id]
    if sample.image_id not in labels.new_files:
        # It comes back from where removed images are kept.
        kept = kept_image(labels.root, replace(sample, image_path=Path(name)))
        journal.brings_back(kept.relative_to(labels.root).as_posix(), name)
        return
    path, remade = labels.new_files[sample.image_id]
    if remade:
        write_bytes_atomic(folder / name, plain_png(path, bit_depth=labels.bit_depth))
    else:
        place_image(path, folder / name, copy=copy)


def _write_records(
    folder: Path, old: Dataset, documents: Mapping[str, Any], record: Mapping[str, Any]
) -> tuple[Version, dict[str, Any]]:
    before = current_version(old.root)
    if before is None:
        before = _write_first(folder, old, record)
    number = before.number + 1
    made = _write_one(folder, number, before.digest, documents, record)
    return Version(number, made["digest"]), made


def _write_first(folder: Path, old: Dataset, record: Mapping[str, Any]) -> Version:
    """The dataset as it was before its first update becomes version 1."""
    root = old.root
    documents = {
        "labels": read_json(root / COCO_ALL, what="the labels of a dataset"),
        "split": read_json(root / SPLIT_FILE, what="a split"),
    }
    counts: dict[str, int] = {}
    for sample in old.samples:
        counts[sample.defect_type] = counts.get(sample.defect_type, 0) + 1
    none: dict[str, Any] = {}
    first = {
        "format": VERSION_FORMAT,
        "date": record["date"],
        "by": "",
        "message": "as it stood before its first update",
        "source": None,
        "layout": None,
        "counts": {
            "added": dict(sorted(counts.items())),
            "relabelled": none,
            "removed": none,
            "renamed": none,
        },
        "added": [sample.image_id for sample in old.samples],
        "relabelled": {},
        "removed": [],
        "renamed": {},
        "matched_by_name": [],
        "late_leaks": [],
        "restored": None,
        "classes": list(old.class_names),
        "images": len(old.samples),
        "split_digest": old.split.digest,
        "notes": [],
    }
    return Version(1, _write_one(folder, 1, None, documents, first)["digest"])


def _write_one(
    folder: Path,
    number: int,
    previous: str | None,
    documents: Mapping[str, Any],
    record: Mapping[str, Any],
) -> dict[str, Any]:
    data, digest = state_bytes(documents)
    write_bytes_atomic(state_path(folder, number), data)
    made = sealed({**record, "number": number, "previous": previous, "state_sha256": digest})
    write_json_atomic(record_path(folder, number), made)
    return made


def _write_manifest(folder: Path, root: Path, journal: Journal) -> None:
    """The digests of all files, computed for those that changed."""
    manifest: Any = read_json(root / MANIFEST, what="the digests of a dataset")
    listed = dict(manifest["sha256"])
    for name in journal.removes:
        listed.pop(name, None)
    images = (IMAGES_FOLDER.as_posix() + "/", UNLABELLED_FOLDER.as_posix() + "/")
    for source, target, how in journal.moves:
        if not source.startswith(images) and how == "move":
            listed.pop(source, None)
        if not target.startswith(images):
            # It is called by its digest.
            listed[target] = Path(target).stem
    for name in staged_files(folder):
        if not name.startswith(images):
            listed[name] = sha256_of(folder / name)
    write_json_atomic(
        folder / MANIFEST, {"format": MANIFEST_FORMAT, "sha256": dict(sorted(listed.items()))}
    )
