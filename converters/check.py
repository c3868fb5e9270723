"""Proving a converted dataset again: files against labels, and labels against masks."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import Dataset, DefectuneError, boxes_of_masks, read_mask_raw, rle_area
from annotations.dataset import COCO_ALL, IMAGES_FOLDER, LABELS_FOLDER
from annotations.errors import shortened
from annotations.files import read_json
from annotations.images import check_image_file, check_image_header, sha256_of
from annotations.version_files import chain_problems
from converters.groups import MOST_IMAGES, not_looked_for
from converters.manifest import manifest_problems
from converters.masks import cut_mask, mask_file_name, read_mask_pixels
from converters.reshots import MIN_IMAGES, find_reshots
from converters.unlabelled import unlabelled_problems
from converters.yolo import fold_place, yolo_lines

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        facts: what was looked at and how much of it held, as name and text.
        problems: what is wrong, a sentence each, naming files; empty where all holds.
    """

    facts: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def check_dataset(
    dataset: Dataset,
    *,
    reshots: bool = True,
    progress: Callable[[str, int], None] | None = None,
) -> CheckResult:
    """Check a converted dataset. Its split was checked when it was read.

    Images by their hash and size, boxes and areas against masks, class masks pixel by pixel, the
    source's masks where they still are, YOLO labels and lists, COCO files by fold, files that do
    not belong, and photographs of one part on two sides of a fold.

    Args:
        dataset: as read.
        reshots: compare textures, for up to `converters.groups.MOST_IMAGES` images.
        progress: called with the stage and its number of steps, once a step.
    """
    problems: list[str] = []
    facts = [("images", f"{len(dataset.samples)}"), ("split digest", dataset.split.digest)]
    if dataset.version is not None:
        facts.append(("version", f"{dataset.version.number}, {dataset.version.digest}"))
        problems += chain_problems(dataset.root)
    images = labels = masks = sources = 0
    compare = _masks_can_be_compared(dataset)
    for sample in dataset.samples:
        if progress is not None:
            progress("images and labels", len(dataset.samples))
        image = _image_problem(dataset, sample.image_id)
        if image:
            problems.append(image)
        images += image is None
        label = _label_problem(dataset, sample.image_id)
        if label:
            problems.append(label)
        labels += label is None
        if sample.is_defective and dataset.strengths[sample.image_id] == "masks":
            found, has_source = _mask_problems(
                dataset, sample.image_id, compare=compare and image is None
            )
            problems += found
            masks += not found
            sources += has_source and not found
        elif sample.is_defective and (extra := _mask_too_many(dataset, sample.image_id)):
            problems.append(extra)
    strengths = Counter(dataset.strengths[s.image_id] for s in dataset.samples if s.is_defective)
    facts += [
        ("image files as converted", f"{images} of {len(dataset.samples)}"),
        ("YOLO labels as the masks say", f"{labels} of {len(dataset.samples)}"),
        ("masks exact", f"{masks} of {strengths['masks']}"),
        ("of them compared with the source's masks", f"{sources}"),
        ("defective images known by an image label alone", f"{strengths['image']}"),
        ("defective images known by boxes alone", f"{strengths['boxes']}"),
    ]
    if dataset.unlabelled:
        facts.append(("unlabelled images, for prediction alone", f"{len(dataset.unlabelled)}"))
    problems += unlabelled_problems(dataset)
    problems += _fold_file_problems(dataset)
    problems += _foreign_files(dataset)
    changed, held = manifest_problems(dataset.root, problems)
    problems += changed
    facts.append(("files as the conversion wrote them", held))
    n = len(dataset.samples)
    if not reshots or images < n:
        facts.append(("images of one part on two sides", "not looked for"))
    elif not MIN_IMAGES <= n <= MOST_IMAGES:
        facts.append(("images of one part on two sides", f"not looked for among {n} images"))
    else:
        crossing = _crossing_reshots(dataset, progress)
        facts.append(
            ("images of one part on two sides", f"{len(crossing)} pairs{not_looked_for(n)}")
        )
        problems += crossing
    return CheckResult(tuple(facts), tuple(problems))


def _image_problem(dataset: Dataset, image_id: str) -> str | None:
    sample = dataset.by_id[image_id]
    try:
        image_hw = check_image_file(sample.image_path)
        digest = sha256_of(sample.image_path)
    except (DefectuneError, OSError) as error:
        return str(error)
    if digest != sample.sha256:
        return f"The image {sample.image_path} was changed after conversion (another SHA-256)."
    if image_hw != sample.image_hw:
        return f"The image {sample.image_path} is {image_hw}, the labels say {sample.image_hw}."
    return None


def _label_problem(dataset: Dataset, image_id: str) -> str | None:
    sample = dataset.by_id[image_id]
    truth = dataset.truths[image_id]
    path = dataset.root / LABELS_FOLDER / f"{sample.stem}.txt"
    if truth.masks is not None:
        # Truth that came as boxes keeps them; its masks are the pixels whose centers they hold.
        if len(truth) and np.abs(truth.boxes_xyxy - boxes_of_masks(list(truth.masks))).max() >= 1:
            return f"{dataset.root / COCO_ALL}: a box of {image_id} is not the box of its mask."
        if any(rle_area(rle) == 0 for rle in truth.masks):
            return f"{dataset.root / COCO_ALL}: a region of {image_id} has no pixel."
    if dataset.strengths[image_id] == "image":
        # Older datasets have an empty file here.
        if path.is_file() and path.stat().st_size:
            return f"The label file {path} has boxes, and annotations/all.json none of {image_id}."
        return None
    try:
        if path.read_text(encoding="ascii") == yolo_lines(truth):
            return None
    except (OSError, UnicodeDecodeError) as error:
        return f"The label file {path} cannot be read ({shortened(error)})."
    return f"The label file {path} does not say what annotations/all.json says of {image_id}."


