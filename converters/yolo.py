"""YOLO images, detection labels and data files."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from annotations import Regions, Sample, Split, label_strength
from annotations.dataset import IMAGES_FOLDER, LABELS_FOLDER
from annotations.files import write_text_atomic


def yolo_lines(regions: Regions) -> str:
    """Label lines `class cx cy w h`, as parts of the image, ten decimals each.

    Ten decimals give every edge of an image of up to 100,000 pixels back to 1e-4 pixels.
    """
    height, width = regions.image_hw
    lines = []
    for label, box in zip(regions.labels.tolist(), regions.boxes_xyxy.tolist(), strict=True):
        x1, y1, x2, y2 = box
        numbers = (
            (x1 + x2) / 2 / width,
            (y1 + y2) / 2 / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        )
        lines.append(f"{label} " + " ".join(f"{number:.10f}" for number in numbers) + "\n")
    return "".join(lines)


def image_file_name(sample: Sample, *, remade: bool = False) -> str:
    """Where an image stands, relative to the dataset; stems are unique over all folders.

    Args:
        sample: the image, in the source or in the dataset.
        remade: it is kept as a PNG of its own.
    """
    suffix = ".png" if remade else sample.image_path.suffix.lower()
    return (IMAGES_FOLDER / f"{sample.stem}{suffix}").as_posix()


def place_image(source: Path, target: Path, *, copy: bool = False) -> str:
    """Link an image, or copy it where that is asked for or the system does not link.

    Returns:
        `link` or `copy`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copyfile(source, target)
        return "copy"
    try:
        target.symlink_to(source.resolve())
    except (OSError, NotImplementedError):
        shutil.copyfile(source, target)
        return "copy"
    return "link"


def write_labels(folder: Path, samples: Sequence[Sample], truths: Mapping[str, Regions]) -> None:
    """Write one label file an image, empty for good ones.

    A defective image of which nobody knows where its defects are gets none: an empty file would
    say that it is good.
    """
    (folder / LABELS_FOLDER).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        if label_strength(sample, truths[sample.image_id]) == "image":
            continue
        path = folder / LABELS_FOLDER / f"{sample.stem}.txt"
        path.write_text(yolo_lines(truths[sample.image_id]), encoding="ascii", newline="\n")


def fold_place(root: Path, split: Split, number: int) -> Path:
    """Where the files of one fold stand: `root` itself, or fold-K in it where there are several."""
    several = split.protocol == "kfold" or len(split.folds) > 1
    return root / f"fold-{number}" if several else root


def write_data_files(
    folder: Path, file_names: Mapping[str, str], split: Split, class_names: Sequence[str]
) -> None:
    """Write data.yaml and list files: under yolo/, or yolo/fold-K/ of several folds.

    Paths are relative to the list files, so that the dataset may be moved as a whole.

    Args:
        folder: of the dataset.
        file_names: by id, of the images that have a label file; others stand in no list.
        split: of the dataset.
        class_names: by label.
    """
    root = folder / IMAGES_FOLDER.parent
    for number, fold in enumerate(split.folds):
        place = fold_place(root, split, number)
        up = "images" if place == root else "../images"
        for side, ids in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
            names = (Path(file_names[i]).name for i in ids if i in file_names)
            write_text_atomic(place / f"{side}.txt", "".join(f"./{up}/{n}\n" for n in names))
        document = {
            "train": "train.txt",
            "val": "val.txt",
            "test": "test.txt",
            "names": dict(enumerate(class_names)),
        }
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        header = f"# split {split.digest}\n"
        write_text_atomic(place / "data.yaml", header + text)
