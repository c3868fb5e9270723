"""What ultralytics is given to learn from: a folder of links, tiles and injected images."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import yaml

from annotations import Dataset, Regions, Sample, TrainingError
from annotations.files import remove_tree, write_text_atomic
from annotations.images import write_png
from detect.config import DetectConfig
from inference.tiling import crop_window, cut_tile, tile_windows
from training import FoldJob
from training.contact_sheet import (
    CONTACT_SHEET,
    load_for_tiles,
    load_labeled,
    make_injector,
    write_contact_sheet,
)
from training.injection import DefectInjector, LabeledImage, class_mask_regions
from training.job import DATA_FOLDER
from training.shots import select_limited
from training.strengths import say_unlearned
from training.yolo_labels import yolo_box_lines, yolo_polygon_lines

INJECTION_SIDE: Final = 1024
"""Longest side in pixels of images that defects are pasted into; larger ones are shrunk."""


def write_data(job: FoldJob, config: DetectConfig, tiles: int) -> tuple[Path, bool]:
    """A folder of its own for ultralytics, so that its label cache can never be stale.

    Args:
        job: dataset, fold and folder.
        config: settings.
        tiles: along an image's longer side.

    Returns:
        Its data.yaml, and whether it holds images to validate on.

    Raises:
        TrainingError: no defective image with a mask or a box to learn from.
    """
    dataset, fold = job.dataset, job.dataset.split.folds[job.fold]
    data = job.folder / DATA_FOLDER
    remove_tree(data)
    say_unlearned(job, learns_from=frozenset({"masks", "boxes"}))
    validates = True
    for side, ids in (("train", fold.train), ("val", fold.val)):
        samples = choose_images(dataset, ids, config)
        defective = [sample for sample in samples if sample.is_defective]
        if side == "train" and not defective:
            raise TrainingError(
                f"Fold {job.fold} has no defective image with a mask or a box to learn "
                "from. Use fewer folds, add images or masks, or train 'classify', which learns "
                "from labels of images."
            )
        if side == "val" and not defective:
            job.reporter.say(
                f"Fold {job.fold} has no defective image to validate on: the last epoch is kept."
            )
            validates = False
            continue
        images, labels = data / "images" / side, data / "labels" / side
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for sample in samples:
            if tiles > 1:
                _write_tiles(dataset, sample, config, tiles, images, labels)
                continue
            link = images / f"{sample.stem}{sample.image_path.suffix}"
            try:
                link.symlink_to(sample.image_path.resolve())
            except OSError:
                shutil.copyfile(sample.image_path, link)
            lines = _label_lines(dataset.truths[sample.image_id], config)
            write_text_atomic(labels / f"{sample.stem}.txt", lines)
        if side == "train" and config.inject_per_defect:
            _write_injected(job, config, tiles, defective, images, labels)
    document = {
        "path": str(data.resolve()),
        "train": "images/train",
        # ultralytics wants images here in any case.
        "val": "images/val" if validates else "images/train",
        "names": dict(enumerate(dataset.class_names)),
    }
    path = data / "data.yaml"
    write_text_atomic(path, yaml.safe_dump(document, allow_unicode=True))
    return path, validates


def choose_images(dataset: Dataset, ids: Sequence[str], config: DetectConfig) -> list[Sample]:
    """Defective images with boxes, as many as the settings allow, and some good ones for each."""
    samples = select_limited(dataset, ids, config)
    # A defective image with an empty mask has no box to learn from, and is not a good one either.
    defective = [s for s in samples if s.is_defective and len(dataset.truths[s.image_id])]
    good = [s for s in samples if not s.is_defective]
    wanted = min(len(good), math.ceil(config.good_per_defect * len(defective)))
    picked = np.random.default_rng(config.seed).permutation(len(good))[:wanted]
    return defective + [good[i] for i in sorted(picked.tolist())]


def _label_lines(regions: Regions, config: DetectConfig) -> str:
    return yolo_polygon_lines(regions) if config.tight_boxes else yolo_box_lines(regions)


def _write_image(
    stem: str, image: LabeledImage, config: DetectConfig, images: Path, labels: Path
) -> None:
    write_png(images / f"{stem}.png", image.image_rgb)
    lines = _label_lines(class_mask_regions(image.class_mask), config)
    write_text_atomic(labels / f"{stem}.txt", lines)


def _crop(image: LabeledImage, window: tuple[int, int], side: int) -> LabeledImage:
    return LabeledImage(
        image.image_id,
        cut_tile(image.image_rgb, window, side, reflect=True),
        cut_tile(image.class_mask, window, side, reflect=False),
    )


def _write_tiles(
    dataset: Dataset,
    sample: Sample,
    config: DetectConfig,
    tiles: int,
    images: Path,
    labels: Path,
) -> None:
    """Of a defective image the tiles with defects and one without; of a good one, one tile."""
    side = config.image_size
    image = load_for_tiles(dataset, sample, tile_side=side, tiles=tiles)
    windows = tile_windows((image.image_rgb.shape[0], image.image_rgb.shape[1]), side)
    if dataset.strengths[sample.image_id] == "boxes":
        scale = np.divide(image.image_rgb.shape[:2], dataset.truths[sample.image_id].image_hw)
        cut = [
            _boxes_in(window, dataset.truths[sample.image_id], scale, side) for window in windows
        ]
    else:
        cut = [
            class_mask_regions(cut_tile(image.class_mask, window, side, reflect=False))
            for window in windows
        ]
    full = [number for number, regions in enumerate(cut) if len(regions)]
    empty = [number for number in range(len(cut)) if number not in full]
    draw = np.random.default_rng([config.seed, int(sample.sha256[:8], 16)])
    for number in full + ([int(draw.choice(empty))] if empty else []):
        stem = f"{sample.stem}__tile{number:03d}"
        pixels = cut_tile(image.image_rgb, windows[number], side, reflect=True)
        write_png(images / f"{stem}.png", pixels)
        write_text_atomic(labels / f"{stem}.txt", _label_lines(cut[number], config))


def _boxes_in(
    window: tuple[int, int], truth: Regions, scale: npt.NDArray[np.float64], side: int
) -> Regions:
    """Boxes in a tile, cut one by one: filled ones would grow together."""
    top, left = window
    factors = np.array([scale[1], scale[0]] * 2, np.float32)
    moved = truth.boxes_xyxy * factors - np.array([left, top] * 2, np.float32)
    boxes = np.clip(moved, 0, side)
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1)
    return Regions(boxes[kept], None, truth.labels[kept], None, (side, side))


def _write_injected(
    job: FoldJob,
    config: DetectConfig,
    tiles: int,
    defective: Sequence[Sample],
    images: Path,
    labels: Path,
) -> None:
    dataset = job.dataset
    # What lies in a box that nobody outlined is not all defect: it cannot be pasted.
    outlined = [s for s in defective if dataset.strengths[s.image_id] == "masks"]
    if not outlined:
        job.reporter.say(f"Fold {job.fold}: no defect has a mask, so that none is injected.")
        return

    def load(sample: Sample) -> LabeledImage:
        if tiles > 1:
            return load_for_tiles(dataset, sample, tile_side=config.image_size, tiles=tiles)
        return load_labeled(dataset, sample, max_side=INJECTION_SIDE)

    # Of the whole training side: what is not shown as a good image can still be pasted into.
    train = dataset.select(dataset.split.folds[job.fold].train)
    injector: DefectInjector | None = make_injector(
        [load(sample) for sample in outlined],
        [load(sample) for sample in train if not sample.is_defective],
        n_classes=len(dataset.class_names),
        per_defect=config.inject_per_defect,
    )
    if injector is None:
        return
    write_contact_sheet(job.folder / CONTACT_SHEET, injector, seed=config.seed)
    for number in range(math.ceil(config.inject_per_defect * len(defective))):
        rng = np.random.default_rng([config.seed, number])
        made = injector.make(rng)
        image = LabeledImage("injected", made.image_rgb, made.class_mask)
        if tiles > 1:
            window = crop_window(made.class_mask, config.image_size, rng)
            image = _crop(image, window, config.image_size)
        _write_image(f"injected__{number:05d}", image, config, images, labels)
