"""Reading Real-IAD, one category at a time (Wang et al., CVPR 2024; format on its page).

    realiad_jsons/audiojack.json    {"meta": {"normal_class", "prefix"}, "train": […], "test": […]}
    realiad_1024/audiojack/…        images and masks

An entry has `image_path`, `mask_path` and `anomaly_class`; paths are relative to the category's
folder. SRC is a folder that holds both, or the JSON file.
"""

from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from converters.dialects import read_json_text, shown
from converters.inventory import SourceFiles
from converters.layouts.source import (
    DEFECT,
    BinaryMasks,
    FindOptions,
    Found,
    SourceImage,
    id_of,
    sort_images,
)

SIDES: Final = ("train", "test")


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a source looks like Real-IAD; None where it does not."""
    del options
    for path in files.labels(".json")[:50]:
        if _is_real_iad(path):
            return f"{files.relative(path)} holds meta and anomaly_class, as Real-IAD does"
    return None


def _is_real_iad(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1 << 14)
    return b'"anomaly_class"' in head and b'"image_path"' in head


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find images and masks of one category.

    Raises:
        LayoutError: no such JSON.
        InputError: several categories, a malformed entry, or a missing file.
    """
    found = Found()
    paths = [path for path in files.labels(".json") if _is_real_iad(path)]
    if not paths:
        raise LayoutError(
            f"{files.root} does not have Real-IAD's layout: expected a JSON with meta, train and "
            "test."
        )
    if len(paths) > 1:
        raise InputError(
            f"{files.root} holds {len(paths)} categories ({', '.join(p.stem for p in paths[:5])}). "
            "Give one category's JSON file as SRC."
        )
    path = paths[0]
    found.used.add(path)
    document: Any = read_json_text(path, what="Real-IAD's list", counts=found.counts)
    try:
        meta = document.get("meta") or {}
        normal = str(meta.get("normal_class", "OK"))
        prefix = str(meta.get("prefix", "")).strip("/") or path.stem
        folder = files.folder_at(prefix, bases=[files.root, path.parent]) or next(
            (f for f in _folders(files) if f.name == Path(prefix).name), files.root
        )
        bases = [folder, files.root]
        for side in SIDES:
            for place, entry in enumerate(document.get(side) or []):
                where = f"{path}, {side} {place}"
                kind = str(entry["anomaly_class"])
                is_good = kind == normal or options.is_good(kind)
                image = files.resolve(
                    str(entry["image_path"]), named_by=path, bases=bases, counts=found.counts
                )
                truth = None
                if entry.get("mask_path"):
                    mask = files.resolve(
                        str(entry["mask_path"]), named_by=path, bases=bases, counts=found.counts
                    )
                    truth = BinaryMasks((mask,), DEFECT if is_good else kind)
                elif not is_good:
                    raise InputError(f"{where}: {shown(entry['image_path'])} has no mask.")
                found.images.append(
                    SourceImage(
                        image_id=id_of(files, image),
                        image_path=image,
                        defect_type=GOOD if is_good else kind,
                        source_split=side,
                        relative=files.relative(image),
                        truth=truth,
                    )
                )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is no list of Real-IAD's ({type(error).__name__}: {str(error)[:200]})."
        ) from error
    return sort_images(found)


def _folders(files: SourceFiles) -> list[Path]:
    return sorted({parent for path in files.images for parent in path.parents
                   if parent.is_relative_to(files.root)})  # fmt: skip
