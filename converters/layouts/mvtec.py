"""Reading the MVTec AD layout and its relatives, one category at a time.

MVTec AD (Bergmann et al., CVPR 2019, and the readme.txt of the set):

    train/good/000.png
    test/good/000.png
    test/<type>/000.png
    ground_truth/<type>/000_mask.png

MPDD (Jezek et al., ICUMT 2021) has the same folders, and BTAD (Mishra et al., VT-ADL, ISIE 2021)
has `ok` and `ko` in place of `good` and types, with masks of the image's own stem; any name that
means good will do, in any case. MVTec AD 2 (Heckler-Kram et al.,
arXiv:2503.21622; folder tree in the set's readme.txt) has `validation/good`, and with masks only
the public test images:

    test_public/good/000_regular.png
    test_public/bad/000_regular.png
    test_public/ground_truth/bad/000_regular_mask.png

MVTec LOCO (Bergmann et al., IJCV 130, 2022; readme.txt) has `validation/good`, and a folder of
masks for every defect image; a pixel value names the defect in `defects_config.json`, a list of
`{"defect_name": …, "pixel_value": …, …}`:

    test/logical_anomalies/000.png
    ground_truth/logical_anomalies/000/000.png, 001.png, …

Masks are paired by defect type and exact stem, and never by position.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from annotations.errors import shortened
from converters.dialects import read_json_text
from converters.inventory import SourceFiles
from converters.layouts.source import (
    DEFECT,
    HOW_WITHOUT_MASK,
    MASK_SUFFIX,
    BinaryMasks,
    FindOptions,
    Found,
    IndexMasks,
    SourceImage,
    Truth,
    distinct_stems,
    sort_images,
    without_mask,
)

DEFECTS_CONFIG: Final = "defects_config.json"
PRIVATE_FOLDERS: Final = ("test_private", "test_private_mixed")
_TRAIN: Final = ("train",)
_TEST: Final = ("test", "test_public")
_TRUTH: Final = ("ground_truth", "groundtruth", "ground-truth", "ground truth")
_VALIDATION: Final = ("validation", "val", "valid")
EXPECTED: Final = "train/good, test/good, test/<type> and ground_truth/<type>"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a category keeps its images.

    Attributes:
        train: folder of the training side.
        good: folder of good training images, in it.
        test: folder of test images.
        truth: folder of masks; it need not exist.
        validation: folder of the validation side, or None.
    """

    train: Path
    good: Path
    test: Path
    truth: Path
    validation: Path | None


def folders_of(files: SourceFiles, options: FindOptions) -> Folders | None:
    """The folders of this layout, their names in any case and variant; None without them."""
    train, test = files.child(files.root, *_TRAIN), files.child(files.root, *_TEST)
    if options.batch:
        return _folders_of_batch(files, options, train, test)
    if train is None or test is None or not train.is_dir() or not test.is_dir():
        return None
    good = [folder for folder in subfolders(train) if options.is_good(folder.name)]
    if not good:
        return None
    truth = files.child(test, *_TRUTH) or files.child(files.root, *_TRUTH)
    return Folders(
        train,
        min(good, key=lambda folder: (folder.name != GOOD, folder.name)),
        test,
        truth or files.root / _TRUTH[0],
        files.child(files.root, *_VALIDATION),
    )


def _folders_of_batch(
    files: SourceFiles, options: FindOptions, train: Path | None, test: Path | None
) -> Folders | None:
    """As `folders_of`, for a part of a category: a side, or its good images, may miss."""
    train = train or files.root / _TRAIN[0]
    good = [f for f in subfolders(train) if options.is_good(f.name)] if train.is_dir() else []
    truth = files.child(test or files.root, *_TRUTH) or files.child(files.root, *_TRUTH)
    if (truth is None or test is None) and not good:
        return None
    return Folders(
        train,
        min(good, key=lambda folder: (folder.name != GOOD, folder.name), default=train / GOOD),
        test or files.root / _TEST[0],
        truth or files.root / _TRUTH[0],
        files.child(files.root, *_VALIDATION),
    )


