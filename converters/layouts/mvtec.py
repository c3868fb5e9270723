"""Reading the MVTec AD layout and its relatives, one category at a time.

MVTec AD (Bergmann et al., CVPR 2019, and the readme.txt of the set):

    train/good/000.png
    test/good/000.png
    test/<type>/000.png
    ground_truth/<type>/000_mask.png

MPDD (Jezek et al., ICUMT 2021) has the same folders. MVTec AD 2 (Heckler-Kram et al.,
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

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations import GOOD, InputError, LayoutError
from annotations.files import read_json
from converters.layouts.source import (
    MASK_SUFFIX,
    BinaryMasks,
    FindOptions,
    Found,
    IndexMasks,
    SourceImage,
    Truth,
    folders_in,
    images_in,
    require_folder,
    sort_images,
)

DEFECTS_CONFIG: Final = "defects_config.json"
PRIVATE_FOLDERS: Final = ("test_private", "test_private_mixed")


@dataclass(frozen=True, slots=True)
class FolderNames:
    """Where a relative of MVTec AD keeps its images.

    Attributes:
        name: of the layout, for messages.
        good: folder of good images.
        test: folder of test images.
        truth: folder of masks.
    """

    name: str = "MVTec"
    good: str = GOOD
    test: str = "test"
    truth: str = "ground_truth"

    @property
    def expected(self) -> str:
        """The layout in words."""
        return (
            f"train/{self.good}, {self.test}/{self.good}, {self.test}/<type> "
            f"and {self.truth}/<type>"
        )


MVTEC_AD: Final = FolderNames()
MVTEC_AD_2: Final = FolderNames("MVTec AD 2", test="test_public", truth="test_public/ground_truth")


def names_of(source: Path) -> FolderNames | None:
    """Which of the two this folder is, or None."""
    for names in (MVTEC_AD, MVTEC_AD_2):
        if (source / "train" / names.good).is_dir() and (source / names.test).is_dir():
            return names
    return None


def recognise(source: Path, options: FindOptions) -> str | None:
    """Say why a folder looks like this layout; None where it does not."""
    del options
    names = names_of(source)
    if names is None:
        return None
    if (source / DEFECTS_CONFIG).is_file():
        return f"it holds train/{GOOD}, {names.test} and {DEFECTS_CONFIG} (MVTec LOCO)"
    return f"it holds train/{GOOD} and {names.test}"


def find(source: Path, options: FindOptions) -> Found:
    """Find the images and masks of one category of MVTec AD, AD 2 or LOCO, or of MPDD.

    Raises:
        LayoutError: no MVTec layout.
        InputError: a defect image without a mask, a mask without an image, two images or two
            masks of one stem, or no good training image.
    """
    del options
    names = names_of(source)
    if names is None:
        raise LayoutError(not_this_layout(source, MVTEC_AD))
    return find_folders(source, names)


def find_folders(source: Path, names: FolderNames) -> Found:
    """Find the images and masks of a category whose folders are called `names`.

    Raises:
        InputError: as `find`.
    """
    found = Found()
    teaching = source / "train" / names.good
    for path in images_in(teaching, found):
        found.images.append(_good(source, path, f"train/{names.good}/{path.stem}", "train"))
    if not found.images:
        raise InputError(f"{teaching} holds no image that can be read.")
    _count_other_folders(source, names, found)
    validating = source / "validation" / names.good
    if validating.is_dir():
        for path in images_in(validating, found):
            image_id = f"validation/{names.good}/{path.stem}"
            found.images.append(_good(source, path, image_id, "val"))
    class_of_value = _loco_classes(source)
    test, truth = source / names.test, source / names.truth
    for folder in folders_in(test):
        if folder == truth:
            continue
        if folder.name == names.good:
            for path in images_in(folder, found):
                found.images.append(_good(source, path, f"{folder.name}/{path.stem}", "test"))
            continue
        masks = masks_by_stem(truth / folder.name, found)
        for path in images_in(folder, found):
            paths = masks.pop(path.stem, None)
            if paths is None:
                raise InputError(
                    f"The defect image {path} has no mask: expected "
                    f"{truth / folder.name / (path.stem + MASK_SUFFIX + '.png')} (or another "
                    f"image suffix). Add the mask, or move the image to {names.test}/"
                    f"{names.good} if it is good."
                )
            how: Truth = BinaryMasks(paths, folder.name)
            if class_of_value is not None:
                how = IndexMasks(paths, class_of_value, source / DEFECTS_CONFIG)
            found.images.append(
                SourceImage(
                    image_id=f"{folder.name}/{path.stem}",
                    image_path=path,
                    defect_type=folder.name,
                    source_split="test",
                    relative=path.relative_to(source).as_posix(),
                    truth=how,
                    type_from_regions=class_of_value is not None,
                )
            )
        for stem, paths in masks.items():
            raise InputError(
                f"The mask {paths[0]} has no image: expected {folder}/{stem} with an image "
                "suffix. Add the image, or remove the mask."
            )
    for folder in folders_in(truth):
        if not (test / folder.name).is_dir():
            for paths in masks_by_stem(folder, found).values():
                raise InputError(
                    f"The mask {paths[0]} has no image: there is no folder "
                    f"{test / folder.name}. Add the images, or remove the masks."
                )
    return sort_images(found)


def _count_other_folders(source: Path, names: FolderNames, found: Found) -> None:
    for folder in folders_in(source / "train"):
        if folder.name != names.good:
            reason = f"folder train/{folder.name}: only train/{names.good} teaches"
            found.skipped[reason] += 1
    for name in PRIVATE_FOLDERS:
        if (source / name).is_dir():
            found.skipped[f"folder {name}: its ground truth is not public"] += 1


def masks_by_stem(folder: Path, found: Found) -> dict[str, tuple[Path, ...]]:
    """Mask files by the stem of their image; a folder `<stem>/` holds several.

    Raises:
        InputError: two masks, or a mask and a folder of masks, for one image.
    """
    masks: dict[str, tuple[Path, ...]] = {}
    if not folder.is_dir():
        return masks
    inner = Found()
    for path in images_in(folder, inner):
        stem = path.stem.removesuffix(MASK_SUFFIX)
        if stem in masks:
            raise InputError(f"{masks[stem][0]} and {path} are masks of one image. Remove one.")
        masks[stem] = (path,)
    inner.skipped.pop("folder inside an image folder", None)
    for several in folders_in(folder):
        paths = tuple(images_in(several, inner))
        if several.name in masks:
            raise InputError(
                f"{masks[several.name][0]} and the folder {several} are masks of one image. "
                "Remove one."
            )
        if paths:
            masks[several.name] = paths
    found.skipped.update(inner.skipped)
    return masks


def _good(source: Path, path: Path, image_id: str, side: str) -> SourceImage:
    return SourceImage(image_id, path, GOOD, side, path.relative_to(source).as_posix())


def _loco_classes(source: Path) -> dict[int, str] | None:
    path = source / DEFECTS_CONFIG
    if not path.is_file():
        return None
    entries: Any = read_json(path, what="MVTec LOCO's list of defects")
    try:
        classes = {int(entry["pixel_value"]): str(entry["defect_name"]) for entry in entries}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} should be a list of {{'defect_name', 'pixel_value', …}}, but "
            f"{type(error).__name__}: {error}. Restore the file of the set."
        ) from error
    if len(classes) != len(entries):
        raise InputError(f"{path} gives one pixel value to two defects. Restore the file.")
    return classes


def not_this_layout(source: Path, names: FolderNames) -> str:
    """What to say of a folder that does not have the layout."""
    require_folder(source, what=f"the folder of one {names.name} category")
    inside = sorted(p.name for p in source.iterdir())
    categories = [
        p.name
        for p in folders_in(source)
        if (p / "train" / names.good).is_dir() and (p / names.test).is_dir()
    ]
    hint = (
        f"Its folders {', '.join(categories[:5])} look like categories; convert one at a time, "
        f"for instance {source / categories[0]}."
        if categories
        else "Arrange the images so, choose another --layout, or check the path."
    )
    return (
        f"{source} does not have the {names.name} layout: expected {names.expected}, found "
        f"{', '.join(inside[:8]) or 'nothing'}. {hint}"
    )
