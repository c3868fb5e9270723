"""Every file of a source: found once, looked up by name, and accounted for at the end.

Whatever a layout does not use is named: an image that no label speaks of, a label that belongs to
no image, a file of another kind. Nothing vanishes because a reader did not look for it.
"""

import os
import re
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from annotations import InputError, LayoutError
from annotations.files import MAX_NAME_BYTES, MAX_PATH_BYTES
from annotations.images import is_image_path
from converters.dialects import shown
from converters.names import is_image_folder, is_label_folder, words_of

MAX_FILES: Final = 2_000_000
"""A source with more files is refused: SRC is probably not what was meant."""
BY_TAIL: Final = "paths from another machine, found by their last folders and name"
BY_NAME: Final = "paths found by their file name alone"
_DRIVE: Final = re.compile(r"^[A-Za-z]:(?=[/\\])")
_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://[^/]*")
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".avi", ".mov", ".mkv", ".wmv", ".m4v", ".webm"})
_LABEL_SUFFIXES: Final = frozenset({".json", ".xml", ".txt", ".csv", ".mat"})
_HEAD_BYTES: Final = 1 << 15
_LABEL_MARKS: Final = (
    b'"annotations"', b'"shapes"', b'"objects"', b'"segmentation"', b"<annotation", b"<bndbox",
    b"EncodedPixels", b'"rectanglelabels"', b'"polygonlabels"', b'"brushlabels"',
)  # fmt: skip
_YOLO_LINE: Final = re.compile(rb"^\s*\d+(\.0*)?([\s,]+-?\d*\.?\d+(e-?\d+)?){4,}\s*$", re.I | re.M)


