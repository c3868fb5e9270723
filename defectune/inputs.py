"""The images that a call names, in files and folders, and what is passed over."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from annotations import InputError
from annotations.cameras import camera_hint
from annotations.images import IMAGE_SUFFIXES, is_image_path
from annotations.run_files import OUTPUT_MARKER

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".mts"}
)
MAX_PATH: Final = 4096
_SHOWN: Final = 4


@dataclass(frozen=True)
class Inputs:
    """What a call names.

    Attributes:
        images: files to read, in order and once each.
        passed_over: files that are not read, by reason.
    """

    images: tuple[Path, ...]
    passed_over: dict[str, list[Path]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What was passed over, counted and named, a line a reason."""
        return [
            f"Passed over, {reason}: {len(paths)} ({_some(paths)})"
            for reason, paths in sorted(self.passed_over.items())
        ]


def gather_images(places: Sequence[Path], *, output: Path | None = None) -> Inputs:
    """Files, and the images in folders and their subfolders, by path.

    A file that is named is read whatever its name says; in folders, names tell the images.

    Args:
        places: files, folders, and patterns with `*`, `?` or `**`, of which images are taken.
        output: a folder to leave out, where the call writes to.

    Raises:
        InputError: a place that does not exist, a video, or no image at all.
    """
    found: dict[Path, Path] = {}
    passed: dict[str, list[Path]] = {}
    left_out = None if output is None else output.absolute()
    for place in places:
        if place.is_dir():
            for path in _walk(place, left_out, passed):
                found.setdefault(path.absolute(), path)
        elif place.is_file():
            refuse_videos([place])
            found.setdefault(place.absolute(), place)
        elif matched := _matching(place):
            for path in matched:
                if not _is_within(path, left_out):
                    found.setdefault(path.absolute(), path)
        else:
            raise InputError(
                camera_hint(place) or f"There is no image or folder {place}. Check the path."
            )
    inputs = Inputs(tuple(found.values()), passed)
    if not inputs.images:
        said = "; ".join(inputs.lines())
        raise InputError(
            f"{', '.join(map(str, places))} holds no image, nor do folders in it "
            f"({', '.join(s.removeprefix('.') for s in IMAGE_SUFFIXES)} are read)."
            f"{' ' + said + '.' if said else ''}"
        )
    return inputs


def refuse_videos(places: Iterable[Path]) -> None:
    """Refuse a video that is named, before a model is opened for it.

    Raises:
        InputError: one of the places is the file of a video.
    """
    for place in places:
        if place.suffix.lower() in VIDEO_SUFFIXES and place.is_file():
            raise InputError(
                f"{place} is a video; images are read. Cut it into images first, for instance "
                f"`ffmpeg -i {place.name} frame-%06d.png`, and give their folder."
            )


def listed_images(lines: Iterable[str]) -> list[Path]:
    """The paths of a list, one a line; empty lines are left out.

    Raises:
        InputError: no path, or a line that cannot be one.
    """
    paths = []
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if "\0" in text or len(text) > MAX_PATH:
            raise InputError(f"Line {number} of the list of images is no path.")
        if text:
            paths.append(Path(text))
    if not paths:
        raise InputError("The list of images is empty. Give a path a line.")
    return paths


def _matching(pattern: Path) -> list[Path]:
    """Images that a pattern names, sorted; none where it is no pattern."""
    parts = pattern.parts
    plain = next((n for n, part in enumerate(parts) if any(c in part for c in "*?[")), None)
    if plain is None:
        return []
    base = Path(*parts[:plain])
    try:
        found = sorted(base.glob("/".join(parts[plain:])))
    except (ValueError, OSError):  # `**x`, or a folder that may not be read
        return []
    return [path for path in found if path.is_file() and is_image_path(path)]


def _is_within(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.absolute().is_relative_to(folder)


def _walk(folder: Path, left_out: Path | None, passed: dict[str, list[Path]]) -> list[Path]:
    images: list[Path] = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        if any(part.startswith(".") for part in inner[:-1]):
            continue
        if _is_within(path, left_out):
            continue
        if not path.is_file():
            continue
        if any((p / OUTPUT_MARKER).is_file() for p in path.parents if p.is_relative_to(folder)):
            reason = "written by an earlier call of predict"
        elif is_image_path(path):
            images.append(path)
            continue
        elif path.name.startswith("."):
            reason = "hidden"
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            reason = "videos (cut them into images to have them read)"
        else:
            reason = "not named as an image"
        passed.setdefault(reason, []).append(path)
    return images


def _some(paths: Sequence[Path]) -> str:
    names = ", ".join(str(path) for path in paths[:_SHOWN])
    return f"{names} …" if len(paths) > _SHOWN else names
