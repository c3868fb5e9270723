"""A batch of images for a dataset that stands: read as a conversion reads, then matched."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import (
    GOOD,
    STRENGTHS,
    Dataset,
    InputError,
    Regions,
    Sample,
    UsageError,
    label_strength,
)
from annotations.by_source import name_of_source
from annotations.dataset import portable
from annotations.errors import DefectuneError
from annotations.files import read_json
from annotations.images import read_image_rgb
from converters.archive import is_zip, unpacked
from converters.convert import ReadSource, check_convert_options, class_names_of, read_source
from converters.facts import ImageFacts, regions_of
from converters.groups import compile_pattern
from converters.layouts import SourceImage
from converters.pool import Pool
from converters.report import ConvertOptions
from converters.sides import UNSPLIT
from converters.versions import Labels
from converters.writing import REPORT_FILE

_NAMED: Final = 5
_INHERITED: Final = ("min_area", "merge_distance", "one_class")


@dataclass(frozen=True, slots=True)
class Batch:
    """A source that was read.

    Attributes:
        named: the source as the person named it.
        root: the folder that paths are relative to.
        read: images and facts.
        class_names: of the source.
        layout: as which it was read, and why.
        notes: what was taken over from the conversion, and what the layout noted.
        in_archive: True where `root` goes away again.
    """

    named: Path
    root: Path
    read: ReadSource
    class_names: tuple[str, ...]
    layout: str
    notes: tuple[str, ...]
    in_archive: bool


@dataclass(slots=True)
class Matched:
    """What of a batch is new, what is known.

    Attributes:
        new: samples of images that the dataset does not have, by id; without a part yet, and with
            the side that the source gives them (`unsplit` for none).
        source: the source's image of each of them.
        relabelled: ids of images that have another label now.
        by_name: ids of images that were matched by name, not by bytes.
        unchanged: images that are there with the same label.
        notes: a sentence each.
    """

    new: dict[str, Sample] = field(default_factory=dict)
    source: dict[str, SourceImage] = field(default_factory=dict)
    relabelled: set[str] = field(default_factory=set)
    by_name: set[str] = field(default_factory=set)
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)


@contextmanager
def read_batch(
    source: Path,
    dataset: Dataset,
    options: ConvertOptions,
    *,
    pool: Pool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Batch]:
    """Read a source for a dataset; what an archive holds is there as long as the block lasts.

    What the conversion was told of parts and small regions holds for the batch too, where nothing
    else is said.

    Raises:
        DefectuneError: as a conversion refuses.
        UsageError: another bit depth than the dataset's.
        InputError: classes that are numbers where the dataset has names.
    """
    compile_pattern(options.group_by)
    check_convert_options(options)
    options, notes = _inherited(dataset, options)
    options = replace(options, find=replace(options.find, batch=True))
    if is_zip(source):
        with unpacked(source) as content:
            copying = replace(options, copy_images=True)
            read = read_source(content, copying, named=source, pool=pool, progress=progress)
            yield _batch(read, dataset, source, content, notes, in_archive=True)
        return
    read = read_source(source, options, named=source, pool=pool, progress=progress)
    root = source if source.is_dir() else source.parent
    yield _batch(read, dataset, source, root, notes, in_archive=False)


def _batch(
    read: ReadSource,
    dataset: Dataset,
    named: Path,
    root: Path,
    notes: Sequence[str],
    *,
    in_archive: bool,
) -> Batch:
    names = class_names_of(read)
    numbered = [n for n in names if n.startswith("class_") and n[6:].isdecimal()]
    if numbered and read.found.class_names is None:
        known = ", ".join(dataset.class_names) or "none"
        raise InputError(
            f"{named} numbers its classes and names none ({', '.join(numbered[:_NAMED])}). Numbers "
            f"are not matched: say what they are with --classes, in their order. The dataset's "
            f"classes are {known}."
        )
    inexact = [i.image_id for i, f in zip(read.images, read.facts, strict=True) if f.exact is False]
    if inexact:
        raise InputError(
            f"The masks of {', '.join(inexact[:_NAMED])} did not come back bit for bit. This is a "
            "fault of this program; nothing was written."
        )
    counted = [f"{what}: {count}" for what, count in sorted(read.report.counts.items())]
    left = Counter(read.report.left_out.values())
    counted += [f"images left out: {n}, {why}" for why, n in sorted(left.items())]
    every = (*notes, *read.found.notes, *read.report.notes, *counted)
    return Batch(named, root, read, names, read.report.layout, every, in_archive)


def _inherited(dataset: Dataset, options: ConvertOptions) -> tuple[ConvertOptions, list[str]]:
    try:
        value: Any = read_json(dataset.root / REPORT_FILE, what="the report of a conversion")
        said: Mapping[str, Any] = dict(value["options"])
    except (DefectuneError, KeyError, TypeError, ValueError):
        said = {}
    notes: list[str] = []
    if options.group_by is None and options.find_groups is None:
        if isinstance(said.get("group_by"), str):
            options = replace(options, group_by=said["group_by"])
            notes.append(f"parts are told by the conversion's pattern, {said['group_by']}")
        if isinstance(said.get("find_groups"), bool):
            options = replace(options, find_groups=said["find_groups"])
    share = said.get("good_test_share")
    if isinstance(share, float) and 0 <= share < 1:
        options = replace(options, good_test_share=share)
    read, plain = options.read, type(options.read)()
    for name in _INHERITED:
        if getattr(read, name) == getattr(plain, name) and said.get(name):
            read = replace(read, **{name: said[name]})
            notes.append(f"--{name.replace('_', '-')} {said[name]}, as in the conversion")
    if dataset.bit_depth is not None:
        if read.bit_depth not in (None, dataset.bit_depth):
            raise UsageError(
                f"--bit-depth {read.bit_depth}: the dataset's 16-bit images were read with "
                f"{dataset.bit_depth} bits, and all must be read alike."
            )
        read = replace(read, bit_depth=dataset.bit_depth)
    return replace(options, read=read), notes


def match(
    batch: Batch,
    labels: Labels,
    *,
    rename: Mapping[str, str],
    gone: Mapping[str, Sample],
    prefix: str = "",
    same_name: str = "refuse",
) -> Matched:
    """Match a batch's images by bytes, then by id, and take over their labels.

    Args:
        batch: as read.
        labels: of the dataset; are changed.
        rename: new names of classes, for the batch too.
        gone: images that are removed in the same update, and so not taken.
        prefix: folder that new ids get.
        same_name: `refuse` or `relabel`, see `UpdateOptions`.

    Raises:
        InputError: a file with two labels, or another image under an old name.
    """
    done = Matched(notes=list(batch.notes))
    names = [rename.get(name, name) for name in batch.class_names]
    labels.class_names += [
        name for name in dict.fromkeys(names) if name not in labels.class_names and name != GOOD
    ]
    by_sha: dict[str, list[str]] = {}
    for image_id, sample in labels.samples.items():
        by_sha.setdefault(sample.sha256, []).append(image_id)
    removed = {sample.sha256 for sample in gone.values()}
    # A dataset of one source names none.
    known = sorted({sample.source for sample in labels.samples.values()} - {""})
    source = name_of_source(batch.named.resolve().parts, known) if known else ""
    seen: dict[str, tuple[str, Any]] = {}
    two_labels, other_size, other_image = [], [], []
    counts: Counter[str] = Counter()
    for image, facts in zip(batch.read.images, batch.read.facts, strict=True):
        facts = _renamed(facts, rename)
        label = (facts.defect_type, facts.regions)
        if facts.sha256 in seen:
            if seen[facts.sha256][1] != label:
                two_labels.append(f"{seen[facts.sha256][0]} and {image.relative}")
            counts["files stand twice in the source, and were taken once"] += 1
            continue
        seen[facts.sha256] = (image.relative, label)
        if facts.sha256 in removed:
            counts["images are removed by this very call, and were not taken"] += 1
            continue
        image_id = f"{prefix}/{image.image_id}" if prefix else image.image_id
        known = by_sha.get(facts.sha256, [])
        if not known and image_id in labels.samples:
            old = labels.samples[image_id]
            if old.image_hw != facts.image_hw:
                other_size.append(image.relative)
                continue
            if same_name != "relabel" and not _same_picture(image.image_path, old.image_path):
                other_image.append(image.relative)
                continue
            done.by_name.add(image_id)
            known = [image_id]
        truth = regions_of(facts, labels.class_names, ignored=False)
        ignored = regions_of(facts, labels.class_names, ignored=True)
        sample = _sample(image_id, image, facts, source)
        if not known:
            done.new[image_id] = sample
            done.source[image_id] = image
            labels.take(sample, truth, ignored)
            labels.new_files[image_id] = (image.image_path, facts.remade)
            labels.mask_places[image_id] = _place_of(batch, labels, sample)
            continue
        for one in known:
            _correct(labels, done, one, sample, truth, ignored, _place_of(batch, labels, sample))
    _refuse(two_labels, other_size, other_image)
    if done.by_name:
        done.notes.append(
            f"{len(done.by_name)} images were matched by name: their files have other bytes than "
            "the dataset's, which are kept"
        )
    done.notes += [f"{count} {what}" for what, count in sorted(counts.items())]
    for image_id in done.new:
        # Until they are placed, they are no part of the dataset.
        labels.samples.pop(image_id)
    return done


def _correct(
    labels: Labels,
    done: Matched,
    image_id: str,
    sample: Sample,
    truth: Regions,
    ignored: Regions,
    place: str | None,
) -> None:
    """Replace the label of an image that is there, where it is another one."""
    old = labels.samples[image_id]
    new = replace(
        old,
        defect_type=sample.defect_type,
        mask_path=sample.mask_path if sample.is_defective else None,
    )
    if labels.says(image_id, sample.defect_type, truth, ignored):
        done.unchanged += 1
        return
    strengths = [
        STRENGTHS.index(label_strength(s, t))
        for s, t in ((new, truth), (old, labels.truths[image_id]))
    ]
    if new.defect_type == old.defect_type and strengths[0] < strengths[1]:
        done.unchanged += 1
        note = (
            "labels of the source say less than the dataset's, of the same type, and were not "
            "taken (an image label where there are boxes, or boxes where there are masks)"
        )
        if note not in done.notes:
            done.notes.append(note)
        return
    done.relabelled.add(image_id)
    labels.take(new, truth, ignored)
    labels.mask_places[image_id] = place if new.is_defective else None


def _refuse(two_labels: list[str], other_size: list[str], other_image: list[str]) -> None:
    def some(names: list[str]) -> str:
        return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")

    if two_labels:
        raise InputError(
            f"{len(two_labels)} files of the source stand there with two labels: "
            f"{some(two_labels)}. Remove the one whose label is wrong."
        )
    if other_size:
        raise InputError(
            f"{len(other_size)} images of the source have the name of an image of the dataset, and "
            f"another size: {some(other_size)}. If they are new photographs, give them a folder of "
            "their own with --prefix NAME; if they replace the old ones, remove these first "
            "(--remove)."
        )
    if other_image:
        raise InputError(
            f"{len(other_image)} images of the source have the name of an image of the dataset, "
            f"and other pixels: {some(other_image)}. If they are new photographs, as from a camera "
            "that counts anew, give them a folder of their own with --prefix NAME; if they are the "
            "same photographs, saved again, say --same-name relabel."
        )


def _same_picture(one: Path, other: Path) -> bool:
    return bool(np.array_equal(read_image_rgb(one), read_image_rgb(other)))


def _renamed(facts: ImageFacts, rename: Mapping[str, str]) -> ImageFacts:
    if not rename:
        return facts
    return replace(
        facts,
        defect_type=rename.get(facts.defect_type, facts.defect_type),
        regions=tuple(replace(r, name=rename.get(r.name, r.name)) for r in facts.regions),
    )


def _sample(image_id: str, image: SourceImage, facts: ImageFacts, source: str) -> Sample:
    return Sample(
        image_id=image_id,
        image_path=image.image_path,
        mask_path=image.mask_path if facts.defect_type != GOOD else None,
        defect_type=facts.defect_type,
        image_hw=facts.image_hw,
        sha256=facts.sha256,
        group=image_id,
        source_split=image.source_split or UNSPLIT,
        source=image.source or source,
        date=image.date,
    )


def _place_of(batch: Batch, labels: Labels, sample: Sample) -> str | None:
    """Where the source's mask stands, for annotations/all.json."""
    if sample.mask_path is None:
        return None
    if batch.in_archive:
        return sample.mask_path.relative_to(batch.root).as_posix()
    return portable(sample.mask_path, labels.root, batch.root)
