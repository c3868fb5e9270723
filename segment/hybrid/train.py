"""Training of the head on cached features."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from annotations import Sample, TrainingError
from annotations.images import read_image_rgb
from inference.images import fitted_hw, resize_to
from inference.tiling import cut_tile, resize_for_tiles, tile_windows
from inference.views import view_of
from segment.data import resize_class_mask
from segment.hybrid.config import HybridConfig
from segment.hybrid.features import (
    FEATURES_FOLDER,
    FeatureCache,
    views_that_fit,
)
from segment.hybrid.network import TRUNK_STRIDE, add_noise, blob_mask, hybrid_loss
from segment.hybrid.predict import HybridNetwork
from training import FoldJob, resolve_device, seed_everything
from training.contact_sheet import CONTACT_SHEET, make_injector, write_contact_sheet
from training.injection import LabelledImage
from training.lightning_loop import resolve_precision

COVERED: Final = 0.3
"""A place of the map is a defect from this part on: of a thin crack no place is covered by half."""
STATISTICS_IMAGES: Final = 200
FEATURES_AT_ONCE: Final = 16
"""Views whose features are computed in one pass."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole resized image, or a tile of one.

    Attributes:
        key: names image and piece, for the cache.
        image_rgb: uint8 (h, w, 3), sides multiples of 32.
        class_mask: uint8 (h, w), 0 = background, label + 1 inside a defect.
    """

    key: str
    image_rgb: npt.NDArray[np.uint8]
    class_mask: npt.NDArray[np.uint8]

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width."""
        return self.class_mask.shape[0], self.class_mask.shape[1]

    @property
    def is_defective(self) -> bool:
        """Whether it shows any of a defect."""
        return bool(self.class_mask.any())


def fit_head(
    job: FoldJob, config: HybridConfig, train: Sequence[Sample], tiles: int, best: Path
) -> None:
    """Train one fold from its beginning, and write its weights.

    An interrupted training starts again: it takes a few minutes, and features that were kept are
    used again.

    Args:
        job: dataset, fold and folder.
        config: settings.
        train: samples to train on, defective ones with a mask.
        tiles: along an image's longer side.
        best: file to write.

    Raises:
        TrainingError: nothing to learn from, a loss that is no number, or a full disk.
        UsageError, WeightsNotFoundError: see `HybridNetwork`.
    """
    if not train:
        raise TrainingError(
            f"Fold {job.fold} has no image to learn from. Use fewer folds, or add images."
        )
    n_classes = len(job.dataset.class_names)
    seed_everything(config.seed)
    device = resolve_device(config.device)
    network = HybridNetwork(config, n_classes, weights=config.weights).to(device)
    labelled = [_labelled(job, sample, config.image_size, tiles, n_classes) for sample in train]
    labelled += _injected(job, config, labelled, n_classes)
    digests = {sample.image_id: sample.sha256 for sample in train}
    pieces = [
        piece for image in labelled for piece in _pieces(image, config.image_size, tiles, digests)
    ]
    cache = _Features(job, config, network, pieces)
    cache.fill()
    _set_statistics(network, cache, pieces)
    _loop(job, config, network, cache, pieces, device)
    network.cpu()
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    partial = best.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(best)
    cache.remove()


def _labelled(job: FoldJob, sample: Sample, size: int, tiles: int, n_classes: int) -> LabelledImage:
    image_rgb = read_image_rgb(sample.image_path)
    if tiles == 1:
        image_rgb = resize_to(image_rgb, fitted_hw(sample.image_hw, size))
    else:
        image_rgb = resize_for_tiles(image_rgb, size, tiles)
    hw = (image_rgb.shape[0], image_rgb.shape[1])
    truth = job.dataset.truths[sample.image_id].class_index_mask()
    return LabelledImage(sample.image_id, image_rgb, _covered_mask(truth, hw, n_classes))


def _covered_mask(
    truth: npt.NDArray[np.uint8], hw: tuple[int, int], n_classes: int
) -> npt.NDArray[np.uint8]:
    return resize_class_mask(truth, hw, n_classes, covered=COVERED)


def _injected(
    job: FoldJob, config: HybridConfig, images: Sequence[LabelledImage], n_classes: int
) -> list[LabelledImage]:
    defective = [image for image in images if image.class_mask.any()]
    good = [image for image in images if not image.class_mask.any()]
    count = math.ceil(config.inject_per_defect * len(defective))
    injector = make_injector(defective, good, n_classes=n_classes, per_defect=count)
    if injector is None:
        return []
    write_contact_sheet(job.folder / CONTACT_SHEET, injector, seed=config.seed)
    made = []
    for number in range(count):
        one = injector.make(np.random.default_rng([config.seed, 2, number]))
        made.append(LabelledImage(f"injected/{number}", one.image_rgb, one.class_mask))
    return made


