"""Reading folders that name the class: labels of images, and nothing of where a defect is.

    OK/, NG/                     good/, bad/                ok_front/, def_front/
    train/ok_front/, train/def_front/, test/ok_front/ …     (sides above the classes)
    good/, crack/, dent/                                    (an ImageFolder: several types)
    good/                                                   (good images alone)

Each image gets the label that its folder has. The deepest folder with a name of its own is the
class; numbered folders, and folders that stand below good and defective ones alike (`OK/cam1`,
`NG/cam1`), are none. With `--good-only` every image is good, whatever its folder.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError
from converters.inventory import SourceFiles
from converters.layouts.source import (
    FindOptions,
    Found,
    SourceImage,
    id_of,
    sort_images,
)
from converters.names import is_image_folder, is_label_folder, side_of_folders

_NUMBERED: Final = re.compile(r"^[^\d]*\d+$")


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like class folders; None where it does not. Looks at names only."""
    if files.single is not None or not files.images:
        return None
    if options.good_only:
        return "every image is good, as asked for"
    if any(is_label_folder(name) for path in files.images for name in files.folders(path)):
        return None
    kinds = _classes(files, options)
    good = sorted({kind for kind, is_good in kinds.values() if is_good})
    bad = sorted({kind for kind, is_good in kinds.values() if not is_good})
    if not good:
        return None
    if not bad:
        return f"its only class folder, {good[0]}, means good"
    return f"folders name the class: {good[0]} is good, {', '.join(bad[:4])} not"


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and the classes that their folders name.

    Raises:
        LayoutError: no image lies in a class folder.
        InputError: no folder means good, or with `good_only` one means the opposite.
    """
    found = Found()
    kinds = _classes(files, options)
    if options.good_only:
        _require_good(files, kinds)
        for path in files.images:
            found.images.append(_image(files, path, GOOD))
        if not found.images:
            raise LayoutError(f"{files.root} holds no image that can be read. Check the path.")
        found.notes.append(f"{len(found.images)} images are good (--good-only)")
        return sort_images(found)
    if not kinds:
        raise LayoutError(
            f"{files.root} does not have the layout class-folders: no image lies in a folder that "
            "names a class, such as OK and NG. Where all images are good, say so (--good-only)."
        )
    if not options.batch and not any(is_good for _, is_good in kinds.values()):
        names = sorted({kind for kind, _ in kinds.values()})
        raise InputError(
            f"{files.root} holds the class folders {', '.join(names[:8])}, and none of them means "
            "good. Nothing can be learned or tested without good images: name the folder of good "
            "ones (--good NAME), or add one named good or OK."
        )
    counts: Counter[str] = Counter()
    for path, (kind, is_good) in kinds.items():
        counts[kind] += not is_good
        found.images.append(_image(files, path, GOOD if is_good else kind))
    bad = {kind: n for kind, n in counts.items() if n}
    good = sorted({kind for kind, is_good in kinds.values() if is_good})
    found.notes.append(
        f"folders name the class; good is {', '.join(good)}, defective "
        f"{', '.join(sorted(bad)) or 'none'}"
    )
    lone = sorted(kind for kind, n in bad.items() if n == 1)
    if lone:
        found.notes.append(
            f"of {', '.join(lone)} there is a single image, which cannot be both trained on and "
            "tested"
        )
    return sort_images(found)


def _image(files: SourceFiles, path: Path, kind: str) -> SourceImage:
    return SourceImage(
        image_id=id_of(files, path),
        image_path=path,
        defect_type=kind,
        source_split=side_of_folders(files.folders(path)),
        relative=files.relative(path),
    )


def _classes(files: SourceFiles, options: FindOptions) -> dict[Path, tuple[str, bool]]:
    """Class, and whether it is good, of every image below a folder that can name one."""
    chains: dict[Path, list[str]] = {}
    for path in files.images:
        chain = [
            name
            for name in files.folders(path)
            if not is_image_folder(name) and not side_of_folders([name])
        ]
        if chain:
            chains[path] = chain
    below_good = {
        name
        for chain in chains.values()
        for start, one in enumerate(chain)
        if options.is_good(one)
        for name in chain[start + 1 :]
    }
    kinds: dict[Path, tuple[str, bool]] = {}
    for path, chain in chains.items():
        good = next((name for name in chain if options.is_good(name)), None)
        if good is not None:
            kinds[path] = good, True
            continue
        own = [name for name in chain if name not in below_good]
        named = [name for name in own if not _NUMBERED.match(name)] or own[:1]
        if named:
            kinds[path] = named[-1], False
    return kinds


def _require_good(files: SourceFiles, kinds: dict[Path, tuple[str, bool]]) -> None:
    """Refuse `good_only` where folders beside a good one have other names."""
    good = {kind for kind, is_good in kinds.values() if is_good}
    other = Counter(kind for kind, is_good in kinds.values() if not is_good)
    if good and other:
        names = ", ".join(f"{kind} ({n})" for kind, n in sorted(other.items())[:8])
        raise InputError(
            f"--good-only says that every image of {files.root} is good, but beside "
            f"{', '.join(sorted(good))} there are the folders {names}. Leave the option out, or "
            "give the folder of good images alone as SRC."
        )