class SourceFiles:
    """The files under a folder, hidden ones left out; the folder is walked once, when needed.

    Args:
        root: the source's folder.
        single: the label file that was given in place of a folder.
    """

    def __init__(self, root: Path, single: Path | None = None) -> None:
        self.root = root
        self.single = single

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """All plain files, sorted by folder and name."""
        return tuple(walk_files(self.root))

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """Files that are images by their names."""
        return tuple(path for path in self.files if is_image_path(path))

    def images_of(self, folder: Path) -> list[Path]:
        """Images that lie directly in a folder, sorted by name."""
        return list(self._by_folder.get(folder, ()))

    @cached_property
    def _by_folder(self) -> dict[Path, list[Path]]:
        by_folder: dict[Path, list[Path]] = defaultdict(list)
        for path in self.images:
            by_folder[path.parent].append(path)
        return by_folder

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Files of these suffixes, given in lower case."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def labels(self, suffix: str) -> list[Path]:
        """Label files of a suffix, given in lower case: the one that was given as SRC, or all."""
        if self.single is not None:
            return [self.single] if self.single.suffix.lower() == suffix else []
        return self.with_suffix(suffix)

    def relative(self, path: Path) -> str:
        """A path relative to the root, with `/`."""
        return path.relative_to(self.root).as_posix()

    def folders(self, path: Path) -> tuple[str, ...]:
        """Names of the folders between the root and a file."""
        return path.relative_to(self.root).parts[:-1]

    def child(self, parent: Path, *names: str) -> Path | None:
        """The entry of a folder that has one of these names, in any case; None without one."""
        for name in names:
            if (parent / name).exists():
                return parent / name
        wanted = {name.casefold() for name in names}
        if not parent.is_dir():
            return None
        hits = sorted(p for p in parent.iterdir() if p.name.casefold() in wanted)
        return hits[0] if hits else None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            by_name[path.name.casefold()].append(path)
        return by_name

    @cached_property
    def _by_path(self) -> dict[str, Path]:
        return {self.relative(path).casefold(): path for path in reversed(self.files)}

    def resolve(
        self, text: str, *, named_by: Path, bases: Sequence[Path], counts: Counter[str]
    ) -> Path:
        """The file inside the root that a label file means by a path.

        In this order: the path as it stands, from each of `bases`; its longest tail that exists
        under one of them or under the root; the only file of that name. Backslashes, drives,
        `file://`, URL-quoted and absolute paths are understood; nothing outside the root is ever
        looked at.

        Args:
            text: as the label file gives it.
            named_by: the label file, for messages.
            bases: folders inside the root.
            counts: where it is counted how a path was found.

        Raises:
            InputError: no such file in the root, or a path that no system can hold.
        """
        if (
            not text.strip()
            or "\x00" in text
            or len(text.encode(errors="replace")) > MAX_PATH_BYTES
            or any(
                len(p.encode(errors="replace")) > MAX_NAME_BYTES for p in re.split(r"[/\\]", text)
            )
        ):
            raise InputError(f"{named_by} names the path {shown(text)}, which no system can hold.")
        places = [self.relative_parts(base) for base in bases]
        for reading in _readings(text):
            for place in places:
                parts = _normal([*place, *reading.parts]) if not reading.absolute else None
                if parts and (found := self._at(parts)) is not None:
                    return found
        for reading in _readings(text):
            tail = list(reading.parts)
            while ".." in tail:
                del tail[: tail.index("..") + 1]
            for start in range(len(tail)):
                for place in [*places, []]:
                    if (found := self._at([*place, *tail[start:]])) is not None:
                        counts[BY_TAIL] += 1
                        return found
            hits = self._by_name.get(tail[-1].casefold(), []) if tail else []
            if len(hits) == 1:
                counts[BY_NAME] += 1
                return hits[0]
            if len(hits) > 1:
                raise InputError(
                    f"{named_by} names {shown(text)}, which was not found, and {len(hits)} files "
                    f"have that name: {hits[0]}, {hits[1]}. Mend the path."
                )
        raise InputError(
            f"{named_by} names {shown(text)}, which was not found in {self.root}, neither there "
            "nor by its name; files outside of it are never read, so that a path which leaves it "
            "leads nowhere. Put the file there, or mend the path."
        )

    def folder_at(self, text: str, *, bases: Sequence[Path]) -> Path | None:
        """The folder inside the root that a label file means by a path, or None.

        Exports write `../train/images`, meant from within a folder that is not there, and absolute
        paths of another machine: the longest tail that is a folder of the source is taken.
        """
        if "\x00" in text or len(text.encode(errors="replace")) > MAX_PATH_BYTES:
            return None
        places = [self.relative_parts(base) for base in bases]
        for reading in _readings(text) or [_Reading((), absolute=False)]:
            for place in places:
                parts = None if reading.absolute else _normal([*place, *reading.parts])
                if parts is not None and (found := self._folder(parts)) is not None:
                    return found
            tail = list(reading.parts)
            while ".." in tail:
                del tail[: tail.index("..") + 1]
            for start in range(len(tail)):
                for place in places:
                    if (found := self._folder([*place, *tail[start:]])) is not None:
                        return found
        return None

    def _folder(self, parts: Sequence[str]) -> Path | None:
        return self._folders.get("/".join(parts).casefold())

    @cached_property
    def _folders(self) -> dict[str, Path]:
        folders = {"": self.root}
        for path in self.files:
            for parent in path.parents:
                key = "" if parent == self.root else self.relative(parent).casefold()
                if parent == self.root or key in folders:
                    break
                folders[key] = parent
        return folders

    def relative_parts(self, folder: Path) -> list[str]:
        """The parts of a folder inside the root; none for one that lies elsewhere."""
        return list(folder.relative_to(self.root).parts) if folder.is_relative_to(self.root) else []

    def _at(self, parts: Sequence[str]) -> Path | None:
        joined = "/".join(parts)
        return self._by_path.get(joined.casefold())

    def pair(
        self, images: Sequence[Path], labels: Sequence[Path], *, endings: Sequence[str] = ("",)
    ) -> tuple[dict[Path, Path], list[Path]]:
        """Labels by image, as paths and names tell.

        An image and a label belong together where their paths are one but for folders such as
        `images` and `labels` and the suffix: `train/images/a.jpg` and `train/labels/a.txt`,
        `images/train/a.jpg` and `labels/train/a.txt`, `a.jpg` and `a.txt`, in any case. What is
        left is paired by stem where that stem is the only one on both sides.

        Args:
            images: image files.
            labels: label files.
            endings: what a label's stem may have after the image's.

        Returns:
            Labels by image, and the labels without an image.

        Raises:
            InputError: two labels of one image.
        """
        by_key: dict[tuple[str, ...], list[Path]] = defaultdict(list)
        by_stem: dict[str, list[Path]] = defaultdict(list)
        for image in images:
            by_key[self._key(image, image.stem)].append(image)
            by_stem[image.stem.casefold()].append(image)
            if image.name.casefold() != image.stem.casefold():
                # Some tools keep the image's suffix: `a.jpg.json`.
                by_key[self._key(image, image.name)].append(image)
                by_stem[image.name.casefold()].append(image)
        result: dict[Path, Path] = {}
        left: list[tuple[Path, str]] = []
        for label in labels:
            stem = next(
                (label.stem[: len(label.stem) - len(e)] for e in endings
                 if e and label.stem.casefold().endswith(e)), label.stem,
            )  # fmt: skip
            hits = by_key.get(self._key(label, stem), [])
            near = [image for image in hits if image.parent == label.parent]
            hits = near or hits
            if len(hits) == 1:
                _put(result, hits[0], label)
            else:
                left.append((label, stem))
        alone = Counter(stem.casefold() for _, stem in left)
        without: list[Path] = []
        for label, stem in left:
            hits = [i for i in by_stem.get(stem.casefold(), []) if i not in result]
            if len(hits) == 1 and alone[stem.casefold()] == 1:
                _put(result, hits[0], label)
            else:
                without.append(label)
        return result, without

    def _key(self, path: Path, stem: str) -> tuple[str, ...]:
        folders = [
            name.casefold()
            for name in self.folders(path)
            if not is_image_folder(name) and not is_label_folder(name)
        ]
        return (*folders, stem.casefold())


