"""Comparing textures of many images without comparing every two of them.

The magnitude of a picture's spectrum does not change when the picture is shifted cyclically. So
shots of one part, shifted against each other, lie near one another by their magnitudes. Those,
reduced to their principal components, name the few candidates of every image; only these are
correlated over all shifts. Spectra are held in half precision, 8.4 KB an image, and read in
chunks: no array of n by n is ever made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

CANDIDATES: Final = 32
"""Images that each image is correlated with, besides those whose candidate it is."""
_COMPONENTS: Final = 256
_LEARNED_FROM: Final = 2000
_SAMPLE: Final = 400
_BLOCK: Final = 128
_CHUNK: Final = 256
_COMMON: Final = 4
_IMAGES_A_COMPONENT: Final = 50
_USUAL_RANK: Final = 15
_USUAL_SHARE: Final = 20
_PLAIN: Final = 0.05
_BLANK: Final = 1e-3
"""One gray level makes a few tenths; rounding, in a picture of one color, a few millionths."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of images, ordered by first and second.

    Attributes:
        first: int64 (m,).
        second: int64 (m,), each greater than the first.
        correlation: float32 (m,).
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    correlation: Floats


def usual_rank(n: int) -> int:
    """The rank of the correlation that is usual for an image, among those with n images."""
    return min(max(_USUAL_RANK, n // _USUAL_SHARE), max(1, n // 4))


def common_directions(centered: Floats, n: int) -> Floats:
    """The few directions in which most of all images differ.

    Args:
        centered: float32 (m, d), textures of some images less the mean texture.
        n: how many images there are in all.

    Returns:
        float32 (d, c), orthonormal; c is 0 of few images.
    """
    count = min(_COMMON, n // _IMAGES_A_COMPONENT)
    if not count:
        return np.zeros((centered.shape[1], 0), np.float32)
    axes = _largest((centered @ centered.T).astype(np.float64), count).T @ centered
    return np.asarray(np.linalg.qr(axes.T)[0], np.float32)


def _largest(symmetric: npt.NDArray[np.float64], count: int) -> Floats:
    """Eigenvectors of the largest eigenvalues, float32 (n, count or n); no others are computed."""
    from scipy.linalg import eigh

    n = len(symmetric)
    _, vectors = eigh(symmetric, subset_by_index=[max(0, n - count), n - 1])
    return np.asarray(vectors, np.float32)


def plain(lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which textures are none: such an image correlates by its noise."""
    return np.asarray(lengths < _PLAIN * np.median(lengths) + 1e-9)


def blank(textures: Floats) -> npt.NDArray[np.bool_]:
    """Which textures are of pictures of one color.

    Less what is common, these would all be its negative, and so alike.

    Args:
        textures: float32 (n, h, w), nothing subtracted yet.
    """
    return np.asarray(np.abs(textures).max(axis=(1, 2)) < _BLANK)


class TextureIndex:
    """Textures of many images, and which of them correlate.

    Args:
        n: how many images, at least 2.
        shape: height and width of a texture; the width is even.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> index = TextureIndex(40, (16, 16))
        >>> textures = rng.normal(size=(40, 16, 16)).astype(np.float32)
        >>> textures[30] = np.roll(textures[4], (3, -2), axis=(0, 1))
        >>> for number, texture in enumerate(textures):
        ...     index.put(number, texture)
        >>> found = index.pairs(threshold=0.7, stands_out=0.6)
        >>> list(zip(found.first.tolist(), found.second.tolist()))
        [(4, 30)]
    """

    def __init__(self, n: int, shape: tuple[int, int]) -> None:
        self._n = n
        self._height, self._width = shape
        self._columns = self._width // 2 + 1
        # A row holds a texture first, its spectrum in the end: real parts, then imaginary ones.
        self._rows = np.zeros((n, 2 * self._height * self._columns), np.float16)
        self._digests = np.zeros(n, np.uint64)
        self._blank = np.zeros(n, np.bool_)
        self._compared = False

    def put(self, number: int, texture: Floats) -> None:
        """Take in one texture, float32 (height, width)."""
        row = texture.astype(np.float16).ravel()
        self._rows[number, : row.size] = row
        self._blank[number] = blank(texture[None])[0]
        digest = blake2b(row.tobytes(), digest_size=8).digest()
        self._digests[number] = int.from_bytes(digest, "little")

    def pairs(
        self,
        *,
        threshold: float,
        stands_out: float,
        candidates: int | None = None,
        new: npt.NDArray[np.bool_] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Pairs:
        """Pairs whose highest correlation over all cyclic shifts is high and stands out.

        To be called once, after all textures were put in: they become spectra in place. What is
        usual for an image is told from its correlations with a sample of 400 images. Samples are
        drawn by what the textures hold, so that neither a seed nor the order counts.

        Args:
            threshold: from 0 to 1.
            stands_out: see `converters.reshots.correlated`.
            candidates: how many an image has; None for `CANDIDATES`.
            new: bool (n,), images of which one at least is in every pair; None for all. The pairs
                are those of all that have one: known images name their candidates too, since a
                new one may be among them that does not name them.
            progress: called with images done and images in all.

        Raises:
            RuntimeError: called before.
        """
        if self._compared:
            raise RuntimeError("The textures of this index were compared already.")
        self._compared = True
        # Of equal textures one is drawn: many copies of one image must not fill the sample.
        _, drawn = np.unique(self._digests, return_index=True)
        descriptors = self._transform(drawn[:_LEARNED_FROM])
        sample = drawn[:_SAMPLE]
        sampled = self._spectra(sample)
        usual = np.full(self._n, np.nan, np.float32)
        count = min(CANDIDATES if candidates is None else candidates, self._n - 1)
        near = np.full((self._n, count), -1, np.int32)
        found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]] = []
        for start in range(0, self._n, _BLOCK):
            block = np.arange(start, min(start + _BLOCK, self._n))
            near[block] = _nearest(descriptors, block, count)
            first, second = _not_yet_compared(near, block)
            if new is not None:
                some = new[first] | new[second]
                first, second = first[some], second[some]
                # What is usual takes hundreds of comparisons: a new image is asked first, and a
                # known one only where the new one agrees.
                first, second = (
                    np.where(new[first], first, second),
                    np.where(new[first], second, first),
                )
            scores = self._correlations(first, second)
            high = scores >= threshold
            for asked in (first, second):
                for number in np.unique(asked[high & np.isnan(usual[asked])]):
                    usual[number] = self._usual(int(number), sample, sampled)
                high &= _fisher(scores) - usual[asked] >= stands_out
            found.append((first[high], second[high], scores[high]))
            if progress is not None:
                for number in block.tolist():
                    progress(number + 1, self._n)
        one, other, score = (np.concatenate(part) for part in zip(*found, strict=True))
        low, up = np.minimum(one, other), np.maximum(one, other)
        order = np.lexsort((up, low))
        return Pairs(low[order], up[order], score[order])

    def _transform(self, learned_from: npt.NDArray[np.int64]) -> Floats:
        """Make spectra of unit length of the textures; return descriptors, float32 (n, c)."""
        from scipy import fft

        size = self._height * self._width
        total = np.zeros(size)
        for start in range(0, self._n, _CHUNK):
            total += self._rows[start : start + _CHUNK, :size].sum(axis=0, dtype=np.float64)
        mean = (total / self._n).astype(np.float32)
        part = self._rows[learned_from, :size].astype(np.float32) - mean
        axes = common_directions(part, self._n)

        def own(rows: npt.NDArray[np.float16]) -> Floats:
            flat = rows[:, :size].astype(np.float32) - mean
            return np.asarray(flat - (flat @ axes) @ axes.T, np.float32)

        lengths = np.zeros(self._n)
        for start in range(0, self._n, _CHUNK):
            some = own(self._rows[start : start + _CHUNK]).astype(np.float64)
            lengths[start : start + _CHUNK] = np.sqrt((some**2).sum(axis=1))
        without = plain(lengths) | self._blank
        for start in range(0, self._n, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            unit = (
                own(self._rows[chunk]) / np.where(without[chunk], np.inf, lengths[chunk])[:, None]
            )
            spectra = fft.rfft2(
                unit.astype(np.float32).reshape(-1, self._height, self._width), workers=-1
            )
            half = self._rows.shape[1] // 2
            self._rows[chunk, :half] = spectra.real.reshape(len(unit), -1)
            self._rows[chunk, half:] = spectra.imag.reshape(len(unit), -1)
        return self._descriptors(learned_from[~without[learned_from]], without)

    def _descriptors(
        self, learned_from: npt.NDArray[np.int64], without: npt.NDArray[np.bool_]
    ) -> Floats:
        if not len(learned_from):
            return np.zeros((self._n, 1), np.float32)
        known = self._magnitudes(learned_from)
        mean = known.mean(axis=0)
        count = min(_COMPONENTS, len(known))
        axes = _largest(np.cov(known - mean, rowvar=False), count)
        out = np.zeros((self._n, axes.shape[1]), np.float32)
        for start in range(0, self._n, _CHUNK):
            numbers = np.arange(start, min(start + _CHUNK, self._n))
            some = (self._magnitudes(numbers) - mean) @ axes
            some /= np.linalg.norm(some, axis=1, keepdims=True) + 1e-12
            out[numbers] = np.where(without[numbers, None], 0, some)
        return out

    def _magnitudes(self, numbers: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(np.abs(self._spectra(numbers)).reshape(len(numbers), -1), np.float32)

    def _spectra(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.complex64]:
        """complex64 (m, height, columns)."""
        half = self._rows.shape[1] // 2
        out = np.empty((len(numbers), self._height, self._columns), np.complex64)
        rows = self._rows[numbers]
        out.real = rows[:, :half].reshape(out.shape)
        out.imag = rows[:, half:].reshape(out.shape)
        return out

    def _correlations(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Floats:
        scores = np.zeros(len(first), np.float32)
        for start in range(0, len(first), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            numbers, where = np.unique(first[chunk], return_inverse=True)
            product = np.conj(self._spectra(numbers))[where] * self._spectra(second[chunk])
            scores[chunk] = self._highest(product)
        return scores

    def _usual(
        self,
        number: int,
        sample: npt.NDArray[np.int64],
        sampled: npt.NDArray[np.complex64],
    ) -> float:
        scores = self._highest(np.conj(self._spectra(np.array([number]))) * sampled)
        scores[sample == number] = 0
        rank = usual_rank(len(sample))
        return float(-np.partition(-_fisher(scores), rank - 1)[rank - 1])

    def _highest(self, product: npt.NDArray[np.complex64]) -> Floats:
        from scipy import fft

        surface = fft.irfft2(product, s=(self._height, self._width), workers=-1)
        return np.asarray(surface.reshape(len(product), -1).max(axis=1), np.float32)


def _fisher(scores: Floats) -> Floats:
    return np.asarray(np.arctanh(np.clip(scores, 0, 1 - 1e-6)), np.float32)


def _nearest(
    descriptors: Floats, block: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int32]:
    """The nearest others of each of some images, int32 (len(block), count)."""
    alike = descriptors[block] @ descriptors.T
    alike[np.arange(len(block)), block] = -np.inf
    np.negative(alike, out=alike)
    return np.argpartition(alike, count - 1, axis=1)[:, :count].astype(np.int32)


def _not_yet_compared(
    near: npt.NDArray[np.int32], block: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of images of a block and their candidates, less those that were compared before."""
    first = np.repeat(block, near.shape[1])
    second = near[block].ravel().astype(np.int64)
    # An earlier image compared the pair already where this one is among its candidates.
    again = (second < first) & (near[second] == first[:, None]).any(axis=1)
    return first[~again], second[~again]
