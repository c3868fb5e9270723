"""How many tiles a fold's model looks through."""

from collections.abc import Sequence
from typing import Literal

from annotations import Sample
from annotations.files import write_json_atomic
from annotations.run_files import TILES_FILE
from inference.tiling import choose_tiles, extents
from training.job import FoldJob


def choose_fold_tiles(
    job: FoldJob, train: Sequence[Sample], *, image_size: int, asked: Literal["auto"] | int
) -> int:
    """Choose tiles along an image's longer side, say so, and note it for who opens the run later.

    Args:
        job: dataset, fold, folder and reporter.
        train: samples that the fold learns from.
        image_size: side of a tile, in pixels.
        asked: a number of tiles, or `auto` for as many as the defects call for.

    Returns:
        The number; 1 looks at the whole image.
    """
    truths = job.dataset.truths
    defects = [one for sample in train for one in extents(truths[sample.image_id])]
    tiles = choose_tiles(defects, tile_side=image_size, asked=asked)
    if asked == "auto" and tiles > 1:
        job.reporter.say(
            f"Fold {job.fold}: defects are small or thin, so that images are seen through {tiles} "
            "tiles along the longer side; --tiles 1 looks at the whole image, and may lose them."
        )
    write_json_atomic(job.folder / TILES_FILE, {"tiles": tiles})
    return tiles