def _put(result: dict[Path, Path], image: Path, label: Path) -> None:
    if result.setdefault(image, label) != label:
        raise InputError(
            f"{result[image]} and {label} are both labels of {image}. Remove one of them."
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to understand a path's text."""

    parts: tuple[str, ...]
    absolute: bool


def _readings(text: str) -> list[_Reading]:
    """The ways to understand a path, the literal one first."""
    texts = [text]
    slashed = text.replace("\\", "/")
    scheme = _SCHEME.match(slashed)
    if scheme:
        slashed = slashed[scheme.end() :] or "/"
        if "?d=" in slashed:
            slashed = slashed.partition("?d=")[2]
    elif "?d=" in slashed:
        # Label Studio's local files: /data/local-files/?d=folder/name.png
        slashed = slashed.partition("?d=")[2]
    texts.append(slashed)
    if "%" in slashed:
        texts.append(urllib.parse.unquote(slashed))
    readings = []
    for one in dict.fromkeys(texts):
        drive = _DRIVE.match(one.lstrip("/"))
        rest = one.lstrip("/")[2:] if drive else one
        parts = tuple(p for p in PurePosixPath(rest).parts if p not in ("/", ".", "//"))
        if parts:
            absolute = bool(drive or scheme) or rest.startswith("/")
            readings.append(_Reading(parts, absolute))
    return readings


def _normal(parts: Sequence[str]) -> list[str] | None:
    """Resolve `..` by name; None for what climbs out of the root."""
    result: list[str] = []
    for part in parts:
        if part == "..":
            if not result:
                return None
            result.pop()
        else:
            result.append(part)
    return result


def walk_files(source: Path) -> Iterator[Path]:
    """All files under a folder in sorted order, hidden ones left out.

    Links to folders are followed, each folder once: a loop of links ends. Pipes and devices are
    no files.

    Raises:
        InputError: more than `MAX_FILES` files, or a name that is not text in UTF-8.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    # Folders still to be read, the first in order last; no recursion, so that depth is no limit.
    waiting = [source]
    while waiting:
        folder = waiting.pop()
        state = folder.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        inner: list[Path] = []
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                entry.name.encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"{folder} holds a file whose name is not UTF-8 ({shown(entry.name)}). Rename "
                    "it."
                ) from None
            try:
                if entry.is_dir():
                    inner.append(folder / entry.name)
                    continue
                if not entry.is_file():
                    continue
            except OSError:  # a link that leads to itself is no file
                continue
            count += 1
            if count > MAX_FILES:
                raise InputError(
                    f"{source} holds more than {MAX_FILES:,} files. Give the folder of one "
                    "dataset as SRC."
                )
            yield folder / entry.name
        waiting.extend(reversed(inner))


def open_source(source: Path) -> SourceFiles:
    """The files of what was given as SRC: a folder, or a label file in one.

    Raises:
        LayoutError: there is no such path, or it is a video or an image.
    """
    if not source.exists():
        raise LayoutError(f"There is no folder {source}. Check the path.")
    if source.is_dir():
        return SourceFiles(source.resolve())
    suffix = source.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        raise LayoutError(
            f"{source} is a video. Save its frames as images (for instance with ffmpeg -i "
            f"{source.name} frames/%06d.png), label them, and give that folder."
        )
    if is_image_path(source):
        raise LayoutError(f"{source} is an image; expected the folder of a dataset.")
    path = source.resolve()
    root = path.parent
    if is_label_folder(root.name) or "jsons" in words_of(root.name):
        root = root.parent
    return SourceFiles(root, path)


def looks_like_label(path: Path) -> bool:
    """True for a file that by suffix and content holds labels of defects."""
    if path.suffix.lower() not in _LABEL_SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if path.suffix.lower() == ".mat":
        return True
    if b'"caption"' in head and b'"bbox"' not in head and b'"segmentation"' not in head:
        return False
    return any(mark in head for mark in _LABEL_MARKS) or (
        path.suffix.lower() == ".txt" and _YOLO_LINE.search(head) is not None
    )
