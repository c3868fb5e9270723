"""Finding photographs of one physical part by their fine texture.

Exact duplicates are found by their bytes; a part that was shot again, brighter, darker or a
little shifted, is not. Here two images count as shots of one part where their texture, band-pass
filtered, contrast-normalized and freed of what most images of the set share, correlates at some
shift, and far more than either correlates with others. Overall looks do not count: aligned parts
of one product all look alike. A shot may also be mirrored, turned by quarters, a negative, or a
crop of some nine or eight tenths (see `converters.turned`). A part is not found of which a
twentieth of all images (or more than 15) are shots. Parts without any grain, smooth shapes that
lie now here and now there, may be grouped by chance: that costs a fold some variety, where a
missed shot would cost the verdict its honesty.

Up to `ALL_PAIRS` images, every two are compared; of more, each with its candidates only (see
`converters.texture_index`), so that hours become minutes. A part with more shots than an image
has candidates (32) may then fall into several groups, and only shots that lie as the other does are
found.
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
from converters.turned import ZOOMS, turned_pairs

THRESHOLD: Final = 0.7
STANDS_OUT: Final = 0.6
"""How far a correlation must lie above what is usual for both images, as Fisher's z (artanh)."""
MIN_IMAGES: Final = 20
"""With fewer, what all images share cannot be told from what two of them share."""
ALL_PAIRS: Final = 2000
"""With more images, not every pair is compared."""
_SIDE: Final = 64
_FINE, _COARSE = 0.7, 3.0
_LEARNED_FROM: Final = 1000
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
    keep: Callable[[int, Sequence[npt.NDArray[np.float32]]], None] | None = None,
) -> list[Reshot]:
    """Find pairs of images that show one part.

    Args:
        paths: n images.
        threshold: least correlation.
        progress: called with images done and images in all, once while reading and once while
            comparing each.
        keep: called with an image's index and its textures, as `textures_of` gives them.

    Returns:
        Pairs by first and second index; empty for fewer than `MIN_IMAGES` images.

    Raises:
        ImageReadError: an image that cannot be read.
    """
    n = len(paths)
    if n < MIN_IMAGES:
        return []

    zooms = zooms_of(n)
    zoomed = [np.zeros((n, _SIDE, _SIDE), np.float32) for _ in zooms]

    def read() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for number, path in enumerate(paths):
            whole, *parts = textures = textures_of(path, zooms)
            if keep is not None:
                keep(number, textures)
            yield number, whole
            for part, kept in zip(parts, zoomed, strict=True):
                kept[number] = part
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
    take_away = common_taken_away(textures)
    empty = blank(textures)

    def own(some: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        rest = take_away(some)
        rest[empty | plain(np.sqrt((rest.astype(np.float64) ** 2).sum(axis=(1, 2))))] = 0
        return rest

    rest = take_away(textures)
    rest[empty] = 0
    scores = correlations(rest, progress=compared)
    pairs = {(r.first, r.second): r.correlation for r in standing_out(scores, threshold=threshold)}
    least: npt.NDArray[np.float32] = np.tanh(usual(scores) + STANDS_OUT).astype(np.float32)
    more = turned_pairs(
        textures,
        zoomed,
        own,
        threshold=threshold,
        least=lambda some: least[some],
        stands_out=STANDS_OUT,
        known=pairs.keys(),
    )
    return [Reshot(i, j, score) for (i, j), score in sorted((more | pairs).items())]


def zooms_of(n: int) -> tuple[float, ...]:
    """The middle parts that are compared among n images, besides the images themselves."""
    return ZOOMS if n <= ALL_PAIRS else ()


def textures_of(path: Path, zooms: Sequence[float]) -> list[npt.NDArray[np.float32]]:
    """Textures of an image and of its middle parts, float32 (64, 64) each.

    Their values are those of half precision, in which textures are kept: an update, which compares
    kept ones, finds what a conversion finds.

    Raises:
        ImageReadError: it cannot be read.
    """
    gray = np.asarray(cv2.cvtColor(read_image_rgb(path), cv2.COLOR_RGB2GRAY), np.uint8)
    small = _shrunk(gray) if zooms else gray
    textures = [texture(gray), *(texture(middle(small, zoom)) for zoom in zooms)]
    return [one.astype(np.float16).astype(np.float32) for one in textures]


def _shrunk(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image, where it is large, at a size that its texture is cut from in no time."""
    scale = 4 * _SIDE / max(gray.shape)
    if scale >= 1:
        return gray
    wide, high = (max(1, round(scale * side)) for side in gray.shape[::-1])
    return np.asarray(cv2.resize(gray, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)


def middle(gray: npt.NDArray[np.uint8], share: float) -> npt.NDArray[np.uint8]:
    """The middle of an image, with so large a share of its height and width."""
    high, wide = (max(1, round(share * side)) for side in gray.shape)
    top, left = (gray.shape[0] - high) // 2, (gray.shape[1] - wide) // 2
    return gray[top : top + high, left : left + wide]


def texture(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """An image's fine texture at a small size.

    Args:
        gray: uint8 (H, W).

    Returns:
        float32 (64, 64), the longer side filled, zeros beside it; contrast is evened out, so that
        exposure does not count, and faded toward the borders, where shifts cut.
    """
    scale = _SIDE / max(gray.shape)
    wide, high = (max(1, round(side * scale)) for side in gray.shape[::-1])
    values = gray.astype(np.float32)
    small = np.asarray(cv2.resize(values, (wide, high), interpolation=cv2.INTER_AREA), np.float32)
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
    return common_taken_away(textures)(textures)


def common_taken_away(
    textures: npt.NDArray[np.float32],
) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """What takes away from any textures what is common to these; see `without_what_is_common`."""
    n = len(textures)
    mean = textures.mean(axis=0).ravel()
    flat = textures.reshape(n, -1) - mean
    axes = common_directions(flat[:: -(-n // _LEARNED_FROM)], n)

    def take_away(some: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        flat = some.reshape(len(some), -1) - mean
        flat = flat - (flat @ axes) @ axes.T
        return np.asarray(flat.reshape(some.shape), np.float32)

    return take_away


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
    scores = correlations(textures, progress=progress)
    return standing_out(scores, threshold=threshold, stands_out=stands_out)


def usual(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The correlation, as Fisher's z, that is usual for each image; float32 (n,) of (n, n)."""
    z = np.arctanh(np.clip(scores, 0, 1 - 1e-6))
    rank = usual_rank(len(scores))
    return np.asarray(-np.partition(-z, rank - 1, axis=1)[:, rank - 1], np.float32)


def standing_out(
    scores: npt.NDArray[np.float32], *, threshold: float, stands_out: float = STANDS_OUT
) -> list[Reshot]:
    """Pairs that `correlated` gives, of correlations float32 (n, n)."""
    z = np.arctanh(np.clip(scores, 0, 1 - 1e-6))
    level = usual(scores)
    high = np.triu(scores >= threshold, 1)
    return [
        Reshot(int(i), int(j), float(scores[i, j]))
        for i, j in zip(*np.nonzero(high), strict=True)
        if z[i, j] - max(level[i], level[j]) >= stands_out
    ]


def correlations(
    textures: npt.NDArray[np.float32], *, progress: Callable[[int, int], None] | None = None
) -> npt.NDArray[np.float32]:
    """Highest normalized correlation over all cyclic shifts of every two pictures.

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
