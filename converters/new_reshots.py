"""Photographs of one part among new images, and between new ones and those that are known.

What is compared, and by which rule, is as in `converters.reshots`: a pair with a new image is found
here exactly where the whole search finds it. Pairs of two known images are left out, and textures
of known images are kept, so that the time follows the new images. Of more than `ALL_PAIRS` images,
all name their candidates, which takes little; only pairs with a new image are compared.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations.files import write_bytes_atomic
from converters.reshots import (
    ALL_PAIRS,
    MIN_IMAGES,
    STANDS_OUT,
    THRESHOLD,
    Reshot,
    common_taken_away,
    textures_of,
    zooms_of,
)
from converters.texture_index import TextureIndex, blank, plain, usual_rank
from converters.turned import turned_pairs

_SIDE: Final = 64
_CHUNK: Final = 512
_SUM_BYTES: Final = 8
_SHA_BYTES: Final = 32
Half = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]


@dataclass
class KnownTextures:
    """Textures by an image's SHA-256; a file that may be removed, and is made again then.

    Attributes:
        path: the file: rows of 32 bytes of digest, the textures in half precision, and 8 bytes of
            the SHA-256 of both.
        layers: textures of an image: the whole, and middle parts.
        of: float16 (layers, 64, 64) by digest.
        changed: there are some that the file lacks.
    """

    path: Path
    layers: int
    of: dict[str, Half] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def open(cls, path: Path, layers: int) -> "KnownTextures":
        """Read the file; one of another form, or cut short, counts as none, and so does a row that
        was changed."""
        known = cls(path, layers)
        size = _SHA_BYTES + 2 * layers * _SIDE * _SIDE + _SUM_BYTES
        if not path.is_file() or path.is_symlink() or path.stat().st_size % size:
            return known
        rows = np.fromfile(path, np.uint8).reshape(-1, size)
        for row in rows:
            # A file of another number of textures an image may have a fitting size.
            if _sum_of(row[:-_SUM_BYTES].tobytes()) == row[-_SUM_BYTES:].tobytes():
                textures = row[_SHA_BYTES:-_SUM_BYTES].view("<f2").reshape(layers, _SIDE, _SIDE)
                known.of[row[:_SHA_BYTES].tobytes().hex()] = textures
        return known

    def get(self, digest: str, path: Path) -> Half:
        """Textures of an image, from the file or the image.

        Raises:
            ImageReadError: it cannot be read.
        """
        if digest not in self.of:
            zooms = zooms_of(0) if self.layers > 1 else ()
            self.of[digest] = np.stack(textures_of(path, zooms)).astype("<f2")
            self.changed = True
        return self.of[digest]

    def save(self, digests: Sequence[str]) -> None:
        """Keep those of some images, if there are new ones."""
        if self.changed:
            rows = [row_of(d, self.of[d]) for d in digests if d in self.of]
            write_bytes_atomic(self.path, b"".join(rows))
            self.changed = False


def row_of(digest: str, textures: Half | Sequence[Floats]) -> bytes:
    """What a file of textures holds of an image."""
    row = bytes.fromhex(digest) + np.asarray(textures, "<f2").tobytes()
    return row + _sum_of(row)


def _sum_of(row: bytes) -> bytes:
    return hashlib.sha256(row).digest()[:_SUM_BYTES]


def layers_of(n: int) -> int:
    """How many textures an image has, among n images."""
    return 1 + len(zooms_of(n))


def find_new_reshots(
    paths: Sequence[Path],
    digests: Sequence[str],
    new: npt.NDArray[np.bool_],
    known: KnownTextures,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reshot]:
    """Find pairs of images that show one part, of which one at least is new.

    Args:
        paths: n images.
        digests: their SHA-256.
        new: bool (n,).
        known: textures that are kept; gets those that were read.
        progress: called with images done and images in all.

    Returns:
        Pairs by first and second index; empty for fewer than `MIN_IMAGES` images.

    Raises:
        ImageReadError: an image that cannot be read.
    """
    n = len(paths)
    if n < MIN_IMAGES or not new.any():
        return []
    looks: list[Half] = []
    for number, (path, digest) in enumerate(zip(paths, digests, strict=True)):
        looks.append(known.get(digest, path))
        if progress is not None:
            progress(number + 1, n)
    if n > ALL_PAIRS:
        index = TextureIndex(n, (_SIDE, _SIDE))
        for number, one in enumerate(looks):
            index.put(number, one[0].astype(np.float32))
        found = index.pairs(threshold=THRESHOLD, stands_out=STANDS_OUT, new=new)
        return [
            Reshot(int(i), int(j), float(score))
            for i, j, score in zip(found.first, found.second, found.correlation, strict=True)
        ]
    return _all_pairs(np.stack(looks).astype(np.float32), new)


def _all_pairs(looks: Floats, new: npt.NDArray[np.bool_]) -> list[Reshot]:
    textures, zoomed = looks[:, 0], [looks[:, k] for k in range(1, looks.shape[1])]
    take_away = common_taken_away(textures)
    empty = blank(textures)

    def own(some: Floats) -> Floats:
        rest = take_away(some)
        rest[empty | plain(np.sqrt((rest.astype(np.float64) ** 2).sum(axis=(1, 2))))] = 0
        return rest

    rest = take_away(textures)
    rest[empty] = 0
    rows = _Rows(rest)
    pairs: dict[tuple[int, int], float] = {}
    for i in np.flatnonzero(new).tolist():
        scores = rows.of(i)
        for j in np.flatnonzero(scores >= THRESHOLD).tolist():
            z = float(np.arctanh(min(scores[j], 1 - 1e-6)))
            # What is usual for a known image takes a whole row: asked where the new one agrees.
            if z - rows.usual(i) >= STANDS_OUT and z - rows.usual(j) >= STANDS_OUT:
                pairs[min(i, j), max(i, j)] = float(scores[j])

    def least(some: npt.NDArray[np.int64]) -> Floats:
        return np.array([np.tanh(rows.usual(int(i)) + STANDS_OUT) for i in some], np.float32)

    more = turned_pairs(
        textures,
        zoomed,
        own,
        threshold=THRESHOLD,
        least=least,
        stands_out=STANDS_OUT,
        known=pairs.keys(),
        new=new,
    )
    return [Reshot(i, j, score) for (i, j), score in sorted((more | pairs).items())]


class _Rows:
    """Rows of the table of all correlations, computed where they are asked for."""

    def __init__(self, textures: Floats) -> None:
        from scipy import fft

        lengths = np.sqrt((textures.astype(np.float64) ** 2).sum(axis=(1, 2)))
        without = plain(lengths)[:, None, None]
        unit = textures / np.where(without[:, 0, 0], 1, lengths)[:, None, None].astype(np.float32)
        self._spectra = fft.rfft2(np.where(without, 0, unit).astype(np.float32))
        self._shape = textures.shape[1:]
        self._usual: dict[int, float] = {}

    def of(self, number: int) -> Floats:
        """Correlations of one image with all, float32 (n,); 0 with itself."""
        from scipy import fft

        scores = np.zeros(len(self._spectra), np.float32)
        for start in range(0, len(scores), _CHUNK):
            product = np.conj(self._spectra[number]) * self._spectra[start : start + _CHUNK]
            surface = fft.irfft2(product, s=self._shape, workers=-1)
            scores[start : start + len(product)] = surface.reshape(len(product), -1).max(axis=1)
        scores[number] = 0
        z = np.arctanh(np.clip(scores, 0, 1 - 1e-6))
        rank = usual_rank(len(scores))
        self._usual[number] = float(-np.partition(-z, rank - 1)[rank - 1])
        return scores

    def usual(self, number: int) -> float:
        """The correlation, as Fisher's z, that is usual for an image."""
        if number not in self._usual:
            self.of(number)
        return self._usual[number]
