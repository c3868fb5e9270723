"""At which size the hybrid segmenter looks at images, and how fine its map is: by the defects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np

from annotations import Sample
from annotations.files import write_json_atomic
from annotations.run_files import TILES_FILE
from inference.images import SIDE_STEP
from inference.tiling import MAX_SIZE, choose_tiles, extents, needed_side, read_noted
from segment.hybrid.config import HybridConfig
from training import FoldJob

Stride = Literal[2, 4, 8]
COARSEST: Final = 8
PLACES_WIDE: Final = 1.0
"""Places of the map that three of four defects are wide, at least."""


def resolved(config: HybridConfig, noted: Path) -> HybridConfig:
    """A fold's settings with the size and the stride that its training noted.

    Raises:
        InputError: the file is damaged.
    """
    return config.model_copy(
        update={
            "image_size": read_noted(noted, "image_size", config.image_size, most=MAX_SIZE),
            "map_stride": read_noted(noted, "map_stride", config.stride, most=COARSEST),
        }
    )


def choose_shape(
    job: FoldJob, config: HybridConfig, train: Sequence[Sample]
) -> tuple[HybridConfig, int]:
    """Choose image size, stride of the map and tiles by the training side's defects.

    Thin defects are shown at up to `largest_size`; where that is too small still, through tiles of
    that size. What is chosen is said, and noted in the fold's folder.

    Returns:
        The settings with what was chosen, and how many tiles lie along an image's longer side.
    """
    truths = job.dataset.truths
    defects = [one for sample in train for one in extents(truths[sample.image_id])]
    needed = needed_side(defects)
    size = config.image_size
    if needed is not None and needed > size and config.tiles == "auto":
        size = min(-(-int(needed) // SIDE_STEP) * SIDE_STEP, max(size, config.largest_size))
    tiles = choose_tiles(defects, tile_side=size, asked=config.tiles)
    stride: int
    if config.map_stride != "auto":
        stride = config.map_stride
    elif not defects:
        stride = COARSEST
    else:
        shown = size if tiles == 1 else (needed or size)
        width = float(np.quantile([one.width * shown / one.long_side for one in defects], 0.25))
        stride = next((s for s in (8, 4) if width >= PLACES_WIDE * s), 2)
    if size > config.image_size or tiles > 1:
        usual = config.image_size
        width = float(np.quantile([one.width * usual / one.long_side for one in defects], 0.25))
        through = f", through {tiles} tiles along the longer side" if tiles > 1 else ""
        job.reporter.say(
            f"Fold {job.fold}: one defect in four would be at most {width:.1f} pixels wide in "
            f"images of {usual} pixels, so they are shown at {size}{through}, which takes about "
            f"{(size / usual) ** 2:.0f} times as long; --set largest_size={usual} keeps them small "
            "and may lose them."
        )
    write_json_atomic(
        job.folder / TILES_FILE, {"tiles": tiles, "image_size": size, "map_stride": stride}
    )
    chosen = {"image_size": size, "map_stride": cast(Stride, stride)}
    return config.model_copy(update=chosen), tiles
