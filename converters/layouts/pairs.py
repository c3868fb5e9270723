"""Image–mask pairs anywhere: by pattern, or found by their names.

Patterns name what varies: `{class}`, `{group}`, `{side}` and `{name}` each stand for one part of
a path without `/`, `*` for anything without it. An image and a mask belong together where all
fields that both patterns have are equal:

    --images "{class}/Imgs/{name}.jpg" --masks "{class}/Imgs/{name}.png"     magnetic tile
    --images "{group}/{name}.jpg" --masks "{group}/{name}_label.bmp"         KolektorSDD

Without patterns, a mask is a file beside its image with its stem and `_label`, `_mask`, `_gt` …;
or one with its very stem, the image being the JPEG; or one of its path in a folder `masks`,
`labels`, `ground_truth`, `gt` … beside the folder `images`.

A folder names the class where some folder's name means good (`MT_Free`), or where folders are
not merely numbered; numbered folders (`kos01`) are parts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError, UsageError
from annotations.images import is_image_path
from converters.layouts.source import (
    BinaryMasks,
    FindOptions,
    Found,
    SourceImage,
    id_of,
    require_folder,
    side_of,
    skip,
    sort_images,
    walk_files,
)

MASK_ENDINGS: Final = ("_label", "_mask", "_gt", "_seg", "_annotation", "_labels", "_masks")
IMAGE_FOLDERS: Final = frozenset({"images", "imgs", "image", "img", "input", "data"})
MASK_FOLDERS: Final = frozenset(
    {"masks", "mask", "labels", "label", "ground_truth", "gt", "annotations", "groundtruth"}
)
DEFECT: Final = "defect"
_LOSSY: Final = frozenset({".jpg", ".jpeg"})
_FIELDS: Final = ("class", "group", "side", "name")
_NUMBERED: Final = re.compile(r"^[^\d]*\d+$")
_LOOKED_AT: Final = 3000


@dataclass(frozen=True, slots=True)
class Pair:
    """An image, its mask if it has one, and what its path says."""

    image: Path
    mask: Path | None
    fields: Mapping[str, str] = field(default_factory=dict)


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like pairs; None where it does not. Looks at names only."""
    if not source.is_dir():
        return None
    if options.images or options.masks:
        return "patterns were given"
    files: list[Path] = []
    for path in walk_files(source):
        if is_image_path(path):
            files.append(path)
        if len(files) >= _LOOKED_AT:
            break
    masks = _masks_by_image(source, files)
    if not masks:
        return None
    return f"{len(masks)} images have a mask by name, such as {next(iter(masks.values())).name}"


def find(source: Path, options: FindOptions) -> Found:
    """Find pairs, all masks binary.

    Raises:
        LayoutError: no pair.
        InputError: a mask without an image, an image without a mask that is not known to be
            good, or two images of one id.
        UsageError: a malformed pattern.
    """
    found = Found()
    pairs = find_pairs(source, options, found)
    for pair in pairs:
        kind = pair.fields.get("class")
        is_good = kind is not None and options.is_good(kind)
        truth = None
        if pair.mask is not None:
            truth = BinaryMasks((pair.mask,), DEFECT if kind is None or is_good else kind)
        elif not is_good and not options.no_mask_is_good:
            raise InputError(
                f"The image {pair.image} has no mask, and nothing says that it is good. Add the "
                "mask, name the class that is good (--good NAME), or say that images without a "
                "mask are good (--no-mask-is-good)."
            )
        # Without classes, only the mask can tell what is good.
        from_regions = kind is None and not is_good
        defect_type = GOOD if is_good or kind is None or truth is None else kind
        found.images.append(source_image(source, pair, defect_type, truth, from_regions))
    return sort_images(found)


