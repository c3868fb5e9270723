"""What to say of a source that no layout fits: what it holds, what it looks like, what to do."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from converters.inventory import VIDEO_SUFFIXES, SourceFiles
from converters.layouts.mvtec import folders_of, subfolders
from converters.layouts.source import FindOptions
from converters.names import is_label_folder

_ARCHIVES: Final = frozenset({".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"})
_TABLES: Final = frozenset({".xlsx", ".xls", ".ods"})
_HEAD_BYTES: Final = 1 << 14
_SHOWN: Final = 8
_UNLABELLED: Final = (
    "Where nobody knows, a model judges them as they are: `defectune predict RUN FOLDER`."
)
_BRUSH: Final = re.compile(r"^task-\d+-annotation-\d+-by-\d+-tag-")


def advice(files: SourceFiles, missed: Mapping[str, str]) -> str:
    """One paragraph for a source that no layout fits.

    Args:
        files: of the source.
        missed: by layout, what it needs and did not find.
    """
    what = files.single or files.root
    inside = sorted(p.name for p in files.root.iterdir() if not p.name.startswith("."))
    kinds = Counter(path.suffix.lower() or "no suffix" for path in files.files)
    some = ", ".join(f"{n} {suffix}" for suffix, n in kinds.most_common(5))
    tried = "; ".join(f"{name} needs {needs}" for name, needs in missed.items())
    held = ", ".join(inside[:_SHOWN]) + (" …" if len(inside) > _SHOWN else "")
    return (
        f"No known layout fits {what}, which holds {held or 'nothing'} ({some or 'no file'}). "
        f"{_likeliest(files)} Tried: {tried}. (An MVTec category is expected to have "
        "train/good, test/good, test/<type> and ground_truth/<type>.)"
    )


def _likeliest(files: SourceFiles) -> str:
    """What the source most looks like, and what to do then."""
    if files.single is not None:
        return "Give the folder that holds the labels and the images."
    suffixes = Counter(path.suffix.lower() for path in files.files)
    categories = [
        p for p in subfolders(files.root) if folders_of(SourceFiles(p), FindOptions()) is not None
    ]
    if categories:
        names = ", ".join(p.name for p in categories[:5])
        return (
            f"Its folders {names} look like categories; convert one at a time, for instance "
            f"{categories[0]}."
        )
    archives = [p for p in files.files if p.suffix.lower() in _ARCHIVES]
    if archives and not files.images:
        return (
            f"It holds the archive {archives[0].name}: give a .zip itself as SRC, or unpack it "
            "and give the folder."
        )
    if not files.images and any(suffixes[s] for s in VIDEO_SUFFIXES):
        return "It holds videos: save their frames as images and label those."
    if not files.files:
        return "It is empty: check the path."
    if not files.images:
        return (
            "It holds no image (PNG, JPEG, BMP, TIFF, WebP, GIF and JPEG 2000 are read): check "
            "the path."
        )
    if files.child(files.root, "test") and files.child(files.root, "ground_truth"):
        return (
            "It looks like an MVTec category without good training images: train/good (or ok, "
            "normal) is missing. Add some, or name the images and masks yourself, for instance "
            '--images "test/{class}/{name}.png" --masks "ground_truth/{class}/{name}_mask.png" '
            "--no-mask-is-good."
        )
    brush = next((p for p in files.images if _BRUSH.match(p.stem)), None)
    if brush is not None:
        return (
            f"{files.relative(brush)} is a brush mask of Label Studio's, named by task and not by "
            "image. Export JSON or COCO from Label Studio: both name the images."
        )
    masks = [p for p in files.images if any(is_label_folder(f) for f in files.folders(p))]
    if masks:
        image, mask = next(p for p in files.images if p not in masks) if len(masks) < len(
            files.images
        ) else masks[0], masks[0]  # fmt: skip
        return (
            f"{files.relative(mask)} looks like a mask, but no image has its path or name "
            f"({files.relative(image)} is an image). Say how both are named, for instance --images "
            f'"{_pattern(files, image)}" --masks "{_pattern(files, mask)}".'
        )
    tables = [p for p in files.files if p.suffix.lower() in _TABLES]
    if tables:
        return f"Save the table {tables[0].name} as CSV."
    for suffix, export in (
        (".json", "COCO, or LabelMe's or Label Studio's own JSON"),
        (".xml", "Pascal VOC, or `CVAT for images 1.1`"),
        (".csv", "COCO, YOLO or VOC; a CSV is read with the column EncodedPixels, or as VisA's"),
        (".mat", "PNG masks of the images' names"),
        (".tfrecord", "COCO or VOC"),
        (".npy", "PNG masks of the images' names"),
    ):
        if suffixes[suffix]:
            example = next(p for p in files.files if p.suffix.lower() == suffix)
            return (
                f"{files.relative(example)} may hold labels, of a kind that is not known here"
                f"{_keys(example)}. Export again from your labeling tool as {export}."
            )
    folders = sorted({part for path in files.images for part in files.folders(path)})
    if len(folders) > 1:
        return (
            f"Its folders {', '.join(folders[:5])} may name classes, and none of them means good: "
            "name the one that does (--layout class-folders --good NAME). Where all images are "
            f"good, say so (--good-only). {_UNLABELLED}"
        )
    return (
        "It holds images without any label or mask. Where all of them are good, say so "
        f"(--good-only). {_UNLABELLED} To learn from them, sort them into folders such as OK and "
        "NG, or label the defects (LabelMe, CVAT, Label Studio)."
    )


def _pattern(files: SourceFiles, path: Path) -> str:
    return "/".join([*files.folders(path), f"{{name}}{path.suffix}"])


def _keys(path: Path) -> str:
    """The first keys of a JSON file, for a person to see what it is."""
    if path.suffix.lower() != ".json":
        return ""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    keys = [part.strip().strip('"') for part in head.split('":')[:-1]]
    names = [key.rsplit('"', 1)[-1] for key in keys][:5]
    shown = ", ".join(name for name in names if name.isprintable() and len(name) < 40)
    return f" (its keys are {shown})" if shown else ""
