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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError, UsageError
from annotations.images import is_image_path
from converters.inventory import SourceFiles
from converters.layouts.source import (
    DEFECT,
    HOW_WITHOUT_MASK,
    BinaryMasks,
    FindOptions,
    Found,
    SourceImage,
    sort_images,
    without_mask,
)
from converters.names import IMAGE_FOLDERS, MASK_FOLDERS, side_of_folders, side_of_word

MASK_ENDINGS: Final = (
    "_label", "_mask", "_gt", "_seg", "_annotation", "_labels", "_masks", "-mask", "-label",
)  # fmt: skip
MASK_FILES: Final = frozenset({".mat"})
"""Files that are no images and hold masks (see `converters.masks`)."""
_LOSSY: Final = frozenset({".jpg", ".jpeg", ".jfif"})
_FIELDS: Final = ("class", "group", "side", "name")
_NUMBERED: Final = re.compile(r"^[^\d]*\d+$")
_LOOKED_AT: Final = 3000


@dataclass(frozen=True, slots=True)
class Pair:
    """An image, its mask if it has one, and what its path says."""

    image: Path
    mask: Path | None
    fields: Mapping[str, str] = field(default_factory=dict)


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like pairs; None where it does not. Looks at names only."""
    if files.single:
        return None
    if options.images or options.masks:
        return "patterns were given"
    masks = _masks_by_image(files, candidates(files)[:_LOOKED_AT])
    if not masks:
        return None
    return f"{len(masks)} images have a mask by name, such as {next(iter(masks.values())).name}"


def candidates(files: SourceFiles) -> list[Path]:
    """Files that may be an image or a mask."""
    return [p for p in files.files if is_image_path(p) or p.suffix.lower() in MASK_FILES]


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find pairs, all masks binary.

    Raises:
        LayoutError: no pair.
        InputError: a mask without an image, an image without a mask that is not known to be
            good, or two images of one id.
        UsageError: a malformed pattern.
    """
    found = Found()
    for pair in find_pairs(files, options, found):
        kind = pair.fields.get("class")
        is_good = kind is not None and options.is_good(kind)
        truth, by_image_label = None, False
        if pair.mask is not None:
            truth = BinaryMasks((pair.mask,), DEFECT if kind is None or is_good else kind)
        elif kind is not None and not is_good and options.masks_may_miss:
            by_image_label = True
            without_mask(found, kind)
        elif not is_good and not options.no_mask_is_good:
            raise InputError(
                f"The image {pair.image} has no mask, and nothing says that it is good. Add the "
                "mask, name the class that is good (--good NAME), say that images without a "
                "mask are good (--no-mask-is-good)"
                + (f", {HOW_WITHOUT_MASK}." if kind is not None else ".")
            )
        # Without classes, only the mask can tell what is good.
        from_regions = kind is None and not is_good
        known = truth is not None or by_image_label
        defect_type = GOOD if is_good or kind is None or not known else kind
        found.images.append(
            SourceImage(
                image_id=files.relative(pair.image.with_suffix("")),
                image_path=pair.image,
                defect_type=defect_type,
                source_split=side_of_pair(files, pair),
                relative=files.relative(pair.image),
                truth=truth,
                type_from_regions=from_regions,
                group=pair.fields.get("group"),
            )
        )
    return sort_images(found)


def side_of_pair(files: SourceFiles, pair: Pair) -> str:
    """The side that a pair's pattern or folders speak of."""
    return side_of_word(pair.fields.get("side", "")) or side_of_folders(files.folders(pair.image))


