"""Finding images of one part that lie turned, mirrored, inverted or cropped in the set.

Every image is laid out in these ways and compared with all others as they are. The magnitude of a
spectrum does not change with a shift, so it names the few that come into question for each way;
only these are correlated over all shifts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

ZOOMS: Final = (0.9, 0.8)
"""Sides of the middle parts that are compared as if they were whole images."""
CANDIDATES: Final = 2
_CHUNK: Final = 256

Floats = npt.NDArray[np.float32]


def ways(textures: Floats, zoomed: Sequence[Floats]) -> Iterator[Floats]:
    """All images laid out in another way, one way after the other.

    Each pair is met from both of its sides, so that a quarter turn one way covers the other.

    Args:
        textures: float32 (n, s, s).
        zoomed: the same of the images' middle parts.
    """
    for mirrored in (False, True):
        laid = textures[:, :, ::-1] if mirrored else textures
        for quarters in range(4):
            if mirrored or quarters in (1, 2):
                yield np.rot90(laid, quarters, axes=(1, 2))
    yield -textures
    yield from zoomed


def turned_pairs(
    textures: Floats,
    zoomed: Sequence[Floats],
    own: Callable[[Floats], Floats],
    *,
    threshold: float,
    least: npt.NDArray[np.float32],
) -> dict[tuple[int, int], float]:
    """Pairs that correlate when one of them is laid out in another way.

    Args:
        textures: float32 (n, s, s), nothing subtracted yet.
        zoomed: the same of the images' middle parts.
        own: takes away what is common to the set; 0 for images that are not compared.
        threshold: least correlation.
        least: float32 (n,), least correlation of each image's pairs, so that they stand out.

    Returns:
        The highest correlation by the pair's indices, the lower one first.
    """
    from scipy import fft

    n, side, _ = textures.shape
    spectra = _spectra(own(textures))
    there = _descriptors(spectra)
    count = min(CANDIDATES, n - 1)
    found: dict[tuple[int, int], float] = {}
    for laid in ways(textures, zoomed):
        other = _spectra(own(np.ascontiguousarray(laid)))
        alike = _descriptors(other) @ there.T
        np.fill_diagonal(alike, -np.inf)
        near = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        first, second = np.repeat(np.arange(n), count), near.ravel()
        for start in range(0, len(first), _CHUNK):
            one, two = first[start : start + _CHUNK], second[start : start + _CHUNK]
            surface = fft.irfft2(np.conj(other[one]) * spectra[two], s=(side, side), workers=-1)
            scores = surface.reshape(len(one), -1).max(axis=1)
            high = (scores >= threshold) & (scores >= np.maximum(least[one], least[two]))
            for i, j, score in zip(one[high], two[high], scores[high], strict=True):
                pair = (int(min(i, j)), int(max(i, j)))
                found[pair] = max(found.get(pair, 0.0), float(score))
    return found


def _spectra(textures: Floats) -> npt.NDArray[np.complex64]:
    """Of unit length; 0 where there is no texture."""
    from scipy import fft

    lengths = np.sqrt((textures.astype(np.float64) ** 2).sum(axis=(1, 2)))
    unit = textures / np.where(lengths > 0, lengths, 1)[:, None, None]
    return np.asarray(fft.rfft2(unit.astype(np.float32), workers=-1), np.complex64)


def _descriptors(spectra: npt.NDArray[np.complex64]) -> Floats:
    known = np.abs(spectra).reshape(len(spectra), -1).astype(np.float32)
    known -= known.mean(axis=0)
    known /= np.linalg.norm(known, axis=1, keepdims=True) + 1e-12
    return known
