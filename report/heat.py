"""Heat maps: where a map scores no higher than good images do, nothing is painted."""

import base64
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from annotations import Dataset, ImageReadError, StoredPredictions
from annotations.files import write_text_atomic

QUANTILE: Final = 0.99
"""Of the pixel scores of good images; a map is transparent up to there."""
_LOOKED_AT: Final = 24
_LEVELS: Final = 64


def visible_range(dataset: Dataset, run: StoredPredictions) -> tuple[float, float]:
    """Scores at the ends of a run's heat colors, the same for all its images.

    The lower end is the 99 % quantile of the pixel scores of good images, read from at most 24 of
    them; without a good image that has a map, it is the lowest score of all.
    """
    low, high = run.score_range
    good = [i for i in run.map_ranges if not dataset.by_id[i].is_defective]
    scores = []
    for image_id in good[:: max(1, -(-len(good) // _LOOKED_AT))]:
        try:
            pixels = run.pixel_scores(image_id)
        except ImageReadError:
            continue
        if pixels is not None:
            # Every few pixels are enough for a quantile, and large images have many.
            step = max(1, max(pixels.shape) // 256)
            scores.append(np.asarray(pixels[::step, ::step], np.float64).ravel())
    if scores:
        seen = float(np.quantile(np.concatenate(scores), QUANTILE))
        # A map that is the same everywhere would leave no color at all.
        low = seen if seen < high else low
    return float(low), float(high)


def write_heat(
    path: Path,
    name: str,
    scores: npt.NDArray[np.floating[Any]],
    score_range: tuple[float, float],
    limit: int,
) -> npt.NDArray[np.floating[Any]]:
    """Write a score map, float (H, W), as a script that holds a PNG of `limit` pixels or less.

    Scores at or below the range's lower end are transparent. Each of the 64 levels has an opacity
    of its own, by which the page reads the score under the pointer. It is a script, and no PNG
    beside the page: a page from disk may show such a file, but may not read its pixels.

    Returns:
        What was painted, float (h, w) of the PNG's size, from 0 at the range's lower end to 1.
    """
    scale = limit / max(scores.shape)
    small: npt.NDArray[np.floating[Any]] = scores
    if scale < 1:
        size = (max(1, round(scores.shape[1] * scale)), max(1, round(scores.shape[0] * scale)))
        small = np.asarray(cv2.resize(scores, size, interpolation=cv2.INTER_AREA), np.float32)
    low, high = score_range
    share = np.clip((small - low) / max(high - low, 1e-9), 0, 1)
    levels = np.ceil(share * (_LEVELS - 1)).astype(np.uint8)
    palette, clear = _colors()
    picture = Image.fromarray(levels, "P")
    picture.putpalette(palette)
    with BytesIO() as buffer:
        picture.save(buffer, "PNG", transparency=clear, compress_level=6)
        content = base64.b64encode(buffer.getvalue()).decode()
    write_text_atomic(path, f'defectuneHeat("{name}","data:image/png;base64,{content}");\n')
    return np.asarray(share, np.float32)


@cache
def _colors() -> tuple[bytes, bytes]:
    """Colors of the levels, 3 bytes each, and their opacities: the same for all maps."""
    ramp = np.linspace(0, 255, _LEVELS).astype(np.uint8)
    colors = cv2.applyColorMap(ramp[None], cv2.COLORMAP_INFERNO)[0, :, ::-1]
    # Level 0 alone is clear; the low levels are dark colors, and half clear.
    clear = bytes(min(255, round(90 + 165 * (n / (_LEVELS - 1)) ** 0.5)) if n else 0
                  for n in range(_LEVELS))  # fmt: skip
    return colors.tobytes(), clear
