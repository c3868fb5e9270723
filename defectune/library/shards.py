"""Parts of a call of `predict` that can be predicted apart, anywhere, and put together in order."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from annotations import ImageReadError, InputError, read_image_rgb
from annotations.errors import shortened
from annotations.samples import safe_name
from defectune.library.kept_results import SHARDS_FOLDER, lines

SHARD: Final = 256
"""Images of a part."""


@dataclass(frozen=True, slots=True)
class Part:
    """Images of a call that are predicted one after the other.

    Attributes:
        folder: for overlays and maps.
        start: how many images of the call come before.
        paths: the images.
        names: of their overlays and maps.
    """

    folder: Path
    start: int
    paths: tuple[Path, ...]
    names: tuple[str, ...]

    @property
    def stop(self) -> int:
        """How many images of the call come before its end."""
        return self.start + len(self.paths)

    @property
    def file(self) -> Path:
        """Where its lines are kept until those before it are done."""
        return self.folder / SHARDS_FOLDER / f"{self.start}-{self.stop}.jsonl"


def parts_of(
    folder: Path, images: Sequence[Path], start: int = 0, *, size: int = SHARD
) -> Iterator[Part]:
    """Parts that hold every image from `start` on once, in order.

    They end at multiples of `size` wherever they start, so that a call finds again the parts that
    an earlier one was given.

    Args:
        folder: of the call's results.
        images: all of the call: a file's name hangs on those before.
        start: so many are done.
        size: most images of a part.
    """
    names = overlay_names(images)
    for _ in range(start):
        next(names)
    while start < len(images):
        stop = min(len(images), (start // size + 1) * size)
        yield Part(
            folder, start, tuple(images[start:stop]), tuple(next(names) for _ in range(start, stop))
        )
        start = stop


def kept(part: Part, bit_depth: int | None) -> list[Mapping[str, str]] | None:
    """Rows of a part that is done and whose file waits to be taken; None where it is not.

    A file with faults that are not to be found here is removed: whoever wrote it did not see the
    images.

    Args:
        part: of the call.
        bit_depth: as its images are read with.

    Raises:
        InputError: the part's file is damaged.
    """
    if not part.file.is_file():
        return None
    rows = rows_of(part)
    for path, row in zip(part.paths, rows, strict=True):
        if row["error"]:
            with contextlib.suppress(ImageReadError, OSError):
                read_image_rgb(path, bit_depth=bit_depth)
                part.file.unlink()
                return None
    return rows


def take(
    part: Part,
    rows: Iterable[Mapping[str, str]],
    file: IO[str],
    on_row: Callable[[Mapping[str, str]], None],
) -> None:
    """Append the kept lines of a part to `file`, and remove them where they were kept.

    Args:
        part: whose file is there.
        rows: of it, see `kept`.
        file: of the call's results.
        on_row: gets every row.
    """
    file.write(part.file.read_text(encoding="utf-8"))
    file.flush()
    part.file.unlink()
    for row in rows:
        on_row(row)


def rows_of(part: Part) -> list[Mapping[str, str]]:
    """Rows of a part's file, an image each.

    Raises:
        InputError: it holds something else.
    """
    try:
        rows = [line["row"] for line in lines(part.file)]
        if [(row["image"], row["error"] is None) for row in rows] != [
            (str(path), False) for path in part.paths
        ]:
            raise ValueError("other images than expected")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{part.file} is damaged ({shortened(error)}). Remove it and call again."
        ) from error
    return rows


def overlay_names(images: Sequence[Path]) -> Iterator[str]:
    """A file name for each image: its stem, with a number where several have it."""
    used: set[str] = set()
    last: dict[str, int] = {}
    for path in images:
        stem = safe_name(path.stem)
        # Without regard to case, as the file systems of two of the three usual systems compare.
        plain = stem.casefold()
        name, number = stem, last.get(plain, 1)
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        last[plain] = number
        used.add(name.casefold())
        yield name
