"""Which images show one physical part: by a pattern on the path, by bytes, or by texture."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations import UsageError
from annotations.errors import shortened
from converters.new_reshots import row_of
from converters.reshots import ALL_PAIRS, MIN_IMAGES, Reshot, find_reshots

MOST_IMAGES: Final = 100_000
"""Up to so many images are compared unasked: measured so far, in benchmarks/results."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """What was found about parts.

    Attributes:
        groups: the group of every image id.
        duplicates: ids of images with equal bytes.
        reshots: pairs of ids whose texture correlates, and how much; None where not looked for.
        why: how the parts were found, as a text.
        unmatched: images that the pattern did not match.
    """

    groups: dict[str, str] = field(default_factory=dict)
    duplicates: tuple[tuple[str, ...], ...] = ()
    reshots: tuple[tuple[str, str, float], ...] | None = None
    why: str = ""
    unmatched: int = 0

    @property
    def shared(self) -> list[list[str]]:
        """Groups of two and more images, as sorted ids."""
        members: dict[str, list[str]] = {}
        for image_id, group in sorted(self.groups.items()):
            members.setdefault(group, []).append(image_id)
        return [ids for ids in members.values() if len(ids) > 1]

    def to_json(self) -> dict[str, Any]:
        """What conversion.json holds of it."""
        return {
            "parts": {
                "told_by": self.why,
                "groups_of_several_images": len(self.shared),
                "images_in_them": sum(map(len, self.shared)),
                "groups": self.shared,
            },
            "duplicates": [list(ids) for ids in self.duplicates],
            "reshots": None
            if self.reshots is None
            else [
                {"first": a, "second": b, "correlation": round(value, 4)}
                for a, b, value in self.reshots
            ],
            "images_without_group_match": self.unmatched,
        }


def compile_pattern(group_by: str | None) -> re.Pattern[str] | None:
    """Compile --group-by.

    Raises:
        UsageError: no regular expression.
    """
    try:
        return re.compile(group_by) if group_by is not None else None
    except re.error as error:
        raise UsageError(
            f"--group-by {group_by!r} is no regular expression: {shortened(error)}."
        ) from error


def group_images(
    images: Sequence[tuple[str, str, Path, str, str | None]],
    *,
    pattern: re.Pattern[str] | None = None,
    find: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    kept: Path | None = None,
) -> Grouping:
    """Group images of one physical part.

    Images of equal bytes always share a group. With a pattern, what its first group (or the
    whole of it) matches names the part. Texture is compared where `find` says so, or, where it is
    None, without a pattern and for up to `MOST_IMAGES` images. Ties are joined: A with B and B
    with C makes one group of three.

    Args:
        images: id, relative path, file, SHA-256, and the part as the layout names it, of each.
        pattern: searched in the relative path.
        find: compare textures.
        progress: see `converters.reshots.find_reshots`.
        kept: file that gets the textures, where they are compared; `converters.new_reshots`
            reads it.

    Raises:
        ImageReadError: an image that cannot be read.
    """
    groups: dict[str, str] = {}
    unmatched = 0
    for image_id, relative, _, _, own in images:
        match = pattern.search(relative) if pattern is not None else None
        if match is None:
            unmatched += pattern is not None
            groups[image_id] = (own if pattern is None else None) or image_id
        else:
            name = next((g for g in match.groups() if g), match.group(0))
            groups[image_id] = name or image_id
    by_digest: dict[str, list[str]] = {}
    for image_id, _, _, digest, _ in images:
        by_digest.setdefault(digest, []).append(image_id)
    duplicates = tuple(tuple(ids) for ids in by_digest.values() if len(ids) > 1)
    search = find if find is not None else pattern is None and len(images) <= MOST_IMAGES
    reshots: tuple[tuple[str, str, float], ...] | None = None
    if search:
        found = _found(images, progress, kept if len(images) >= MIN_IMAGES else None)
        reshots = tuple((images[r.first][0], images[r.second][0], r.correlation) for r in found)
    links = [(ids[0], other) for ids in duplicates for other in ids[1:]]
    links += [(first, second) for first, second, _ in reshots or ()]
    return Grouping(
        _joined(groups, links),
        duplicates,
        reshots,
        _why(
            pattern,
            reshots,
            len(images),
            asked=find,
            by_layout=pattern is None and any(own for *_, own in images),
        ),
        unmatched,
    )


def _found(
    images: Sequence[tuple[str, str, Path, str, str | None]],
    progress: Callable[[int, int], None] | None,
    kept: Path | None,
) -> list[Reshot]:
    paths = [path for _, _, path, _, _ in images]
    if kept is None:
        return find_reshots(paths, progress=progress)
    # Row by row as they are read: of many images, they need not all be in memory.
    with kept.open("wb") as file:

        def keep(number: int, textures: Sequence[npt.NDArray[np.float32]]) -> None:
            file.write(row_of(images[number][3], textures))

        return find_reshots(paths, progress=progress, keep=keep)


def _joined(groups: dict[str, str], links: Iterable[tuple[str, str]]) -> dict[str, str]:
    parent = {name: name for name in groups.values()}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, second in links:
        one, other = sorted((root(groups[first]), root(groups[second])))
        parent[other] = one
    return {image_id: root(name) for image_id, name in groups.items()}


def not_looked_for(n_images: int) -> str:
    """What a count of pairs leaves open, to stand beside it; empty where it leaves nothing open."""
    if n_images <= ALL_PAIRS:
        return ""
    return (
        f"; of more than {ALL_PAIRS:,} images mirrored, turned or cropped ones are not looked for"
    )


def _why(
    pattern: re.Pattern[str] | None,
    reshots: Sequence[Reshot | tuple[str, str, float]] | None,
    n_images: int,
    *,
    asked: bool | None,
    by_layout: bool = False,
) -> str:
    ways = ["equal bytes"]
    if by_layout:
        ways.append("the layout's folders")
    if pattern is not None:
        ways.append(f"the pattern {pattern.pattern!r}")
    if reshots is not None and n_images >= MIN_IMAGES:
        ways.append(f"texture ({len(reshots)} pairs{not_looked_for(n_images)})")
    text = "by " + " and ".join(ways)
    if reshots is not None and n_images < MIN_IMAGES:
        text += f"; fewer than {MIN_IMAGES} images are too few to compare textures"
    elif reshots is None and pattern is None and asked is None:
        text += f"; more than {MOST_IMAGES:,} images are compared with --find-groups only"
    return text