def recognize(files: SourceFiles, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    folders = None if files.single else folders_of(files, options)
    if folders is None:
        return None
    defects = [f for f in subfolders(folders.train) if not options.is_good(f.name)]
    if not folders.truth.exists() and any(files.images_of(folder) for folder in defects):
        # Defects on the training side, and no masks: folders that name the class.
        return None
    names = f"{files.relative(folders.good)} and {files.relative(folders.test)}"
    if (files.root / DEFECTS_CONFIG).is_file():
        return f"it holds {names} and {DEFECTS_CONFIG} (MVTec LOCO)"
    like = " (as BTAD has them)" if folders.good.name.casefold() == "ok" else ""
    return f"it holds {names}{like}"


def find(files: SourceFiles, options: FindOptions) -> Found:
    """Find the images and masks of one category of MVTec AD, AD 2 or LOCO, of MPDD or BTAD.

    Raises:
        LayoutError: no MVTec layout.
        InputError: a defect image without a mask, a mask without an image, two images or two
            masks of one stem, or no good training image.
    """
    folders = folders_of(files, options)
    if folders is None:
        raise LayoutError(not_this_layout(files))
    found = Found()
    for path in images_in(files, folders.good):
        found.images.append(_good(files, path, files.relative(path.with_suffix("")), "train"))
    if not found.images and not options.batch:
        raise InputError(f"{folders.good} holds no image that can be read.")
    for name in PRIVATE_FOLDERS:
        if (files.root / name).is_dir():
            found.passed_over[files.root / name] = "in test_private: its masks are not public"
    if folders.validation is not None:
        for inner in subfolders(folders.validation):
            if options.is_good(inner.name):
                for path in images_in(files, inner):
                    image_id = files.relative(path.with_suffix(""))
                    found.images.append(_good(files, path, image_id, "val"))
    class_of_value = _loco_classes(files, found)
    kinds = _kinds(files, folders)
    names = Counter(folder.name for folder in kinds)
    for folder in kinds:
        place = folder.relative_to(folders.test)
        # Class folders in class folders (`NG/AK`) name the type; two of one name keep both parts.
        kind = folder.name if names[folder.name] == 1 else "_".join(place.parts)
        deeper = {one.name for one in kinds if one.parent == folder}
        masks = masks_by_stem(files, _truth_of(files, folders, place), not_masks=deeper)
        if any(options.is_good(name) for name in place.parts):
            for path in images_in(files, folder):
                image_id = f"{place.as_posix()}/{path.stem}"
                # Some sets have all-black masks for good images too; they are read and checked.
                truth = (
                    BinaryMasks(paths, DEFECT) if (paths := masks.pop(path.stem, None)) else None
                )
                found.images.append(_good(files, path, image_id, "test", truth))
        else:
            for path in images_in(files, folder):
                paths = masks.pop(path.stem, None)
                if paths is None and options.masks_may_miss:
                    without_mask(found, kind)
                    found.images.append(_defective(files, path, place, kind, None))
                    continue
                if paths is None:
                    raise InputError(
                        f"The defect image {path} has no mask: expected "
                        f"{folders.truth / place / (path.stem + MASK_SUFFIX + '.png')} (or "
                        f"another image suffix). Add the mask, move the image to "
                        f"{folders.test / folders.good.name} if it is good, {HOW_WITHOUT_MASK}."
                    )
                how: Truth = BinaryMasks(paths, kind)
                if class_of_value is not None:
                    how = IndexMasks(paths, class_of_value, files.root / DEFECTS_CONFIG)
                found.images.append(_defective(files, path, place, kind, how))
        for stem, paths in masks.items():
            raise InputError(
                f"The mask {paths[0]} has no image: expected {folder}/{stem} with an image "
                "suffix. Add the image, or remove the mask."
            )
    for folder in subfolders(folders.truth):
        if files.child(folders.test, folder.name) is None:
            for paths in masks_by_stem(files, folder).values():
                raise InputError(
                    f"The mask {paths[0]} has no image: there is no folder "
                    f"{folders.test / folder.name}. Add the images, or remove the masks."
                )
    return sort_images(found)


def _kinds(files: SourceFiles, folders: Folders) -> list[Path]:
    """Folders of test images: those in the test folder, and those with images further below."""
    top = [folder for folder in subfolders(folders.test) if folder != folders.truth]
    with_images = {
        path.parent
        for path in files.images
        if any(path.parent != folder and path.parent.is_relative_to(folder) for folder in top)
    }
    return sorted({*top, *with_images})


def _truth_of(files: SourceFiles, folders: Folders, place: Path) -> Path:
    truth = folders.truth
    for name in place.parts:
        truth = files.child(truth, name) or truth / name
    return truth


def subfolders(parent: Path) -> list[Path]:
    """Folders in a folder, by name, without hidden ones; none where there is no such folder."""
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def images_in(files: SourceFiles, folder: Path) -> list[Path]:
    """Images that lie directly in a folder, by name.

    Raises:
        InputError: two images of one stem.
    """
    return distinct_stems(files.images_of(folder))


def masks_by_stem(
    files: SourceFiles, folder: Path, *, not_masks: Collection[str] = ()
) -> dict[str, tuple[Path, ...]]:
    """Mask files by the stem of their image; a folder `<stem>/` holds several.

    Args:
        files: of the source.
        folder: of masks.
        not_masks: folders in it that hold the masks of another class.

    Raises:
        InputError: two masks, or a mask and a folder of masks, for one image.
    """
    masks: dict[str, tuple[Path, ...]] = {}
    if not folder.is_dir():
        return masks
    for path in images_in(files, folder):
        stem = path.stem.removesuffix(MASK_SUFFIX)
        if stem in masks:
            raise InputError(f"{masks[stem][0]} and {path} are masks of one image. Remove one.")
        masks[stem] = (path,)
    for several in subfolders(folder):
        if several.name in not_masks:
            continue
        paths = tuple(images_in(files, several))
        if several.name in masks:
            raise InputError(
                f"{masks[several.name][0]} and the folder {several} are masks of one image. "
                "Remove one."
            )
        if paths:
            masks[several.name] = paths
    return masks


def _good(
    files: SourceFiles, path: Path, image_id: str, side: str, truth: Truth | None = None
) -> SourceImage:
    return SourceImage(image_id, path, GOOD, side, files.relative(path), truth)


def _defective(
    files: SourceFiles, path: Path, place: Path, kind: str, truth: Truth | None
) -> SourceImage:
    return SourceImage(
        image_id=f"{place.as_posix()}/{path.stem}",
        image_path=path,
        defect_type=kind,
        source_split="test",
        relative=files.relative(path),
        truth=truth,
        type_from_regions=isinstance(truth, IndexMasks),
    )


def _loco_classes(files: SourceFiles, found: Found) -> dict[int | tuple[int, int, int], str] | None:
    path = files.root / DEFECTS_CONFIG
    if not path.is_file():
        return None
    found.used.add(path)
    entries: Any = read_json_text(path, what="MVTec LOCO's list of defects", counts=found.counts)
    try:
        classes: dict[int | tuple[int, int, int], str] = {
            int(entry["pixel_value"]): str(entry["defect_name"]) for entry in entries
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} should be a list of {{'defect_name', 'pixel_value', …}}, but "
            f"{type(error).__name__}: {shortened(error)}. Restore the file of the set."
        ) from error
    if len(classes) != len(entries):
        raise InputError(f"{path} gives one pixel value to two defects. Restore the file.")
    return classes


def not_this_layout(files: SourceFiles) -> str:
    """What to say of a folder that does not have the layout."""
    inside = sorted(p.name for p in files.root.iterdir())
    categories = [
        p.name
        for p in subfolders(files.root)
        if folders_of(SourceFiles(p), FindOptions()) is not None
    ]
    hint = (
        f"Its folders {', '.join(categories[:5])} look like categories; convert one at a time, "
        f"for instance {files.root / categories[0]}."
        if categories
        else "Arrange the images so, choose another --layout, or check the path."
    )
    return (
        f"{files.root} does not have the MVTec layout: expected {EXPECTED}, found "
        f"{', '.join(inside[:8]) or 'nothing'}. {hint}"
    )
