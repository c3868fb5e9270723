"""The conversion: from a source layout to the converted dataset, proved and written as a whole."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from annotations import (
    GOOD,
    Dataset,
    InputError,
    OutputExistsError,
    Regions,
    Sample,
    Split,
    UsageError,
    label_strength,
    make_split,
    read_custom_split,
)
from annotations.by_source import shared_note
from annotations.files import (
    folder_moved_into_place,
)
from annotations.protocols import check_protocol, custom_split, natural_protocol
from annotations.unlabelled import UnlabelledList
from annotations.version_files import TEXTURES_FILE, read_state, state_path
from converters.accounting import account, require_accounted
from converters.archive import is_zip, unpacked
from converters.facts import AMBIGUOUS, IGNORED_BY_SOURCE, ImageFacts, regions_of
from converters.groups import compile_pattern, group_images
from converters.inventory import open_source
from converters.layouts import (
    Found,
    SourceImage,
    check_options,
    find_images,
    takes_unlabeled,
)
from converters.layouts.source import settle_sides
from converters.looking import (
    look_at_masks,
    require_effect,
    require_few_classes,
    require_one_label,
    settle_pixels,
)
from converters.masks import IGNORE
from converters.pool import Pool, read_all
from converters.read_options import fault_of_name
from converters.remarks import warnings_about
from converters.report import AUTO_PROTOCOL, ConversionReport, ConvertOptions
from converters.sides import UNSPLIT, choose_sides
from converters.unlabelled import Incoming, read_incoming, require_apart, write_list
from converters.writing import write_dataset

NO_FOLDER: Final = "(top)"
OUTPUT_HINT: Final = "Choose another OUT, or remove that folder yourself."


@dataclass(frozen=True, slots=True)
class _Reading:
    """Who reads, and who is told of it."""

    pool: Pool | None
    progress: Callable[[int, int], None] | None


def convert(
    source: Path,
    output: Path,
    options: ConvertOptions | None = None,
    *,
    pool: Pool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert a folder of images and masks into a dataset that all families share.

    Everything is written beside `output` and moved into place at the end: a failed or killed
    conversion leaves nothing at `output`.

    Args:
        source: folder of one category.
        output: a new or empty folder.
        options: layout, split, groups; None for the defaults.
        pool: reads images and masks in place of this machine's processes.
        progress: called with images done and images in all.

    Returns:
        The report that is also written as conversion.json.

    Raises:
        LayoutError: the source does not have the layout.
        InputError: an unpaired image or mask, unequal sizes, a mask that did not come back.
        ImageReadError: an image or mask that cannot be read.
        OutputExistsError: `output` holds something already, or lies in the source.
        UsageError: an unknown layout or a malformed regular expression.
    """
    options = options or ConvertOptions()
    pattern = compile_pattern(options.group_by)
    check_convert_options(options)
    reading = _Reading(pool, progress)
    require_outside(source, output)
    require_unlabelled_apart(options, [source], output)
    with folder_moved_into_place(output, hint=OUTPUT_HINT) as folder:
        if is_zip(source):
            with unpacked(source) as content:
                # What is unpacked goes away again: links to it would lead nowhere.
                copying = replace(options, copy_images=True)
                report = _convert(content, folder, copying, pattern, reading, named=source)
        else:
            report = _convert(source, folder, options, pattern, reading, named=source)
    return report


def require_outside(source: Path, output: Path) -> None:
    """Refuse an output that lies in its source.

    Raises:
        OutputExistsError: it does, or is the source.
    """
    inside = output.resolve().is_relative_to(source.resolve())
    if inside and (source.is_dir() or output.resolve() == source.resolve()):
        raise OutputExistsError(
            f"The output {output} lies inside the source {source}, where it would be read as "
            "data. Choose a folder elsewhere."
        )


def require_unlabelled_apart(
    options: ConvertOptions, sources: Sequence[Path], output: Path
) -> None:
    """Refuse a folder of unlabelled images in a source, or with the output in it.

    Raises:
        UsageError: it lies in a source.
        OutputExistsError: the output lies in it.
    """
    if options.unlabelled is not None:
        require_apart(options.unlabelled, sources)
        require_outside(options.unlabelled, output)


