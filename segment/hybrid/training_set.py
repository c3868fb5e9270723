"""Training images as the heads see them: features, and what is known of each place of the map."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from annotations import LabelStrength, Sample
from inference.images import fitted_hw, normalized
from inference.tiling import tile_windows, tiled_hw
from inference.views import view_of
from segment.hybrid.cache import CACHE_FOLDER, FeatureCache, views_that_fit
from segment.hybrid.config import HybridConfig
from segment.hybrid.pieces import UNKNOWN, Bag, Piece, pieces_of
from segment.hybrid.predict import HybridNetwork
from training import FoldJob

VIEWS_AT_ONCE: Final = 4
"""Views of one image that the frozen network sees at once. They are always the same ones: what a
network says of an image depends, in the last bits, on what it is shown with it."""


@dataclass(frozen=True, slots=True)
class Example:
    """One piece of an image.

    Attributes:
        image_id: of the image.
        group: the physical part that the image shows.
        strength: of the image's label.
        hw: height and width in pixels of the network.
        classes: uint8 (h, w) at the map's stride: 0 good, label + 1, `pieces.UNKNOWN`.
        bags: what else is known of places of the map.
        is_defective: whether it shows, or may show, a defect.
        paths: of the features of each view; empty where they are not kept.
        image_rgb: uint8 (h, w, 3), where features are not kept.
    """

    image_id: str
    group: str
    strength: LabelStrength
    hw: tuple[int, int]
    classes: npt.NDArray[np.uint8]
    bags: tuple[Bag, ...]
    is_defective: bool
    paths: tuple[Path, ...]
    image_rgb: npt.NDArray[np.uint8] | None

    @property
    def teaches(self) -> bool:
        """False of a tile that holds a corner of a box: nobody knows what is in it."""
        return not self.is_defective or bool(self.bags) or bool((self.classes % UNKNOWN).any())


class TrainingSet:
    """Pieces of training images with their features.

    Attributes:
        examples: all pieces, those of an image beside each other.
        views: of each piece.
        cache: of features, or None where nothing is kept.
    """

    def __init__(
        self,
        job: FoldJob,
        config: HybridConfig,
        network: HybridNetwork,
        samples: Sequence[Sample],
        *,
        tiles: int,
    ) -> None:
        """Compute, or find, the features of all images; see `pieces.pieces_of` for the rest.

        Raises:
            TrainingError: a full disk.
        """
        self._network, self._config, self._job = network.features, config, job
        self._tiles = tiles
        sizes = [
            self._network.size(hw)
            for sample in samples
            for hw in _piece_sizes(sample, config.image_size, tiles)
        ]
        views = views_that_fit(sizes, config.cached_views, config.cache_gb)
        if views < config.cached_views:
            needed = 2e-9 * config.cached_views * sum(sizes)
            job.reporter.say(
                f"Features of {config.cached_views} views need {needed:.1f} GB, and cache_gb "
                f"allows {config.cache_gb:g}: {views or 'none'} of them kept."
            )
        self.views = views or config.cached_views
        self.cache: FeatureCache | None = None
        if views:
            folder = job.dataset.root / CACHE_FOLDER
            self.cache = FeatureCache(folder, self._network, encoder=config.encoder)
        advance = job.reporter.track(
            f"{job.folder.parent.name}: fold {job.fold}, features", len(samples)
        )
        self.examples: list[Example] = []
        for sample in samples:
            for piece in pieces_of(job.dataset, sample, size=config.image_size, tiles=tiles):
                self.examples.append(self._example(piece))
            advance("")
        if self.cache is not None:
            self.cache.trim(config.cache_gb, kept={p for e in self.examples for p in e.paths})

    def _example(self, piece: Piece) -> Example:
        stride = self._config.stride
        return Example(
            image_id=piece.image_id,
            group=piece.group,
            strength=piece.strength,
            hw=piece.hw,
            classes=piece.classes(stride, len(self._job.dataset.class_names)),
            bags=tuple(piece.bags(stride)),
            is_defective=piece.is_defective,
            paths=self._filled(piece.image_rgb) if self.cache is not None else (),
            image_rgb=None if self.cache is not None else piece.image_rgb,
        )

    def _filled(self, image_rgb: npt.NDArray[np.uint8]) -> tuple[Path, ...]:
        """Where the features of all views stand, which are computed unless they are there."""
        cache = self.cache
        if cache is None:
            return ()
        paths: list[Path] = []
        for start in range(0, self.views, VIEWS_AT_ONCE):
            numbers = range(start, min(start + VIEWS_AT_ONCE, self.views))
            batch = [self._planes(image_rgb, number) for number in numbers]
            hw = (batch[0].shape[1], batch[0].shape[2])
            here = [cache.path(planes) for planes in batch]
            if all(cache.read(path, hw) is not None for path in here):
                for path in here:
                    os.utime(path)
            else:
                levels = self._levels(np.stack(batch))
                for number, path in enumerate(here):
                    cache.write(path, [level[number] for level in levels])
            paths += here
        return tuple(paths)

    def _planes(self, image_rgb: npt.NDArray[np.uint8], view: int) -> npt.NDArray[np.float32]:
        shown = np.ascontiguousarray(view_of(image_rgb, view))
        return normalized(shown, *self._network.backbone.normalization)

    @torch.inference_mode()
    def _levels(self, batch: npt.NDArray[np.float32]) -> list[torch.Tensor]:
        device = next(self._network.parameters()).device
        return [level.cpu() for level in self._network.levels(torch.from_numpy(batch).to(device))]

    def features(self, number: int, view: int) -> list[torch.Tensor]:
        """Levels float32 (channels, h, w) of a view of one piece."""
        example = self.examples[number]
        hw = example.hw if view < VIEWS_AT_ONCE else example.hw[::-1]
        if self.cache is not None:
            kept = self.cache.read(example.paths[view], hw)
            if kept is not None:
                return kept
        image = example.image_rgb
        if image is None:
            image = self._image_again(number)
        # A copy, since tensors made in inference mode may not be trained on.
        return [level[0].clone() for level in self._levels(self._planes(image, view)[None])]

    def _image_again(self, number: int) -> npt.NDArray[np.uint8]:
        """The pixels of a piece whose features somebody removed meanwhile."""
        image_id = self.examples[number].image_id
        first = next(n for n, e in enumerate(self.examples) if e.image_id == image_id)
        sample = self._job.dataset.by_id[image_id]
        pieces = pieces_of(
            self._job.dataset, sample, size=self._config.image_size, tiles=self._tiles
        )
        return list(pieces)[number - first].image_rgb


def _piece_sizes(sample: Sample, size: int, tiles: int) -> list[tuple[int, int]]:
    if tiles == 1:
        return [fitted_hw(sample.image_hw, size)]
    windows = tile_windows(tiled_hw(sample.image_hw, tiles, size), size)
    return [(size, size)] * len(windows)
