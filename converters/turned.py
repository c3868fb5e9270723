"""Finding images of one part that lie turned, mirrored, inverted or cropped in the set.

Every image is laid out in these ways and compared with all others as they are. The magnitude of a
spectrum does not change with a shift, so it names the few that come into question for each way;
only these are correlated over all shifts.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

ZOOMS: Final = (0.9, 0.8)
"""Sides of the middle parts that are compared as if they were whole images."""
CANDIDATES: Final = 2
TURNED: Final = 0.95
"""Least correlation of what is mirrored, turned or a negative: copies that a program made agree so
well, while parts without grain agree by chance more often the more ways they are laid out in."""
_TURNS: Final = 7
"""Ways that come before those of the zooms."""
_CHUNK: Final = 256
_SAMPLE: Final = 128
_USUAL_RANK: Final = 3

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
    least: Callable[[npt.NDArray[np.int64]], Floats],
    stands_out: float,
    known: Collection[tuple[int, int]] = (),
    new: npt.NDArray[np.bool_] | None = None,
) -> dict[tuple[int, int], float]:
    """Pairs that correlate when one of them is laid out in another way.

    Args:
        textures: float32 (n, s, s), nothing subtracted yet.
        zoomed: the same of the images' middle parts.
        own: takes away what is common to the set; 0 for images that are not compared.
        threshold: least correlation.
        least: gives, of some images' numbers, the least correlation of their pairs, float32, so
            that they stand out.
        stands_out: how far above what is usual for the two, laid out so, as Fisher's z.
        known: pairs that need no other way.
        new: bool (n,), images of which one at least is in every pair; None for all.

    Returns:
        The highest correlation by the pair's indices, the lower one first.
    """
    from scipy import fft

    n, side, _ = textures.shape
    spectra = _spectra(own(textures))
    there = _descriptors(spectra)
    count = min(CANDIDATES, n - 1)
    found: dict[tuple[int, int], float] = {}
    for number, laid in enumerate(ways(textures, zoomed)):
        least_here = threshold if number >= _TURNS else max(threshold, TURNED)
        other = _spectra(own(np.ascontiguousarray(laid)))
        alike = _descriptors(other) @ there.T
        np.fill_diagonal(alike, -np.inf)
        near = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        first, second = np.repeat(np.arange(n), count), near.ravel()
        if new is not None:
            some = new[first] | new[second]
            first, second = first[some], second[some]
        for start in range(0, len(first), _CHUNK):
            one, two = first[start : start + _CHUNK], second[start : start + _CHUNK]
            surface = fft.irfft2(np.conj(other[one]) * spectra[two], s=(side, side), workers=-1)
            scores = surface.reshape(len(one), -1).max(axis=1)
            high = scores >= least_here
            # A new image is asked first: what others need may have to be computed.
            swap = np.zeros(len(one), np.bool_) if new is None else ~new[one]
            for asked in (np.where(swap, two, one), np.where(swap, one, two)):
                high[high] = scores[high] >= least(asked[high])
            for i, j, score in zip(one[high], two[high], scores[high], strict=True):
                if (int(min(i, j)), int(max(i, j))) in known:
                    continue
                level = max(
                    _usual(other[i], spectra, side, (i, j)), _usual(spectra[j], other, side, (i, j))
                )
                if np.arctanh(min(score, 1 - 1e-6)) - level < stands_out:
                    continue
                pair = (int(min(i, j)), int(max(i, j)))
                found[pair] = max(found.get(pair, 0.0), float(score))
    return found


def _usual(
    one: npt.NDArray[np.complex64],
    others: npt.NDArray[np.complex64],
    side: int,
    but: tuple[int, int],
) -> float:
    """What is usual for a picture among others laid out otherwise: parts that are symmetric, or
    have no grain, correlate with many of them."""
    from scipy import fft

    picked = np.unique(np.linspace(0, len(others) - 1, _SAMPLE).astype(int))
    picked = picked[~np.isin(picked, but)]
    surface = fft.irfft2(np.conj(one) * others[picked], s=(side, side), workers=-1)
    scores = np.clip(surface.reshape(len(picked), -1).max(axis=1), 0, 1 - 1e-6)
    rank = min(_USUAL_RANK, len(picked))
    return float(np.arctanh(-np.partition(-scores, rank - 1)[rank - 1]))


def _spectra(textures: Floats) -> npt.NDArray[np.complex64]:
    """Spectra of textures, scaled to unit length; 0 where there is no texture."""
    from scipy import fft

    lengths = np.sqrt((textures.astype(np.float64) ** 2).sum(axis=(1, 2)))
    unit = textures / np.where(lengths > 0, lengths, 1)[:, None, None]
    return np.asarray(fft.rfft2(unit.astype(np.float32), workers=-1), np.complex64)


def _descriptors(spectra: npt.NDArray[np.complex64]) -> Floats:
    known = np.abs(spectra).reshape(len(spectra), -1).astype(np.float32)
    known -= known.mean(axis=0)
    known /= np.linalg.norm(known, axis=1, keepdims=True) + 1e-12
    return known
