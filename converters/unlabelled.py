"""Images without a label that come to a dataset: read, told from those it has, and written."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from annotations import GOOD, Dataset, InputError, UsageError
from annotations.by_source import name_of_source
from annotations.errors import DefectuneError
from annotations.files import write_bytes_atomic, write_json_atomic
from annotations.images import check_image_file, plain_png, sha256_of
from annotations.run_files import OUTPUT_MARKER
from annotations.samples import safe_name
from annotations.unlabelled import (
    UNLABELLED_FILE,
    UNLABELLED_FOLDER,
    UnlabelledImage,
    UnlabelledList,
    read_unlabelled,
)
from converters.inventory import SourceFiles
from converters.layouts import SourceImage
from converters.pool import read_all
from converters.read_options import ReadOptions
from converters.yolo import place_image

_LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Incoming:
    """Images without a label that a dataset takes up.

    Attributes:
        images: as they stand in the dataset afterwards.
        files: by their place in the dataset, the file in the folder and whether it is remade as a
            PNG.
        notes: what was counted, a sentence each.
    """

    images: tuple[UnlabelledImage, ...] = ()
    files: Mapping[Path, tuple[Path, bool]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def require_apart(folder: Path, sources: Sequence[Path]) -> None:
    """Refuse a folder of unlabelled images that is read as a source, too.

    Raises:
        UsageError: it lies in one of the sources, or is one.
    """
    for source in sources:
        if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            raise UsageError(
                f"--unlabelled names {folder}, which lies in the source {source}: its images would "
                "be read there as labelled ones. Move that folder out of the source."
            )


def read_incoming(
    folder: Path,
    root: Path,
    known: UnlabelledList,
    labelled: Collection[str],
    options: ReadOptions,
    *,
    workers: int | None = None,
    prefix: str = "",
    sources: Collection[str] = (),
) -> Incoming:
    """Read a folder of images without a label, and leave out what the dataset has already.

    Args:
        folder: with all that is in it.
        root: the dataset's folder.
        known: its list as it stands.
        labelled: SHA-256 of all its images with a label.
        options: how images of 16 bits are read.
        workers: processes; None takes one a core where there are many images.
        prefix: folder that ids get; empty for none.
        sources: names of the dataset's sources, where it has several.

    Raises:
        InputError: no such folder, or no image in it.
        ImageReadError: an image that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(
            f"--unlabelled names {folder}, which should be a folder of images without labels."
        )
    files = SourceFiles(folder.resolve())
    counts: Counter[str] = Counter()
    images = []
    for path in files.images:
        above = path.relative_to(files.root).parents
        if any((files.root / one / OUTPUT_MARKER).is_file() for one in above):
            counts["passed over, written by an earlier call of predict"] += 1
            continue
        relative = files.relative(path)
        images.append(SourceImage(relative, path, GOOD, "", relative))
    if not images:
        raise InputError(
            f"--unlabelled names {folder}, which holds no image. Check the path; labelled images "
            "are what SRC is for."
        )
    source = name_of_source(folder.resolve().parts, sorted(sources)) if sources else ""
    seen = {image.sha256 for image in known.every}
    taken = {image.image_path.name.casefold() for image in known.every}
    ids = {image.image_id for image in known.every}
    came: list[UnlabelledImage] = []
    places: dict[Path, tuple[Path, bool]] = {}
    mine: set[str] = set()
    for image, facts in zip(images, read_all(images, options, workers=workers), strict=True):
        digest = facts.sha256
        if digest in labelled:
            counts["left out, since the dataset has them with a label"] += 1
            continue
        if digest in mine:
            counts["in the folder twice, and taken once"] += 1
            continue
        if digest in seen:
            counts["there already"] += 1
            continue
        mine.add(digest)
        image_id = f"{prefix}/{image.relative}" if prefix else image.relative
        name = _file_name(image_id, remade=facts.remade)
        if name.casefold() in taken or image_id in ids or len(name.encode()) > _LONGEST_NAME:
            # Cameras count anew every day: another photograph of an old name keeps it, and gets
            # the beginning of its digest behind it.
            image_id = _with_digest(image_id, digest)
            name = _file_name(image_id, remade=facts.remade)
            if len(name.encode()) > _LONGEST_NAME:
                name = f"{digest}{PurePosixPath(name).suffix}"
        taken.add(name.casefold())
        ids.add(image_id)
        place = root / UNLABELLED_FOLDER / name
        came.append(UnlabelledImage(image_id, place, facts.image_hw, digest, source))
        places[place] = (image.image_path, facts.remade)
    found = {"added": len(came), **dict(sorted(counts.items()))}
    notes = [f"unlabelled images {what}: {count}" for what, count in found.items() if count]
    return Incoming(tuple(came), places, tuple(notes))


def _file_name(image_id: str, *, remade: bool) -> str:
    path = PurePosixPath(image_id)
    return safe_name(path.with_suffix("").as_posix()) + (".png" if remade else path.suffix.lower())


def _with_digest(image_id: str, digest: str) -> str:
    path = PurePosixPath(image_id)
    return path.with_name(f"{path.stem}-{digest[:12]}{path.suffix}").as_posix()


def write_list(
    folder: Path,
    root: Path,
    now: UnlabelledList,
    incoming: Incoming,
    *,
    copy: bool,
    bit_depth: int | None,
) -> None:
    """Write the list and the images that came.

    Args:
        folder: where to write them, as they shall stand in the dataset.
        root: the dataset's folder, that the list's paths are in.
        now: the list.
        incoming: files to place.
        copy: copy them in place of linking them.
        bit_depth: see `Dataset`.
    """
    for place, (path, remade) in incoming.files.items():
        target = folder / place.relative_to(root)
        if remade:
            write_bytes_atomic(target, plain_png(path, bit_depth=bit_depth))
        else:
            place_image(path, target, copy=copy)
    write_json_atomic(folder / UNLABELLED_FILE, now.to_json(root))


def unlabelled_problems(dataset: Dataset) -> list[str]:
    """What is wrong with the files of a dataset's unlabelled images, a sentence each."""
    problems = []
    for image in dataset.unlabelled:
        try:
            if sha256_of(image.image_path) != image.sha256:
                problems.append(
                    f"The unlabelled image {image.image_path} was changed since it came (another "
                    "SHA-256)."
                )
            elif check_image_file(image.image_path) != image.image_hw:
                problems.append(
                    f"The unlabelled image {image.image_path} has another size than "
                    f"{UNLABELLED_FILE} says."
                )
        except (DefectuneError, OSError) as error:
            problems.append(str(error))
    folder = dataset.root / UNLABELLED_FOLDER
    listed = {image.image_path for image in read_unlabelled(dataset.root).every}
    foreign = sorted(set(folder.rglob("*")) - listed) if folder.is_dir() else []
    if foreign:
        problems.append(
            f"{len(foreign)} files in {folder} are not in {UNLABELLED_FILE}, such as "
            f"{foreign[0].name}. Remove them, or give them to `defectune update --unlabelled`."
        )
    return problems