def find_pairs(files: SourceFiles, options: FindOptions, found: Found) -> list[Pair]:
    """Pair images with masks, by patterns or by names; see the head of this file.

    Raises:
        LayoutError: no pair.
        InputError: a mask without an image, or two masks of one image.
        UsageError: a malformed pattern, or one of the two alone.
    """
    if (options.images is None) != (options.masks is None):
        raise UsageError("--images and --masks belong together: give both patterns, or none.")
    paths = candidates(files)
    if options.images is not None and options.masks is not None:
        pairs = _by_pattern(files, paths, options.images, options.masks)
        found.notes.append(f"images are {options.images}, masks {options.masks}")
    else:
        pairs = _by_name(files, paths, options, found)
    if not any(pair.mask is not None for pair in pairs):
        raise LayoutError(
            f"{files.root} holds {len(paths)} images, but no pair of an image and a mask was "
            'found. Say how they are named, for instance --images "{class}/{name}.jpg" --masks '
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


def _by_pattern(files: SourceFiles, paths: Sequence[Path], images: str, masks: str) -> list[Pair]:
    image_pattern, mask_pattern = compile_pattern(images), compile_pattern(masks)
    shared = sorted(set(image_pattern.groupindex) & set(mask_pattern.groupindex))
    by_key: dict[tuple[str, ...], Path] = {}
    rest: list[tuple[Path, dict[str, str]]] = []
    for path in paths:
        relative = files.relative(path)
        mask_match = mask_pattern.fullmatch(relative)
        image_match = image_pattern.fullmatch(relative)
        # Where both fit (`{name}.bmp` and `{name}_label.bmp`), the one that says more holds.
        if mask_match and image_match and specificity(images) > specificity(masks):
            mask_match = None
        if mask_match:
            key = tuple(mask_match[name] for name in shared)
            if key in by_key:
                raise InputError(f"{by_key[key]} and {path} are masks of one image. Remove one.")
            by_key[key] = path
        elif image_match:
            fields = {name.rstrip("_"): text for name, text in image_match.groupdict().items()}
            rest.append((path, fields))
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


def specificity(pattern: str) -> int:
    """How much of a pattern is literal text; `{side}` and `{s}` say equally little."""
    return len(re.sub(r"\{[^{}]*\}|\*", "", pattern))


def _masks_by_image(files: SourceFiles, paths: Sequence[Path]) -> dict[Path, Path]:
    """Masks by image, as names tell."""
    by_place: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        by_place.setdefault((path.parent, path.stem.casefold()), []).append(path)
    result: dict[Path, Path] = {}
    for path in paths:
        ending = _ending(path)
        if ending is None:
            continue
        stem = path.stem[: -len(ending)].casefold()
        for image in by_place.get((path.parent, stem), []):
            _put(result, image, path)
    masks = set(result.values())
    for same in by_place.values():
        lossy = [p for p in same if p.suffix.lower() in _LOSSY]
        other = [p for p in same if p.suffix.lower() not in _LOSSY]
        if len(lossy) == 1 and len(other) == 1 and lossy[0] not in masks:
            _put(result, lossy[0], other[0])
    masks = set(result.values())
    in_images: dict[tuple[tuple[str, ...], tuple[str, ...], str], list[Path]] = {}
    for path in paths:
        parts = files.folders(path)
        for place, name in enumerate(parts):
            if name.casefold() in IMAGE_FOLDERS and path.suffix.lower() not in MASK_FILES:
                key = (parts[:place], parts[place + 1 :], path.stem.casefold())
                in_images.setdefault(key, []).append(path)
    for path in paths:
        if path in result or path in masks:
            continue
        parts = files.folders(path)
        for place, name in enumerate(parts):
            if name.casefold() not in MASK_FOLDERS:
                continue
            for ending in ("", *MASK_ENDINGS):
                if ending and not path.stem.casefold().endswith(ending):
                    continue
                stem = path.stem.casefold()[: len(path.stem) - len(ending)]
                hits = in_images.get((parts[:place], parts[place + 1 :], stem), [])
                if len(hits) == 1:
                    _put(result, hits[0], path)
                    break
    bare: dict[tuple[tuple[str, ...], str], list[Path]] = {}
    for path in paths:
        parts = files.folders(path)
        if not {part.casefold() for part in parts} & (IMAGE_FOLDERS | MASK_FOLDERS):
            bare.setdefault((parts, path.stem.casefold()), []).append(path)
    for path in paths:
        # masks/NG/AK/a.png is the mask of NG/AK/a.png.
        parts = files.folders(path)
        if path in result or path in masks or not parts or parts[0].casefold() not in MASK_FOLDERS:
            continue
        for ending in ("", *MASK_ENDINGS):
            if path.stem.casefold().endswith(ending):
                stem = path.stem.casefold()[: len(path.stem) - len(ending)]
                hits = bare.get((parts[1:], stem), [])
                if len(hits) == 1 and parts[1:]:
                    _put(result, hits[0], path)
                    break
    masks = set(result.values())
    return {image: mask for image, mask in result.items() if image not in masks}


def _ending(path: Path) -> str | None:
    folded = path.stem.casefold()
    return next((e for e in MASK_ENDINGS if folded.endswith(e) and len(folded) > len(e)), None)


def _put(result: dict[Path, Path], image: Path, mask: Path) -> None:
    if result.setdefault(image, mask) != mask:
        raise InputError(
            f"{result[image]} and {mask} both look like the mask of {image}. Remove one, or say "
            "how they are named (--images, --masks)."
        )


def _by_name(
    files: SourceFiles, paths: Sequence[Path], options: FindOptions, found: Found
) -> list[Pair]:
    masks = _masks_by_image(files, paths)
    taken = set(masks.values())
    images = [path for path in paths if path not in taken]
    for path in images:
        folders = {part.casefold() for part in files.folders(path)}
        if _ending(path) is not None or folders & MASK_FOLDERS or not is_image_path(path):
            raise InputError(
                f"{path} looks like a mask, but there is no image that it belongs to. Add the "
                "image, remove the mask, or say how they are named (--images, --masks)."
            )
    folder_of = {path: _telling_folder(files, path) for path in images}
    names = {folder.name for folder in folder_of.values() if folder is not None}
    if not all(_NUMBERED.match(name) for name in names):
        # Numbered folders in folders of a class (`NG/AK/01`) are no classes of their own.
        folder_of = {path: _named_folder(files, folder) for path, folder in folder_of.items()}
        names = {folder.name for folder in folder_of.values() if folder is not None}
    use = ""
    if names and all(_NUMBERED.match(name) for name in names) and len(names) > 1:
        use = "group"
        n = len({folder for folder in folder_of.values() if folder})
        found.notes.append(f"the {n} numbered folders are taken for parts")
    elif any(options.is_good(name) for name in names) or len(names) > 1:
        use = "class"
        good = sorted(name for name in names if options.is_good(name))
        found.notes.append(f"folders name the class; good is {', '.join(good) or 'none of them'}")
    pairs = []
    for path in images:
        folder = folder_of[path]
        if use == "class" and folder is None:
            # Folders name the class of all others: what lies beside them is not one of them.
            if path in masks:
                where = f"{path} and {masks[path].name}"
                reason = "pairs outside of the folders that name the class"
                found.leftover_labels.append((where, reason))
                found.used |= {path, masks[path]}
            continue
        value = ""
        if folder is not None:
            value = files.relative(folder) if use == "group" else folder.name
        pairs.append(Pair(path, masks.get(path), {use: value} if use and value else {}))
    return pairs


def _named_folder(files: SourceFiles, folder: Path | None) -> Path | None:
    """The folder itself, or the nearest above it whose name is more than a number."""
    while folder is not None and folder.name.isdecimal() and folder.parent != files.root:
        folder = _telling_folder(files, folder)
    return folder


def _telling_folder(files: SourceFiles, path: Path) -> Path | None:
    """The deepest folder that is neither a folder of images nor a side; None without one."""
    for folder in path.parents:
        if folder == files.root:
            return None
        if folder.name.casefold() not in IMAGE_FOLDERS and not side_of_folders([folder.name]):
            return folder
    return None