def check_convert_options(options: ConvertOptions) -> None:
    """Refuse what can be refused before a file is read."""
    check_options(options.layout)
    options.read.check()
    if not 0 <= options.good_test_share < 1:
        raise UsageError(f"--good-test-share must be in [0, 1), got {options.good_test_share}.")
    if options.protocol != AUTO_PROTOCOL and options.split_file is None:
        check_protocol(options.protocol, options.folds)
    if options.shots is not None and options.protocol != "few-shot":
        raise UsageError(
            f"--shots, --shots-per-type and --shots-of belong to --protocol few-shot, and the "
            f"protocol is {options.protocol}. Leave them out, or say --protocol few-shot."
        )
    if options.split_file is not None and options.split_version is not None:
        read_state(options.split_file, options.split_version)
    elif options.split_file is not None and not options.split_file.is_file():
        raise UsageError(f"--split names {options.split_file}, which does not exist.")


@dataclass(frozen=True, slots=True)
class ReadSource:
    """A source that was read and passed all checks.

    Attributes:
        found: as its layout was read.
        images: those that can be part of a dataset.
        facts: one for each of them.
        options: as they were settled by what was found.
        report: with what was counted up to here.
    """

    found: Found
    images: list[SourceImage]
    facts: list[ImageFacts]
    options: ConvertOptions
    report: ConversionReport


