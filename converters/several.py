"""Several sources as one: each read in its own layout, classes matched by their names."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, UsageError
from annotations.dataset import portable
from annotations.files import folder_moved_into_place
from converters.archive import is_zip, unpacked
from converters.convert import (
    OUTPUT_HINT,
    ReadSource,
    check_convert_options,
    class_names_of,
    read_source,
    require_outside,
    require_unlabelled_apart,
    write_conversion,
)
from converters.facts import ImageFacts
from converters.groups import compile_pattern
from converters.layouts import Found, SourceImage
from converters.looking import require_effect, require_few_classes, require_one_label
from converters.pool import Pool
from converters.report import AUTO_PROTOCOL, ConversionReport, ConvertOptions, SourceFacts

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the sources, read.

    Attributes:
        name: told from the others' by it, such as `line_2`.
        named: as the person named it.
        root: the folder that masks are relative to.
        in_archive: True where `root` goes away again.
        read: images and facts.
    """

    name: str
    named: Path
    root: Path
    in_archive: bool
    read: ReadSource


def convert_several(
    sources: Sequence[Path],
    output: Path,
    options: ConvertOptions | None = None,
    *,
    pool: Pool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert several sources into one dataset.

    Each source is read as alone, in its own layout and with its own sides. Classes are matched by
    their names, after `map_class`, and never by number. Every image keeps the name of its source
    (`Sample.source`); where two sources would give one id, all ids get that name in front. Images
    of equal bytes or texture are one part, whichever sources they come from.

    Args:
        sources: two folders, label files or archives, or more.
        output: a new or empty folder.
        options: as of `converters.convert`; what is said of files and classes holds for all
            sources, and has to have an effect in one.
        pool: reads in place of this machine's processes.
        progress: called with images done and images in all.

    Returns:
        The report that is also written as conversion.json.

    Raises:
        UsageError: fewer than two sources, or an option without an effect in any.
        InputError: one source twice or in another, classes that are numbers without names, or
            16-bit images of unequal depths.
        DefectuneError: as `converters.convert` refuses.
    """
    options = options or ConvertOptions()
    pattern = compile_pattern(options.group_by)
    check_convert_options(options)
    if len(sources) < 2:
        raise UsageError("Several sources are two or more; one is what `converters.convert` takes.")
    _require_apart(sources)
    for source in sources:
        require_outside(source, output)
    require_unlabelled_apart(options, sources, output)
    names = source_names(sources)
    reading = replace(options, find=replace(options.find, shared=True))
    with (
        folder_moved_into_place(output, hint=OUTPUT_HINT) as folder,
        contextlib.ExitStack() as stack,
    ):
        parts = []
        for name, source in zip(names, sources, strict=True):
            archive = is_zip(source)
            content = stack.enter_context(unpacked(source)) if archive else source
            # What is unpacked goes away again: links to it would lead nowhere.
            reading = replace(reading, copy_images=reading.copy_images or archive)
            read = read_source(content, reading, named=source, pool=pool, progress=progress)
            root = content if content.is_dir() else content.parent
            parts.append(_Part(name, source, root, archive, read))
        _require_names(parts)
        options = replace(options, copy_images=reading.copy_images)
        merged, part_of = _merged(parts, options)
        return write_conversion(
            merged,
            folder,
            pattern,
            progress,
            mask_places=_mask_places(merged, part_of, folder),
            sources={image_id: part.name for image_id, part in part_of.items()},
        )


def source_names(sources: Sequence[Path]) -> list[str]:
    """A name for each source: its own, with as many folders above it as tell it from the others.

    Example:
        >>> source_names([Path("line_1/bottle"), Path("line_2/bottle"), Path("old.zip")])
        ['line_1/bottle', 'line_2/bottle', 'old.zip']
    """
    parts = [source.resolve().parts for source in sources]
    depth = [1] * len(parts)
    while True:
        names = ["/".join(part[-n:]) for part, n in zip(parts, depth, strict=True)]
        count = Counter(names)
        same = [n for n, name in enumerate(names) if count[name] > 1 and depth[n] < len(parts[n])]
        if not same:
            return names
        for n in same:
            depth[n] += 1


def _require_apart(sources: Sequence[Path]) -> None:
    whole = [source.resolve() for source in sources]
    for n, one in enumerate(whole):
        for m, other in enumerate(whole):
            if n < m and one == other:
                raise InputError(f"{sources[m]} is given twice. Name every source once.")
            if n != m and other.is_dir() and one.is_relative_to(other):
                raise InputError(
                    f"{sources[n]} lies in {sources[m]}, so that its images would be read twice. "
                    "Give one of the two."
                )


def _require_names(parts: Sequence[_Part]) -> None:
    """Refuse classes that are known by their numbers alone: numbers of two sources may differ."""
    listed, numbered = [], []
    for part in parts:
        names = class_names_of(part.read)
        listed.append(f"{part.named}: {', '.join(names) or 'none'}")
        if part.read.found.class_names is None and any(
            name.startswith("class_") and name[6:].isdecimal() for name in names
        ):
            numbered.append(str(part.named))
    if numbered:
        raise InputError(
            f"{' and '.join(numbered)} {'numbers its' if len(numbered) == 1 else 'number their'} "
            "classes and names none, and classes of several sources are matched by name, never by "
            f"number. The classes are, in {'; in '.join(listed)}. Write the names into a "
            "classes.txt or data.yaml of the source; or say what the numbers mean, where they mean "
            "the same in all sources, with --classes or --map-class."
        )


def _merged(parts: Sequence[_Part], options: ConvertOptions) -> tuple[ReadSource, dict[str, _Part]]:
    """All sources as one, and the source of every image by its id."""
    depths = {p.name: p.read.options.read.bit_depth for p in parts if p.read.options.read.bit_depth}
    if len(set(depths.values())) > 1:
        said = ", ".join(f"{name} {depth}" for name, depth in depths.items())
        raise InputError(
            f"The 16-bit images of the sources use different numbers of bits ({said}), and would "
            "be made 8-bit images by different rules. Say one for all with --bit-depth."
        )
    depth = next(iter(depths.values()), None)
    if options.read.bit_depth is not None and depth is None:
        raise UsageError(
            f"--bit-depth {options.read.bit_depth} would have no effect: no image of any source "
            "has 16 bits. Leave it out."
        )
    options = replace(options, read=replace(options.read, bit_depth=depth, good=options.find.good))
    layouts = "; ".join(f"{part.name} as {part.read.report.layout}" for part in parts)
    report = ConversionReport(parts[0].named, layouts, options)
    count = Counter(i.image_id.casefold() for p in parts for i in p.read.found.images)
    twice = [i for i, n in count.items() if n > 1]
    found = Found()
    images: list[SourceImage] = []
    facts: list[ImageFacts] = []
    part_of: dict[str, _Part] = {}
    if twice:
        found.notes.append(
            f"{len(twice)} ids stand in several sources, such as {min(twice)}: every id has the "
            "name of its source in front"
        )
    for part in parts:
        read = part.read
        renamed = {i.image_id: _renamed(i, part.name, prefix=bool(twice))
                   for i in read.found.images}  # fmt: skip
        clash = next((i.image_id for i in renamed.values() if i.image_id in part_of), None)
        if clash is not None:
            raise InputError(
                f"{part.named} and {part_of[clash].named} both have an image that would be called "
                f"{clash}. Rename the folder of one of the sources."
            )
        part_of |= {i.image_id: part for i in renamed.values()}
        found.images += renamed.values()
        images += [renamed[i.image_id] for i in read.images]
        facts += read.facts
        found.notes += [f"{part.name}: {note}" for note in read.found.notes]
        found.counts += read.found.counts
        found.said |= read.found.said
        _add(report, read.report, part, renamed)
        counted = Counter(f.defect_type for f in read.facts)
        report.sources.append(
            SourceFacts(part.name, part.named, read.report.layout, dict(sorted(counted.items())),
                        read.options.read.to_json())
        )  # fmt: skip
    order = sorted(range(len(images)), key=lambda n: images[n].image_id)
    images, facts = [images[n] for n in order], [facts[n] for n in order]
    found.images.sort(key=lambda image: image.image_id)
    listed = [n for p in parts for n in (p.read.found.class_names or ())]
    found.class_names = tuple(dict.fromkeys(listed)) or None
    _require_use(parts)
    require_effect(found, facts, options)
    require_one_label(images, facts, report)
    merged = ReadSource(found, images, facts, _with_protocol(parts, options, report), report)
    require_few_classes(class_names_of(merged))
    _say_near_names(parts, report)
    return merged, part_of


def _with_protocol(
    parts: Sequence[_Part], options: ConvertOptions, report: ConversionReport
) -> ConvertOptions:
    """Options with folds, where only some sources have a division that could be kept."""
    sided = [part.name for part in parts if any(i.source_split for i in part.read.images)]
    if options.protocol != AUTO_PROTOCOL or options.split_file or len(sided) in (0, len(parts)):
        return options
    report.notes.append(
        f"only {', '.join(sided)} {'has' if len(sided) == 1 else 'have'} sides of its own, so that "
        "the test images of all sources are dealt to folds (--protocol official keeps those sides)"
    )
    return replace(options, protocol="kfold")


def _renamed(image: SourceImage, name: str, *, prefix: bool) -> SourceImage:
    return replace(
        image,
        image_id=f"{name}/{image.image_id}" if prefix else image.image_id,
        relative=f"{name}/{image.relative}",
        # Part 7 of one line is not part 7 of the other.
        group=None if image.group is None else f"{name}/{image.group}",
    )


def _add(
    report: ConversionReport,
    other: ConversionReport,
    part: _Part,
    renamed: Mapping[str, SourceImage],
) -> None:
    report.n_masks += other.n_masks
    report.counts += other.counts
    report.n_images.update({f"{part.name}/{k}": n for k, n in other.n_images.items()})
    report.ambiguous_pixels.update(
        {renamed[i].image_id: n for i, n in other.ambiguous_pixels.items()}
    )
    report.left_out.update({renamed[i].image_id: why for i, why in other.left_out.items()})
    report.notes += [f"{part.name}: {note}" for note in other.notes]
    left, mine = other.leftovers, report.leftovers
    mine.images += [f"{part.name}/{path}" for path in left.images]
    mine.labels += [(f"{part.name}/{where}", why) for where, why in left.labels]
    mine.skipped += left.skipped
    mine.n_images += left.n_images


def _require_use(parts: Sequence[_Part]) -> None:
    """Refuse an option that the layout of no source looks at."""
    idle = set.intersection(*(set(p.read.found.idle) for p in parts))
    if idle:
        read = ", ".join(f"{p.name} as {p.read.report.layout.split(':')[0]}" for p in parts)
        raise UsageError(
            f"{' and '.join(sorted(idle))} would have no effect in any source (read are {read}). "
            "Leave it out, or say --layout."
        )


def _say_near_names(parts: Sequence[_Part], report: ConversionReport) -> None:
    spelled: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for name in class_names_of(part.read):
            spelled[name.casefold()].add(name)
    for names in spelled.values():
        if len(names) > 1:
            report.notes.append(
                f"{' and '.join(sorted(names))} differ in capitals alone, and are classes of their "
                "own (--map-class OLD=NEW makes them one)"
            )


def _mask_places(merged: ReadSource, part_of: Mapping[str, _Part], folder: Path) -> dict[str, str]:
    """Where the sources' masks stand, for annotations/all.json."""
    places = {}
    for image, facts in zip(merged.images, merged.facts, strict=True):
        path, part = image.mask_path, part_of[image.image_id]
        if path is None or facts.defect_type == GOOD:
            continue
        inner = f"{part.name}/{path.relative_to(part.root).as_posix()}" if part.in_archive else ""
        places[image.image_id] = inner or portable(path, folder, part.root)
    return places