def _pieces(
    image: LabelledImage, size: int, tiles: int, digests: dict[str, str]
) -> Iterator[Piece]:
    digest = digests.get(image.image_id)
    if digest is None:
        digest = hashlib.sha256(image.image_rgb.tobytes()).hexdigest()
    if tiles == 1:
        yield Piece(digest, image.image_rgb, image.class_mask)
        return
    hw = (image.class_mask.shape[0], image.class_mask.shape[1])
    for window in tile_windows(hw, size):
        yield Piece(
            f"{digest} tile {window} of {hw}",
            cut_tile(image.image_rgb, window, size, reflect=True),
            cut_tile(image.class_mask, window, size, reflect=False),
        )


class _Features:
    """Features of pieces, from the cache where they fit into it."""

    def __init__(
        self, job: FoldJob, config: HybridConfig, network: HybridNetwork, pieces: Sequence[Piece]
    ) -> None:
        self._job, self._network, self._pieces = job, network.features, pieces
        state = hashlib.sha256()
        for value in network.features.state_dict().values():
            state.update(value.cpu().numpy().tobytes())
        key = f"{config.encoder} {state.hexdigest()}"
        self._cache = FeatureCache(job.folder / FEATURES_FOLDER, self._network, network_key=key)
        sizes = [self._network.size(piece.hw) for piece in pieces]
        self.views = views_that_fit(sizes, config.cached_views, config.cache_gb)
        self._cached = self.views > 0
        if self.views < config.cached_views:
            needed = 2e-9 * config.cached_views * sum(sizes)
            job.reporter.say(
                f"Features of {config.cached_views} views need {needed:.1f} GB, and cache_gb "
                f"allows {config.cache_gb:g}: {self.views or 'none'} of them kept."
            )
        self.views = self.views or config.cached_views

    def fill(self) -> None:
        if not self._cached:
            return
        advance = self._job.reporter.track(
            f"{self._job.folder.parent.name}: fold {self._job.fold}, features", len(self._pieces)
        )
        by_size: dict[tuple[int, int], list[tuple[Piece, int]]] = {}
        for piece in self._pieces:
            for view in range(self.views):
                shown = piece.hw if view < 4 else piece.hw[::-1]
                by_size.setdefault(shown, []).append((piece, view))
        done = 0
        for shown, wanted in by_size.items():
            # The same batches whether some are there or not: what a network says of an image
            # depends, in the last bits, on how many it is shown at once.
            for start in range(0, len(wanted), FEATURES_AT_ONCE):
                batch = wanted[start : start + FEATURES_AT_ONCE]
                self._fill_batch(batch, shown)
                for _ in range((done + len(batch)) // self.views - done // self.views):
                    advance("")
                done += len(batch)

    def _fill_batch(self, batch: Sequence[tuple[Piece, int]], hw: tuple[int, int]) -> None:
        paths = [self._cache.path(piece.key, piece.hw, view) for piece, view in batch]
        if all(self._cache.read(path, hw) is not None for path in paths):
            return
        images = [np.ascontiguousarray(view_of(piece.image_rgb, view)) for piece, view in batch]
        levels = [level.cpu() for level in self._network.of(images)]
        for number, path in enumerate(paths):
            self._cache.write(path, [level[number] for level in levels])

    def of(self, piece: Piece, view: int) -> list[torch.Tensor]:
        """Levels float32 (channels, h, w) of one view."""
        hw = piece.hw if view < 4 else piece.hw[::-1]
        path = self._cache.path(piece.key, piece.hw, view)
        if self._cached and (kept := self._cache.read(path, hw)) is not None:
            return kept
        image = np.ascontiguousarray(view_of(piece.image_rgb, view))
        levels = [level[0].cpu() for level in self._network.of([image])]
        if not self._cached:
            return levels
        self._cache.write(path, levels)
        return self._cache.read(path, hw) or levels

    def remove(self) -> None:
        self._cache.remove()


def _set_statistics(network: HybridNetwork, cache: _Features, pieces: Sequence[Piece]) -> None:
    """Mean and deviation of each channel over good pieces; over all where none is good."""
    good = [piece for piece in pieces if not piece.is_defective] or list(pieces)
    step = max(1, len(good) // STATISTICS_IMAGES)
    seen = [cache.of(piece, 0) for piece in good[::step]]
    means, squares = [], []
    for level in range(len(seen[0])):
        values = [one[level].double() for one in seen]
        means.append(torch.stack([v.mean((1, 2)) for v in values]).mean(0).float())
        squares.append(torch.stack([(v**2).mean((1, 2)) for v in values]).mean(0).float())
    network.heads.set_statistics(means, squares)


def _batches(
    pieces: Sequence[Piece], config: HybridConfig, views: int, rng: np.random.Generator
) -> list[list[tuple[int, int]]]:
    """One epoch as batches of (piece, view), equal sizes in a batch."""
    flags = np.array([piece.is_defective for piece in pieces])
    bad, good = np.flatnonzero(flags), np.flatnonzero(~flags)
    if len(bad):
        times = max(len(bad), math.ceil(config.fewest_images / (1 + config.good_per_defect)))
        # Whole rounds, so that no defect is drawn twice more often than another.
        rounds = [rng.permutation(bad) for _ in range(math.ceil(times / len(bad)))]
        drawn = np.concatenate(rounds)[:times]
        chosen = np.concatenate(
            (drawn, rng.permutation(good)[: math.ceil(config.good_per_defect * times)])
        )
    else:
        chosen = good
    by_size: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number in rng.permutation(chosen).tolist():
        view = int(rng.integers(views))
        height, width = pieces[number].hw
        # A view at a right angle has its sides exchanged.
        hw = (width, height) if view >= 4 else (height, width)
        by_size.setdefault(hw, []).append((number, view))
    batches = [
        group[start : start + config.batch_size]
        for group in by_size.values()
        for start in range(0, len(group), config.batch_size)
    ]
    return [batches[n] for n in rng.permutation(len(batches)).tolist()]


def _loop(
    job: FoldJob,
    config: HybridConfig,
    network: HybridNetwork,
    cache: _Features,
    pieces: Sequence[Piece],
    device: torch.device,
) -> None:
    heads = network.heads.train()
    epochs = [
        _batches(pieces, config, cache.views, np.random.default_rng([config.seed, 4, epoch]))
        for epoch in range(config.epochs)
    ]
    optimizer = torch.optim.AdamW(
        heads.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=max(2, sum(len(batches) for batches in epochs)),
        pct_start=0.15,
    )
    targets = [
        _targets(piece, config.map_stride, n_classes=len(job.dataset.class_names))
        for piece in pieces
    ]
    generator = torch.Generator().manual_seed(config.seed)
    mixed = resolve_precision(config.precision, device) == "bf16-mixed"
    advance = job.reporter.track(f"{job.folder.parent.name}: fold {job.fold}", config.epochs)
    for batches in epochs:
        total = 0.0
        for batch in batches:
            levels = heads.standardise(
                [
                    torch.stack(level).to(device)
                    for level in zip(*(cache.of(pieces[n], view) for n, view in batch), strict=True)
                ]
            )
            types = torch.stack([_view_of_targets(targets[n], view) for n, view in batch])
            loss = torch.zeros((), device=device)
            for head in heads.each:
                noisy, anomalous, labels = _with_noise(levels, types, network, config, generator)
                with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                    maps, image_logits = head(noisy, heads.join(noisy))
                loss = loss + hybrid_loss(
                    maps,
                    image_logits,
                    anomalous=anomalous.to(device),
                    types=types.to(device),
                    image_labels=labels.to(device),
                )
            loss = loss / len(heads.each)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"The loss of fold {job.fold} is no number ({value}). Use a lower "
                    "--set learning_rate=N, or --set precision=32-true."
                )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += value
        advance(f"loss {total / max(len(batches), 1):.3f}")


def _targets(piece: Piece, stride: int, *, n_classes: int) -> npt.NDArray[np.int64]:
    hw = (piece.hw[0] // stride, piece.hw[1] // stride)
    return _covered_mask(piece.class_mask, hw, n_classes).astype(np.int64)


def _view_of_targets(targets: npt.NDArray[np.int64], view: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(view_of(targets, view)))


def _with_noise(
    levels: list[torch.Tensor],
    types: torch.Tensor,
    network: HybridNetwork,
    config: HybridConfig,
    generator: torch.Generator,
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Put noise into part of a batch, outside of its real defects.

    Returns:
        Levels; float (n, h, w) with 1 in defects and noise; float (n,) with 1 where there is any.
    """
    count = len(types)
    first = levels[0].shape[2:]
    step = network.heads.strides[0]
    hw = (first[0] * step // TRUNK_STRIDE, first[1] * step // TRUNK_STRIDE)
    real = (types > 0).float()
    noisy = torch.rand(count, generator=generator) < config.noise_share
    where = blob_mask(hw, count, generator) & noisy[:, None, None, None]
    near = torch.nn.functional.adaptive_max_pool2d(real[:, None], hw) > 0
    where &= ~near
    levels = add_noise(levels, where, config.noise_deviation, generator)
    grown = torch.nn.functional.interpolate(where.float(), size=types.shape[1:], mode="nearest")
    anomalous = torch.maximum(real, grown[:, 0])
    return levels, anomalous, (anomalous.flatten(1).amax(1) > 0).float()