def read_source(
    source: Path,
    options: ConvertOptions,
    *,
    named: Path,
    pool: Pool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReadSource:
    """Find and read all images and labels of a source.

    Args:
        source: folder or label file; an archive is unpacked already.
        options: of the conversion.
        named: the source as messages call it.
        pool: reads in place of this machine's processes.
        progress: called with images done and images in all.

    Raises:
        DefectuneError: see `convert`.
    """
    reading = _Reading(pool, progress)
    options = replace(options, read=replace(options.read, good=options.find.good))
    files = open_source(source)
    found, reason = find_images(files, options.layout, options.find)
    settle_sides(found)
    report = ConversionReport(named, reason, options)
    report.leftovers = account(files, found)
    require_few_classes({image.defect_type for image in found.images}, found.class_names)
    options = replace(options, read=settle_pixels(found, options, report))
    if not options.allow_leftovers:
        require_accounted(report.leftovers, named, how_else=_how_else(report))
    images, facts = _read_all(found, options, report, reading)
    if not options.allow_leftovers:
        require_accounted(report.leftovers, named, how_else=_how_else(report))
    look_at_masks(images, facts, options)
    if not options.find.shared:
        require_effect(found, facts, options)
        require_one_label(images, facts, report)
    return ReadSource(found, images, facts, options, report)


def _convert(
    source: Path,
    folder: Path,
    options: ConvertOptions,
    pattern: re.Pattern[str] | None,
    reading: _Reading,
    *,
    named: Path,
) -> ConversionReport:
    """Convert into a folder that is moved into place by the caller."""
    read = read_source(source, options, named=named, pool=reading.pool, progress=reading.progress)
    unpacked_in = source if source != named else None
    return write_conversion(read, folder, pattern, reading.progress, unpacked_in=unpacked_in)


def write_conversion(
    read: ReadSource,
    folder: Path,
    pattern: re.Pattern[str] | None,
    progress: Callable[[int, int], None] | None,
    *,
    unpacked_in: Path | None = None,
    mask_places: Mapping[str, str] | None = None,
    sources: Mapping[str, str] = MappingProxyType({}),
) -> ConversionReport:
    """Split what was read, and write it as a dataset.

    Args:
        read: a source, or several as one.
        folder: that the caller moves into place.
        pattern: of --group-by.
        progress: called with images done and images in all.
        unpacked_in: see `write_dataset`.
        mask_places: as well.
        sources: name of the source by image id, where there are several.

    Raises:
        DefectuneError: see `convert`.
    """
    found, images, facts, options, report = (
        read.found, read.images, read.facts, read.options, read.report
    )  # fmt: skip
    report.class_names = class_names = class_names_of(read)
    truths = {
        i.image_id: regions_of(f, class_names, ignored=False)
        for i, f in zip(images, facts, strict=True)
    }
    ignored = {
        i.image_id: regions_of(f, class_names, ignored=True)
        for i, f in zip(images, facts, strict=True)
        if any(region.ignored for region in f.regions)
    }
    # Kept, so that the first update already reads new images only.
    kept = folder / TEXTURES_FILE
    samples = _samples(images, facts, pattern, options, report, progress, sources, kept)
    split = _split(samples, options, report)
    report.split = split
    report.warnings = warnings_about(samples, split, report.grouping.reshots or ())
    report.notes = [*found.notes, *report.notes]
    report.counts.update(found.counts)
    _count(samples, truths, report, {i.image_id for i in images if i.truth is not None})
    came = _unlabelled(samples, folder, options, report)
    dataset = Dataset(
        folder,
        class_names,
        tuple(samples),
        MappingProxyType(truths),
        split,
        MappingProxyType(ignored),
        bit_depth=options.read.bit_depth,
        unlabelled=came.images,
    )
    if came.images:
        now = UnlabelledList().settled((), more=came.images)
        copy, depth = options.copy_images, options.read.bit_depth
        write_list(folder, folder, now, came, copy=copy, bit_depth=depth)
    exact = {i.image_id: f.exact for i, f in zip(images, facts, strict=True)}
    remade = {i.image_id for i, f in zip(images, facts, strict=True) if f.remade}
    known = {k: v for k, v in exact.items() if v is not None}
    write_dataset(dataset, report, known, remade, unpacked_in, mask_places)
    return report


def _unlabelled(
    samples: list[Sample], folder: Path, options: ConvertOptions, report: ConversionReport
) -> Incoming:
    """Read the images without a label that come along."""
    if options.unlabelled is None:
        return Incoming()
    came = read_incoming(
        options.unlabelled,
        folder,
        UnlabelledList(),
        {sample.sha256 for sample in samples},
        options.read,
        workers=options.workers,
        sources={sample.source for sample in samples if sample.source},
    )
    report.n_unlabelled = len(came.images)
    report.notes += came.notes
    return came


def _how_else(report: ConversionReport) -> str:
    if takes_unlabeled(report.layout):
        return "Where they are good images, say so (--no-mask-is-good)."
    return ""


def _read_all(
    found: Found,
    options: ConvertOptions,
    report: ConversionReport,
    reading: _Reading,
) -> tuple[list[SourceImage], list[ImageFacts]]:
    images: list[SourceImage] = []
    facts: list[ImageFacts] = []
    coming = read_all(
        found.images,
        options.read,
        workers=options.workers,
        pool=reading.pool,
        progress=reading.progress,
    )
    for image, one in zip(found.images, coming, strict=True):
        if one.left_out is not None:
            report.left_out[image.image_id] = one.left_out
            if one.left_out == IGNORED_BY_SOURCE:
                reason = (
                    "images with nothing but regions that the source ignores (iscrowd, difficult; "
                    "--crowd-is-defect counts them as defects)"
                )
                report.leftovers.labels.append((image.relative, reason))
            continue
        images.append(image)
        facts.append(one)
        for what, count in (one.counts or {}).items():
            if what == AMBIGUOUS:
                report.ambiguous_pixels[image.image_id] = count
            else:
                report.counts[what] += count
        report.n_masks += one.exact is not None
        folder = Path(image.relative).parent.as_posix()
        report.n_images[folder if folder != "." else NO_FOLDER] += 1
    if not images and (options.allow_leftovers or not report.leftovers.labels):
        raise InputError(f"{report.source} holds no image that can be part of a dataset.")
    return images, facts


def class_names_of(read: ReadSource) -> tuple[str, ...]:
    """Names in the source's order where it has one, then by name; only those that occur, and
    those that the source lists.

    Raises:
        InputError: a name that cannot be one.
    """
    found, images, facts, options = read.found, read.images, read.facts, read.options
    used = {region.name for one in facts for region in one.regions}
    used |= {one.defect_type for one in facts}
    # A value that a mask ignores is no class; its regions go by the first one.
    used -= {GOOD, IGNORE}
    listed = [options.read.final_name(name)[0] for name in found.class_names or ()]
    names = tuple(dict.fromkeys([*(n for n in listed if n != GOOD), *sorted(used)]))
    require_few_classes(names)
    for name in names:
        why = fault_of_name(name)
        if why:
            some = next(
                (i.image_path for i, f in zip(images, facts, strict=True)
                 if f.defect_type == name or any(r.name == name for r in f.regions)),
                report_place(found),
            )  # fmt: skip
            raise InputError(
                f"{some} has the class {name[:60]!r}, which cannot be one: {why}. Rename it there, "
                "or with --map-class OLD=NEW."
            )
    return names


def report_place(found: Found) -> str:
    """Where class names come from when no image has one."""
    return "The source's list of classes" if found.class_names else "The source"


def _samples(
    images: list[SourceImage],
    facts: list[ImageFacts],
    pattern: re.Pattern[str] | None,
    options: ConvertOptions,
    report: ConversionReport,
    progress: Callable[[int, int], None] | None,
    sources: Mapping[str, str],
    kept: Path,
) -> list[Sample]:
    report.grouping = group_images(
        [
            (i.image_id, i.relative, i.image_path, f.sha256, i.group)
            for i, f in zip(images, facts, strict=True)
        ],
        pattern=pattern,
        find=options.find_groups,
        progress=progress,
        kept=kept,
    )
    samples = [
        Sample(
            image_id=image.image_id,
            image_path=image.image_path,
            mask_path=image.mask_path if one.defect_type != GOOD else None,
            defect_type=one.defect_type,
            image_hw=one.image_hw,
            sha256=one.sha256,
            group=report.grouping.groups[image.image_id],
            source_split=image.source_split or UNSPLIT,
            source=sources.get(image.image_id, "") or image.source,
            date=image.date,
        )
        for image, one in zip(images, facts, strict=True)
    ]
    chosen, note = choose_sides(samples, options.good_test_share)
    if note is not None:
        report.notes.append(note)
    return chosen


def _split(samples: list[Sample], options: ConvertOptions, report: ConversionReport) -> Split:
    if options.split_file is not None and options.split_version is not None:
        state = read_state(options.split_file, options.split_version)
        path = state_path(options.split_file, options.split_version)
        return custom_split(state["split"], path, samples, seed=options.seed)
    if options.split_file is not None:
        return read_custom_split(options.split_file, samples, seed=options.seed)
    protocol = options.protocol
    if protocol == AUTO_PROTOCOL:
        protocol = natural_protocol(samples)
        if not any(sample.is_defective for sample in samples):
            report.notes.append(
                "every image is good: models of good images can be trained, on one division of "
                "them; once there are defective images, convert them all into a new folder"
            )
        elif protocol == "official":
            report.notes.append(
                "the source has defects on its training side, and its own division is kept "
                "(--protocol kfold deals its test images to folds in place of that)"
            )
    split = make_split(
        samples,
        protocol=protocol,
        folds=options.folds,
        seed=options.seed,
        shots=options.shots,
    )
    if protocol == "leave-one-source-out":
        report.notes += filter(None, [shared_note(samples)])
    by_id = {sample.image_id: sample for sample in samples}
    tested = [by_id[image_id] for image_id in split.test_ids]
    if not any(not sample.is_defective for sample in tested):
        report.notes.append(
            "no good image is among the test images: accuracy, F1, overkill, image AUROC and "
            "image AP cannot be had; regions and pixels can"
        )
    if not any(sample.is_defective for sample in tested):
        report.notes.append(
            "no defective image is among the test images: of the metrics only overkill can be had"
        )
    return split


def _count(
    samples: list[Sample],
    truths: Mapping[str, Regions],
    report: ConversionReport,
    with_truth: set[str],
) -> None:
    """Count regions, strengths of label, and empty masks among images `with_truth`."""
    report.n_components = Counter(dict.fromkeys(report.class_names, 0))
    for sample in samples:
        truth = truths[sample.image_id]
        for label in truth.labels.tolist():
            report.n_components[report.class_names[label]] += 1
        if sample.is_defective:
            report.label_strengths[label_strength(sample, truth)] += 1
        if sample.is_defective and not len(truth) and sample.image_id in with_truth:
            report.empty_masks.append(sample.image_id)