def _mask_too_many(dataset: Dataset, image_id: str) -> str | None:
    """A class mask with pixels of an image whose pixels nobody knows; older ones may be black."""
    path = dataset.root / mask_file_name(dataset.by_id[image_id])
    try:
        if path.is_file() and read_mask_raw(path).any():
            return f"The class mask {path} has pixels, and annotations/all.json none of {image_id}."
    except DefectuneError as error:
        return str(error)
    return None


def _masks_can_be_compared(dataset: Dataset) -> bool:
    """True where the source's masks are the labels: binary, and no option has changed them."""
    try:
        value = read_json(dataset.root / "conversion.json", what="the report of a conversion")
        options = value["options"]
        plain = not any(
            options.get(name)
            for name in (
                "mask_threshold",
                "min_area",
                "merge_distance",
                "map_class",
                "ignore",
                "good",
                "mask_values",
                "invert_masks",
            )
        )
        return plain and str(value["layout"]).split(":")[0] in ("mvtec", "mpdd", "btad", "pairs")
    except (DefectuneError, KeyError, TypeError, AttributeError):
        return False


def _mask_problems(dataset: Dataset, image_id: str, *, compare: bool) -> tuple[list[str], bool]:
    """What is wrong with a defective image's masks, and whether the source's was there."""
    sample = dataset.by_id[image_id]
    truth = dataset.truths[image_id]
    path = dataset.root / mask_file_name(sample)
    try:
        if not np.array_equal(read_mask_raw(path), truth.class_index_mask()):
            return [f"The class mask {path} is not what annotations/all.json says."], False
        if not compare or sample.mask_path is None or not sample.mask_path.is_file():
            return [], False
        pixels = read_mask_pixels(
            sample.mask_path,
            header=check_image_header(sample.image_path),
            image_path=sample.image_path,
        )
        source = cut_mask(pixels.values, sample.mask_path)
    except DefectuneError as error:
        return [str(error)], False
    if not np.array_equal(source.inside, truth.union_mask()):
        return [
            f"The source's mask {sample.mask_path} is not what annotations/all.json says of "
            f"{image_id}: the mask was changed after conversion, or the labels were."
        ], True
    return [], True


def _fold_file_problems(dataset: Dataset) -> list[str]:
    problems = []
    for path, wanted in _fold_files(dataset):
        try:
            if path.suffix == ".json":
                document: Any = read_json(path, what="a fold's labels")
                found = sorted(image["defectune"]["image_id"] for image in document["images"])
            else:
                found = sorted(Path(line).name for line in path.read_text("utf-8").splitlines())
        except (DefectuneError, OSError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{path} cannot be read ({shortened(error)}).")
            continue
        if found != sorted(wanted):
            problems.append(
                f"{path} lists {len(found)} images, the split {len(wanted)}, or others. Convert "
                "again into a new folder."
            )
    return problems


def _fold_files(dataset: Dataset) -> Iterator[tuple[Path, list[str]]]:
    names = {s.image_id: s.image_path.name for s in dataset.samples}
    placed = {i for i, strength in dataset.strengths.items() if strength != "image"}
    for number, fold in enumerate(dataset.split.folds):
        for side, ids in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
            labels = fold_place(dataset.root / COCO_ALL.parent, dataset.split, number)
            yield labels / f"{side}.json", list(ids)
            lists = fold_place(dataset.root / IMAGES_FOLDER.parent, dataset.split, number)
            yield lists / f"{side}.txt", [names[i] for i in ids if i in placed]


def _foreign_files(dataset: Dataset) -> list[str]:
    root = dataset.root
    # Other files are the manifest's affair.
    expected = {sample.image_path for sample in dataset.samples}
    foreign = [
        path
        for path in sorted((root / IMAGES_FOLDER).rglob("*"))
        if not path.is_dir() and path not in expected
    ]
    if not foreign:
        return []
    some = ", ".join(str(path.relative_to(root)) for path in foreign[:_NAMED])
    return [
        f"{len(foreign)} files do not belong to the dataset and may be taken for labels or images "
        f"by other programs: {some}{' …' if len(foreign) > _NAMED else ''}. Remove them."
    ]


def _crossing_reshots(dataset: Dataset, progress: Callable[[str, int], None] | None) -> list[str]:
    samples = dataset.samples
    steps = 2 * len(samples)
    found = find_reshots(
        [sample.image_path for sample in samples],
        progress=None
        if progress is None
        else lambda _done, _total: progress("images of one part", steps),
    )
    problems = []
    for pair in found:
        ids = samples[pair.first].image_id, samples[pair.second].image_id
        for number, fold in enumerate(dataset.split.folds):
            test_ids = set(fold.test)
            train_ids = {*fold.train, *fold.val}
            if (ids[0] in test_ids and ids[1] in train_ids) or (
                ids[1] in test_ids and ids[0] in train_ids
            ):
                problems.append(
                    f"{ids[0]} and {ids[1]} seem to show one part (texture correlates by "
                    f"{pair.correlation:.2f}), and in fold {number} one is a training image and "
                    "the other a test image. Convert again with --find-groups, or name parts with "
                    "--group-by."
                )
                break
    return problems
