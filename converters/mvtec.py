"""Reading the MVTec AD layout.

    train/good/000.png
    test/good/000.png
    test/<type>/000.png
    ground_truth/<type>/000_mask.png

Masks are paired by defect type and exact stem, and never by position.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from annotations import GOOD, InputError, LayoutError
from annotations.images import is_image_path

MASK_SUFFIX: Final = "_mask"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that a layout found.

    Attributes:
        image_id: unique within the dataset.
        image_path: the image.
        mask_path: its mask; None for good images.
        defect_type: `good` or the class.
        source_split: `train` or `test`.
        relative: path relative to the source, with `/`, as --group-by sees it.
    """

    image_id: str
    image_path: Path
    mask_path: Path | None
    defect_type: str
    source_split: str
    relative: str


@dataclass(slots=True)
class Found:
    """What a layout found in a folder.

    Attributes:
        images: sorted by id.
        skipped: how many files were passed over, by reason.
    """

    images: list[SourceImage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def looks_like_mvtec(source: Path) -> bool:
    """True for a folder that holds train/good and test."""
    return (source / "train" / GOOD).is_dir() and (source / "test").is_dir()


def read_mvtec(source: Path) -> Found:
    """Find the images and masks of one MVTec category.

    Raises:
        LayoutError: no MVTec layout.
        InputError: a defect image without a mask, a mask without an image, two images or two
            masks of one stem, or no good training image.
    """
    if not looks_like_mvtec(source):
        raise LayoutError(_not_mvtec(source))
    found = Found()
    for path in _images(source / "train" / GOOD, found):
        found.images.append(_source_image(source, path, f"train/{GOOD}/{path.stem}", "train", None))
    if not found.images:
        raise InputError(f"{source / 'train' / GOOD} holds no image that can be read.")
    for folder in sorted(p for p in (source / "train").iterdir() if p.is_dir()):
        if folder.name != GOOD:
            found.skipped[f"folder train/{folder.name}: only train/good teaches"] += 1
    for folder in sorted(p for p in (source / "test").iterdir() if p.is_dir()):
        masks = {} if folder.name == GOOD else _masks(source / "ground_truth" / folder.name, found)
        for path in _images(folder, found):
            mask_path = None
            if folder.name != GOOD:
                mask_path = masks.pop(path.stem, None)
                if mask_path is None:
                    expected = source / "ground_truth" / folder.name
                    raise InputError(
                        f"The defect image {path} has no mask: expected "
                        f"{expected / (path.stem + MASK_SUFFIX + '.png')} (or another image "
                        "suffix). Add the mask, or move the image to test/good if it is good."
                    )
            image_id = f"{folder.name}/{path.stem}"
            found.images.append(_source_image(source, path, image_id, "test", mask_path))
        for mask_path in masks.values():
            raise InputError(
                f"The mask {mask_path} has no image: expected {folder}/"
                f"{mask_path.stem.removesuffix(MASK_SUFFIX)} with an image suffix. Add the "
                "image, or remove the mask."
            )
    for folder in _folders(source / "ground_truth"):
        if not (source / "test" / folder.name).is_dir():
            for mask_path in _images(folder, found):
                raise InputError(
                    f"The mask {mask_path} has no image: there is no folder "
                    f"{source / 'test' / folder.name}. Add the images, or remove the masks."
                )
    found.images.sort(key=lambda image: image.image_id)
    return found


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []


def _not_mvtec(source: Path) -> str:
    if not source.exists():
        return f"There is no folder {source}. Check the path."
    if not source.is_dir():
        return f"{source} is a file; expected the folder of one MVTec category."
    inside = sorted(p.name for p in source.iterdir())
    categories = [p.name for p in _folders(source) if looks_like_mvtec(p)]
    hint = (
        f"Its folders {', '.join(categories[:5])} look like categories; convert one at a time, "
        f"for instance {source / categories[0]}."
        if categories
        else "Arrange the images so, or check the path."
    )
    return (
        f"{source} does not have the MVTec layout: expected train/good, test/good, test/<type> "
        f"and ground_truth/<type>, found {', '.join(inside[:8]) or 'nothing'}. {hint}"
    )


def _images(folder: Path, found: Found) -> Iterator[Path]:
    stems: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found.skipped["folder inside an image folder"] += 1
        elif not is_image_path(path):
            found.skipped[f"not an image ({path.suffix.lower() or 'no suffix'})"] += 1
        elif path.stem in stems:
            raise InputError(
                f"{stems[path.stem]} and {path} have one stem, so that their masks and labels "
                "cannot be told apart. Rename or remove one of them."
            )
        else:
            stems[path.stem] = path
            yield path


def _masks(folder: Path, found: Found) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    if not folder.is_dir():
        return masks
    for path in _images(folder, found):
        stem = path.stem.removesuffix(MASK_SUFFIX)
        if stem in masks:
            raise InputError(f"{masks[stem]} and {path} are masks of one image. Remove one.")
        masks[stem] = path
    return masks


def _source_image(
    source: Path, path: Path, image_id: str, split: str, mask_path: Path | None
) -> SourceImage:
    return SourceImage(
        image_id=image_id,
        image_path=path,
        mask_path=mask_path,
        defect_type=path.parent.name,
        source_split=split,
        relative=path.relative_to(source).as_posix(),
    )
