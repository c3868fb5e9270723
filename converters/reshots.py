"""Finding photographs of one physical part by their fine texture.

Exact duplicates are found by their bytes; a part that was shot again, brighter, darker or a
little shifted, is not. Here two images count as shots of one part where their texture, band-pass
filtered, contrast-normalised and freed of what most images of the set share, correlates at some
shift, and far more than either correlates with others. Overall looks do not count: aligned parts
of one product all look alike. Turned or mirrored shots are not found, nor a part of which a
twentieth of all images (or more than 15) are shots. Parts without any grain, smooth shapes that
lie now here and now there, may be grouped by chance: that costs a fold some variety, where a
missed shot would cost the verdict its honesty.

Up to `ALL_PAIRS` images, every two are compared; of more, each with its candidates only (see
`converters.texture_index`), so that hours become minutes. A part with more shots than an image
has candidates (32) may then fall into several groups.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations.images import read_image_rgb
from converters.texture_index import TextureIndex, blank, common_directions, plain, usual_rank

THRESHOLD: Final = 0.7
STANDS_OUT: Final = 0.6
"""How far a correlation must lie above what is usual for both images, as Fisher's z (artanh)."""
MIN_IMAGES: Final = 20
"""With fewer, what all images share cannot be told from what two of them share."""
ALL_PAIRS: Final = 2000
"""Of more images, not every two are compared."""
_SIDE: Final = 64
_FINE, _COARSE = 0.7, 3.0
_LEARNT_FROM: Final = 1000
_CHUNK: Final = 512


@dataclass(frozen=True, slots=True)
class Reshot:
    """Two images of one part.

    Attributes:
        first: index of an image.
        second: index of a later one.
        correlation: of their textures, up to 1.
    """

    first: int
    second: int
    correlation: float


def find_reshots(
    paths: Sequence[Path],
    *,
    threshold: float = THRESHOLD,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reshot]:
    """Find pairs of images that show one part.

    Args:
        paths: n images.
        threshold: least correlation.
        progress: called with images done and images in all, once while reading and once while
            comparing each.

    Returns:
        Pairs by first and second index; empty for fewer than `MIN_IMAGES` images.

    Raises:
        ImageReadError: an image that cannot be read.
    """
    n = len(paths)
    if n < MIN_IMAGES:
        return []

    def read() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for number, path in enumerate(paths):
            yield number, texture(read_image_rgb(path))
            if progress is not None:
                progress(number + 1, 2 * n)

    compared = None if progress is None else lambda done, _: progress(n + done, 2 * n)
    if n > ALL_PAIRS:
        index = TextureIndex(n, (_SIDE, _SIDE))
        for number, one in read():
            index.put(number, one)
        found = index.pairs(threshold=threshold, stands_out=STANDS_OUT, progress=compared)
        return [
            Reshot(int(i), int(j), float(score))
            for i, j, score in zip(found.first, found.second, found.correlation, strict=True)
        ]
    textures = np.zeros((n, _SIDE, _SIDE), np.float32)
    for number, one in read():
        textures[number] = one
    own = without_what_is_common(textures)
    own[blank(textures)] = 0
    return correlated(own, threshold=threshold, progress=compared)


def texture(image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """An image's fine texture at a small size.

    Args:
        image_rgb: uint8 (H, W, 3).

    Returns:
        float32 (64, 64), the longer side filled, zeros beside it; contrast is evened out, so that
        exposure does not count, and faded towards the borders, where shifts cut.
    """
    grey = np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), np.float32)
    scale = _SIDE / max(grey.shape)
    wide, high = (max(1, round(side * scale)) for side in grey.shape[::-1])
    small = np.asarray(cv2.resize(grey, (wide, high), interpolation=cv2.INTER_AREA), np.float32)
    band = cv2.GaussianBlur(small, (0, 0), _FINE) - cv2.GaussianBlur(small, (0, 0), _COARSE)
    contrast = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 2 * _COARSE)) + 1
    band = np.clip(band / contrast, -3, 3)
    fade = np.sqrt(np.outer(np.hanning(high + 2)[1:-1], np.hanning(wide + 2)[1:-1]))
    out = np.zeros((_SIDE, _SIDE), np.float32)
    out[:high, :wide] = (band - band.mean()) * fade
    return out


def without_what_is_common(textures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Take away the mean texture and the few directions in which most of all images differ.

    Args:
        textures: float32 (n, h, w).

    Returns:
        The same shape. Of few images only the mean is taken away: their directions are the very
        pairs that are looked for.
    """
    n = len(textures)
    flat = textures.reshape(n, -1) - textures.mean(axis=0).ravel()
    axes = common_directions(flat[:: -(-n // _LEARNT_FROM)], n)
    flat = flat - (flat @ axes) @ axes.T
    return np.asarray(flat.reshape(textures.shape), np.float32)


def correlated(
    textures: npt.NDArray[np.float32],
    *,
    threshold: float,
    stands_out: float = STANDS_OUT,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reshot]:
    """Pairs whose highest correlation over all cyclic shifts is high and stands out.

    Args:
        textures: float32 (n, h, w).
        threshold: from 0 to 1.
        stands_out: how far above the usual, as Fisher's z. Usual for an image is its 15th highest
            correlation, of many images that of a twentieth of them, of few that of a quarter.
        progress: called with images done and images in all.
    """
    n = len(textures)
    scores = correlations(textures, progress=progress)
    z = np.arctanh(np.clip(scores, 0, 1 - 1e-6))
    rank = usual_rank(n)
    usual = -np.partition(-z, rank - 1, axis=1)[:, rank - 1]
    high = np.triu(scores >= threshold, 1)
    return [
        Reshot(int(i), int(j), float(scores[i, j]))
        for i, j in zip(*np.nonzero(high), strict=True)
        if z[i, j] - max(usual[i], usual[j]) >= stands_out
    ]


def correlations(
    textures: npt.NDArray[np.float32], *, progress: Callable[[int, int], None] | None = None
) -> npt.NDArray[np.float32]:
    """Highest normalised correlation over all cyclic shifts of every two pictures.

    Args:
        textures: float32 (n, h, w).
        progress: called with images done and images in all.

    Returns:
        float32 (n, n), symmetric, 0 on the diagonal and for pictures without texture.
    """
    from scipy import fft

    n, height, width = textures.shape
    lengths = np.sqrt((textures.astype(np.float64) ** 2).sum(axis=(1, 2)))
    without = plain(lengths)
    unit = textures / np.where(without, 1, lengths)[:, None, None].astype(np.float32)
    spectra = fft.rfft2(np.where(without[:, None, None], 0, unit).astype(np.float32))
    scores = np.zeros((n, n), np.float32)
    for first in range(n):
        for start in range(first + 1, n, _CHUNK):
            product = np.conj(spectra[first]) * spectra[start : start + _CHUNK]
            surface = fft.irfft2(product, s=(height, width), workers=-1)
            scores[first, start : start + len(product)] = surface.reshape(len(product), -1).max(
                axis=1
            )
        if progress is not None:
            progress(first + 1, n)
    return np.asarray(scores + scores.T, np.float32)