def source_image(
    source: Path,
    pair: Pair,
    defect_type: str,
    truth: "BinaryMasks | None",
    from_regions: bool,
) -> SourceImage:
    """A source image of a pair."""
    relative = pair.image.relative_to(source).as_posix()
    side = pair.fields.get("side") or ""
    return SourceImage(
        image_id=id_of(source, pair.image),
        image_path=pair.image,
        defect_type=defect_type,
        source_split=side_of([side]) or side_of(relative.split("/")[:-1]),
        relative=relative,
        truth=truth,
        type_from_regions=from_regions,
        group=pair.fields.get("group"),
    )


def find_pairs(source: Path, options: FindOptions, found: Found) -> list[Pair]:
    """Pair images with masks, by patterns or by names; see the head of this file.

    Raises:
        LayoutError: no pair.
        InputError: a mask without an image, or two masks of one image.
        UsageError: a malformed pattern, or one of the two alone.
    """
    require_folder(source, what="a folder of images and masks")
    files = []
    for path in walk_files(source):
        if is_image_path(path):
            files.append(path)
        else:
            skip(found, path)
    if (options.images is None) != (options.masks is None):
        raise UsageError("--images and --masks belong together: give both patterns, or none.")
    if options.images is not None and options.masks is not None:
        pairs = _by_pattern(source, files, options.images, options.masks, found)
        found.notes.append(f"images are {options.images}, masks {options.masks}")
    else:
        pairs = _by_name(source, files, options, found)
    if not any(pair.mask is not None for pair in pairs):
        raise LayoutError(
            f"{source} holds {len(files)} images, but no pair of an image and a mask was found. "
            'Say how they are named, for instance --images "{class}/{name}.jpg" --masks '
            '"{class}/{name}_mask.png".'
        )
    return pairs


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of paths to a regular expression that matches whole paths.

    Raises:
        UsageError: an unknown or repeated field, or no field `name`.
    """
    parts, seen = [], set()
    for piece in re.split(r"(\{[^{}]*\}|\*)", pattern):
        if piece == "*":
            parts.append("[^/]*")
        elif piece.startswith("{"):
            name = piece[1:-1]
            if name not in _FIELDS or name in seen:
                raise UsageError(
                    f"The pattern {pattern!r} holds {piece}; each of "
                    f"{', '.join('{' + f + '}' for f in _FIELDS)} may stand in it once."
                )
            seen.add(name)
            parts.append(f"(?P<{name}_>[^/]+?)")
        else:
            parts.append(re.escape(piece))
    if "name" not in seen:
        raise UsageError(f"The pattern {pattern!r} needs the field {{name}}.")
    return re.compile("".join(parts))


def _by_pattern(
    source: Path, files: list[Path], images: str, masks: str, found: Found
) -> list[Pair]:
    image_pattern, mask_pattern = compile_pattern(images), compile_pattern(masks)
    shared = sorted(set(image_pattern.groupindex) & set(mask_pattern.groupindex))
    by_key: dict[tuple[str, ...], Path] = {}
    rest: list[tuple[Path, dict[str, str]]] = []
    for path in files:
        relative = path.relative_to(source).as_posix()
        mask_match = mask_pattern.fullmatch(relative)
        image_match = image_pattern.fullmatch(relative)
        # Where both fit (`{name}.bmp` and `{name}_label.bmp`), the longer pattern says more.
        if mask_match and image_match and len(images) > len(masks):
            mask_match = None
        if mask_match:
            key = tuple(mask_match[name] for name in shared)
            if key in by_key:
                raise InputError(f"{by_key[key]} and {path} are masks of one image. Remove one.")
            by_key[key] = path
        elif image_match:
            fields = {name.rstrip("_"): text for name, text in image_match.groupdict().items()}
            rest.append((path, fields))
        else:
            found.skipped["fits neither --images nor --masks"] += 1
    pairs = []
    for path, fields in rest:
        mask = by_key.pop(tuple(fields[name.rstrip("_")] for name in shared), None)
        pairs.append(Pair(path, mask, fields))
    for mask in by_key.values():
        raise InputError(
            f"The mask {mask} has no image that fits {images!r}. Add the image, remove the mask, "
            "or mend the patterns."
        )
    return pairs


def _masks_by_image(source: Path, files: list[Path]) -> dict[Path, Path]:
    """Masks by image, as names tell."""
    by_place: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        by_place.setdefault((path.parent, path.stem), []).append(path)
    result: dict[Path, Path] = {}
    for path in files:
        ending = next((e for e in MASK_ENDINGS if path.stem.casefold().endswith(e)), None)
        if ending is None:
            continue
        stem = path.stem[: -len(ending)]
        for image in by_place.get((path.parent, stem), []):
            _put(result, image, path)
    masks = set(result.values())
    for same in by_place.values():
        lossy = [p for p in same if p.suffix.lower() in _LOSSY]
        other = [p for p in same if p.suffix.lower() not in _LOSSY]
        if len(lossy) == 1 and len(other) == 1 and lossy[0] not in masks:
            _put(result, lossy[0], other[0])
    masks = set(result.values())
    for path in files:
        if path in result or path in masks:
            continue
        relative = path.relative_to(source).parts
        for place, name in enumerate(relative[:-1]):
            if name.casefold() not in MASK_FOLDERS:
                continue
            for image in _across(source, relative, place, by_place):
                _put(result, image, path)
    return {image: mask for image, mask in result.items() if image not in set(result.values())}


def _across(
    source: Path,
    relative: tuple[str, ...],
    place: int,
    by_place: Mapping[tuple[Path, str], list[Path]],
) -> list[Path]:
    """Images with the path of a mask, its folder of masks being one of images."""
    before, after = relative[:place], relative[place + 1 : -1]
    stem = Path(relative[-1]).stem
    for ending in ("", *MASK_ENDINGS):
        if ending and not stem.casefold().endswith(ending):
            continue
        bare = stem[: len(stem) - len(ending)]
        for (parent, other), paths in by_place.items():
            if other != bare or len(paths) != 1:
                continue
            parts = parent.relative_to(source).parts
            if (
                len(parts) == place + 1 + len(after)
                and parts[:place] == before
                and parts[place + 1 :] == after
                and parts[place].casefold() in IMAGE_FOLDERS
            ):
                return paths
    return []


def _put(result: dict[Path, Path], image: Path, mask: Path) -> None:
    if result.setdefault(image, mask) != mask:
        raise InputError(
            f"{result[image]} and {mask} both look like the mask of {image}. Remove one, or say "
            "how they are named (--images, --masks)."
        )


def _by_name(source: Path, files: list[Path], options: FindOptions, found: Found) -> list[Pair]:
    masks = _masks_by_image(source, files)
    taken = set(masks.values())
    images = [path for path in files if path not in taken]
    for path in images:
        ending = next((e for e in MASK_ENDINGS if path.stem.casefold().endswith(e)), None)
        folders = {part.casefold() for part in path.relative_to(source).parts[:-1]}
        if ending is not None or folders & MASK_FOLDERS:
            raise InputError(
                f"{path} looks like a mask, but there is no image that it belongs to. Add the "
                "image, remove the mask, or say how they are named (--images, --masks)."
            )
    folder_of = {path: _telling_folder(source, path) for path in images}
    names = {name for name in folder_of.values() if name}
    use = ""
    if names and all(_NUMBERED.match(name) for name in names) and len(names) > 1:
        use = "group"
        found.notes.append(f"the {len(names)} numbered folders are taken for parts")
    elif any(options.is_good(name) for name in names) or len(names) > 1:
        use = "class"
        good = sorted(name for name in names if options.is_good(name))
        found.notes.append(f"folders name the class; good is {', '.join(good) or 'none of them'}")
    return [
        Pair(path, masks.get(path), {use: folder_of[path]} if use and folder_of[path] else {})
        for path in images
    ]


def _telling_folder(source: Path, path: Path) -> str:
    """The deepest folder that is neither a folder of images nor a side; empty without one."""
    for name in reversed(path.relative_to(source).parts[:-1]):
        if name.casefold() not in IMAGE_FOLDERS and not side_of([name]):
            return name
    return ""
