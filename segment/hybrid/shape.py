"""How many tiles the hybrid segmenter looks through, and how fine its map is: by the defects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np

from annotations import Sample
from annotations.files import write_json_atomic
from annotations.run_files import TILES_FILE
from inference.tiling import (
    choose_tiles,
    extents,
    long_side,
    read_noted,
    tile_windows,
    tiled_hw,
)
from segment.hybrid.config import HybridConfig
from training import FoldJob

Stride = Literal[2, 4, 8]
COARSEST: Final = 8
SCORE_RULE: Final = 2
"""How heads make an image's score; see `segment.hybrid.predict.HybridNetwork`."""
PLACES_WIDE: Final = 1.0
"""Places of the map that three of four defects are wide, at least. On drawn cracks 3 pixels wide,
seen in part, a map at stride 2 has a pixel AP of 0.84 and one at stride 4 of 0.75."""


def resolved(config: HybridConfig, noted: Path) -> HybridConfig:
    """A fold's settings with the stride of the map that its training noted.

    Raises:
        InputError: the file is damaged.
    """
    stride = read_noted(noted, "map_stride", config.stride, most=COARSEST)
    return config.model_copy(update={"map_stride": cast(Stride, stride)})


def choose_shape(
    job: FoldJob, config: HybridConfig, train: Sequence[Sample]
) -> tuple[HybridConfig, int]:
    """Choose tiles and the stride of the map by the training side's defects.

    What is chosen is said, with its price, and noted in the fold's folder.

    Returns:
        The settings with what was chosen, and how many tiles lie along an image's longer side.
    """
    truths = job.dataset.truths
    defects = [one for sample in train for one in extents(truths[sample.image_id])]
    size = config.image_size
    tiles = choose_tiles(defects, tile_side=size, asked=config.tiles)
    stride = config.stride
    if config.map_stride == "auto" and defects:
        shown = long_side(tiles, size)
        width = float(np.quantile([one.width * shown / one.long_side for one in defects], 0.25))
        stride = next((s for s in (8, 4) if width >= PLACES_WIDE * s), 2)
    if config.tiles == "auto" and tiles > 1:
        image_hw = max((sample.image_hw for sample in train), key=max)
        count = len(tile_windows(tiled_hw(image_hw, tiles, size), size))
        width = float(np.quantile([one.width * size / one.long_side for one in defects], 0.25))
        job.reporter.say(
            f"Fold {job.fold}: one defect in four would be at most {width:.1f} pixels wide in an "
            f"image of {size} pixels, so it is seen through {count} tiles, which takes about "
            f"{count} times as long; --tiles 1 looks at the whole image, and may lose such defects."
        )
    noted = {"tiles": tiles, "map_stride": stride, "score_rule": SCORE_RULE}
    write_json_atomic(job.folder / TILES_FILE, noted)
    return config.model_copy(update={"map_stride": cast(Stride, stride)}), tiles
