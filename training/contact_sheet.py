"""Making an injector from images at hand, and a sheet of what it makes for a person to look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from annotations import Dataset, Sample
from annotations.files import write_text_atomic
from annotations.images import read_image_rgb, write_png
from inference.tiling import long_side
from training.injection import DefectInjector, Injected, LabeledImage

CONTACT_SHEET: Final = "injected.png"
SHEET_IMAGES: Final = 24
SHEET_COLUMNS: Final = 6
TILE_SIDE: Final = 220
OUTLINE_RGB: Final = (230, 60, 0)


def load_labeled(
    dataset: Dataset, sample: Sample, *, max_side: int, enlarge: bool = False
) -> LabeledImage:
    """Decode a sample and its mask, shrunk where its longer side exceeds `max_side` pixels, and
    enlarged to it where that is asked for."""
    image_rgb = read_image_rgb(sample.image_path)
    class_mask = dataset.truths[sample.image_id].class_index_mask()
    ratio = max_side / max(class_mask.shape)
    if ratio < 1 or (enlarge and ratio > 1):
        size = tuple(max(1, round(side * ratio)) for side in class_mask.shape[::-1])
        method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        image_rgb = np.asarray(cv2.resize(image_rgb, size, interpolation=method), np.uint8)
        class_mask = np.asarray(
            cv2.resize(class_mask, size, interpolation=cv2.INTER_NEAREST), np.uint8
        )
    return LabeledImage(sample.image_id, image_rgb, class_mask)


def load_for_tiles(dataset: Dataset, sample: Sample, *, tile_side: int, tiles: int) -> LabeledImage:
    """Decode a sample and its mask at the size that tiles are laid on, its aspect kept."""
    return load_labeled(dataset, sample, max_side=long_side(tiles, tile_side), enlarge=True)


def make_injector(
    defective: Sequence[LabeledImage],
    good: Sequence[LabeledImage],
    *,
    n_classes: int,
    per_defect: float,
) -> DefectInjector | None:
    """An injector, or None where nothing is to be injected or there is no good image."""
    if not per_defect or not good:
        return None
    return DefectInjector(defective, good, n_classes=n_classes)


def write_contact_sheet(path: Path, injector: DefectInjector, *, seed: int) -> None:
    """Write a sheet of injected images, each beside its outlines, and its parents as JSON.

    Args:
        path: PNG to write; the JSON gets the same name.
        injector: what makes them.
        seed: of the images shown.
    """
    made = [
        injector.make(np.random.default_rng([seed, 3, number])) for number in range(SHEET_IMAGES)
    ]
    tiles = [_tile(one) for one in made]
    rows = [
        np.hstack(tiles[start : start + SHEET_COLUMNS])
        for start in range(0, len(tiles), SHEET_COLUMNS)
    ]
    write_png(path, np.vstack(rows))
    document = {
        "shown": [list(one.parents) for one in made],
        "all_parents": sorted(injector.parents),
    }
    write_text_atomic(path.with_suffix(".json"), json.dumps(document, indent=1))


def _tile(one: Injected) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image above itself with outlines: uint8 (2 * TILE_SIDE, TILE_SIDE, 3)."""
    height, width = one.class_mask.shape
    ratio = TILE_SIDE / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    plain = cv2.resize(one.image_rgb, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize((one.class_mask > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    marked = cv2.drawContours(plain.copy(), outlines, -1, OUTLINE_RGB, 1)
    tile = np.full((2 * TILE_SIDE, TILE_SIDE, 3), 255, np.uint8)
    tile[: size[1], : size[0]] = plain
    tile[TILE_SIDE : TILE_SIDE + size[1], : size[0]] = marked
    return tile
