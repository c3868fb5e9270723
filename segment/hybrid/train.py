"""Training of the heads on kept features, each on all parts but a share of its own."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from annotations import Sample, TrainingError
from inference.views import view_of
from segment.hybrid.config import HybridConfig
from segment.hybrid.network import TRUNK_STRIDE, add_noise, blob_mask, hybrid_loss
from segment.hybrid.pieces import UNKNOWN
from segment.hybrid.predict import HybridNetwork
from segment.hybrid.training_set import Example, TrainingSet
from segment.trained import trained_weights
from training import FoldJob, load_into, resolve_device, seed_everything
from training.device import resolve_precision
from training.parts import deal_groups

STATISTICS_IMAGES: Final = 200
FEWEST_GROUPS: Final = 6
"""Defective parts (good ones, where no image is defective) from which on heads are cross-fitted:
with fewer, a third of them is too much to do without."""


def shares_of(
    samples: Sequence[Sample], heads: int, kept: Mapping[str, int] | None = None
) -> dict[str, int] | None:
    """Which head each image is held out from, by id; None where heads are not cross-fitted.

    Whole parts are held out, and every type evenly.

    Args:
        samples: images to learn from.
        heads: how many there are.
        kept: shares of parts, by group, that stay as an older run had them.
    """
    kinds = [sample.defect_type for sample in samples]
    groups = [sample.group for sample in samples]
    defective = {sample.group for sample in samples if sample.is_defective}
    if heads < 2 or len(defective or set(groups)) < FEWEST_GROUPS:
        return None
    shares = deal_groups(kinds, groups, heads, kept or {}).tolist()
    return {sample.image_id: share for sample, share in zip(samples, shares, strict=True)}


def fit_heads(
    job: FoldJob,
    config: HybridConfig,
    samples: Sequence[Sample],
    shares: dict[str, int] | None,
    *,
    tiles: int,
    best: Path,
) -> None:
    """Train one fold from its beginning, and write its weights.

    An interrupted training starts again: it takes a few minutes, and features that were kept are
    used again.

    Args:
        job: dataset, fold and folder.
        config: settings.
        samples: images to train on, with labels of any strength.
        shares: see `shares_of`.
        tiles: along an image's longer side.
        best: file to write.

    Raises:
        TrainingError: nothing to learn from, a loss that is no number, or a full disk.
        UsageError, WeightsNotFoundError: see `HybridNetwork`.
    """
    if not samples:
        raise TrainingError(
            f"Fold {job.fold} has no image to learn from. Use fewer folds, or add images."
        )
    seed_everything(config.seed)
    device = resolve_device(config.device)
    network = HybridNetwork(config, len(job.dataset.class_names), weights=config.weights)
    if job.start is not None:
        load_into(network, trained_weights(job.start.run, job.fold))
    network = network.to(device)
    data = TrainingSet(job, config, network, samples, tiles=tiles)
    if job.start is None:
        # Heads that learned before keep what they were given with.
        _set_statistics(network, data)
    _Loop(job, config, network, data, shares, device).run()
    network.cpu()
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    partial = best.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(best)


def _set_statistics(network: HybridNetwork, data: TrainingSet) -> None:
    """Mean and standard deviation of each channel over good pieces; over all where none is good."""
    good = [n for n, e in enumerate(data.examples) if not e.is_defective]
    good = good or list(range(len(data.examples)))
    step = max(1, len(good) // STATISTICS_IMAGES)
    seen = [data.features(number, 0) for number in good[::step]]
    means, squares = [], []
    for level in range(len(seen[0])):
        values = [one[level].double() for one in seen]
        means.append(torch.stack([v.mean((1, 2)) for v in values]).mean(0).float())
        squares.append(torch.stack([(v**2).mean((1, 2)) for v in values]).mean(0).float())
    network.heads.set_statistics(means, squares)


def _batches(
    examples: Sequence[Example],
    drawn_from: Sequence[int],
    config: HybridConfig,
    views: int,
    rng: np.random.Generator,
) -> list[list[tuple[int, int]]]:
    """One epoch as batches of (example, view), equal sizes in a batch."""
    numbers = np.asarray(drawn_from, np.intp)
    flags = np.array([examples[n].is_defective for n in drawn_from], bool)
    bad, good = numbers[flags], numbers[~flags]
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
        height, width = examples[number].hw
        # A view at a right angle has its sides exchanged.
        hw = (width, height) if view >= 4 else (height, width)
        by_size.setdefault(hw, []).append((number, view))
    batches = [
        group[start : start + config.batch_size]
        for group in by_size.values()
        for start in range(0, len(group), config.batch_size)
    ]
    return [batches[n] for n in rng.permutation(len(batches)).tolist()]


class _Loop:
    """The training of all heads side by side, on the same batches."""

    def __init__(
        self,
        job: FoldJob,
        config: HybridConfig,
        network: HybridNetwork,
        data: TrainingSet,
        shares: dict[str, int] | None,
        device: torch.device,
    ) -> None:
        self._job, self._config, self._network, self._data = job, config, network, data
        self._device = device
        self._shares = shares or {}
        self._mixed = resolve_precision(config.precision, device) == "bf16-mixed"
        self._generator = torch.Generator().manual_seed(config.seed)
        self._strong = [n for n, e in enumerate(data.examples) if e.teaches and not _vague(e)]
        weak: dict[str, list[int]] = {}
        for number, example in enumerate(data.examples):
            if _vague(example):
                weak.setdefault(example.image_id, []).append(number)
        self._weak = list(weak.values())

    def run(self) -> None:
        config = self._config
        heads = self._network.heads.train()
        epochs = range(config.epochs)
        # Which tiles of an image with an image label are drawn changes, how many does not.
        drawn = self._strong + [numbers[0] for numbers in self._weak]
        steps = sum(len(self._epoch(epoch, drawn)) for epoch in epochs)
        optimizer = torch.optim.AdamW(
            heads.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=config.learning_rate, total_steps=max(2, steps), pct_start=0.15
        )
        advance = self._job.reporter.track(
            f"{self._job.folder.parent.name}: fold {self._job.fold}", config.epochs
        )
        for epoch in epochs:
            total = 0.0
            batches = self._epoch(epoch, self._strong + self._likeliest(epoch))
            for batch in batches:
                loss = self._loss(batch)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise TrainingError(
                        f"The loss of fold {self._job.fold} is no number ({value}). Use a lower "
                        "--set learning_rate=N, or --set precision=32-true."
                    )
                optimizer.zero_grad(set_to_none=True)
                if loss.requires_grad:
                    torch.autograd.backward(loss)
                    optimizer.step()
                schedule.step()
                total += value
            advance(f"loss {total / max(len(batches), 1):.3f}")

    def _epoch(self, epoch: int, drawn: Sequence[int]) -> list[list[tuple[int, int]]]:
        rng = np.random.default_rng([self._config.seed, 4, epoch])
        return _batches(self._data.examples, drawn, self._config, self._data.views, rng)

    @torch.inference_mode()
    def _likeliest(self, epoch: int) -> list[int]:
        """Of each image that an image label alone is known of, the tile that looks most defective:
        the other tiles may be good or not."""
        rng = np.random.default_rng([self._config.seed, 5, epoch])
        heads = self._network.heads
        chosen = []
        for numbers in self._weak:
            if len(numbers) == 1 or epoch == 0:
                chosen.append(int(rng.choice(numbers)))
                continue
            heads.eval()
            scores = []
            for number in numbers:
                levels = [one.to(self._device)[None] for one in self._data.features(number, 0)]
                maps, _ = heads(heads.standardize(levels))
                scores.append(float(maps[:, 0].amax()))
            heads.train()
            chosen.append(numbers[int(np.argmax(scores))])
        return chosen

    def _loss(self, batch: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Mean loss of the heads that learn from a batch."""
        heads, device, data = self._network.heads, self._device, self._data
        columns = zip(*(data.features(number, view) for number, view in batch), strict=True)
        levels = heads.standardize([torch.stack(level).to(device) for level in columns])
        examples = [data.examples[number] for number, _ in batch]
        classes = torch.stack(
            [_turned(e.classes, view) for e, (_, view) in zip(examples, batch, strict=True)]
        ).long()
        bags = [
            (row, _turned(bag.inside, view).to(device), bag.label, bag.tight)
            for row, (example, (_, view)) in enumerate(zip(examples, batch, strict=True))
            for bag in example.bags
        ]
        loss = torch.zeros((), device=device)
        for number, head in enumerate(heads.each):
            rows = [row for row, e in enumerate(examples) if self._shares.get(e.image_id) != number]
            if not rows:
                continue
            noisy, anomalous = self._with_noise([one[rows] for one in levels], classes[rows])
            known = classes[rows] != UNKNOWN
            types = torch.where(known, classes[rows], 0)
            place = {row: n for n, row in enumerate(rows)}
            labels = (anomalous.flatten(1).amax(1) > 0) | ~known.flatten(1).all(1)
            with torch.autocast(device.type, torch.bfloat16, enabled=self._mixed):
                maps, image_logits = head(noisy, heads.join(noisy))
            loss = loss + hybrid_loss(
                maps,
                image_logits,
                anomalous=anomalous.to(device),
                types=types.to(device),
                image_labels=labels.float().to(device),
                known=known.float().to(device),
                bags=[(place[bag[0]], *bag[1:]) for bag in bags if bag[0] in place],
            )
        return loss / len(heads.each)

    def _with_noise(
        self, levels: Sequence[torch.Tensor], classes: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Put noise into part of a batch, where it is known to be good.

        Returns:
            Levels; float (n, h, w) with 1 in defects and noise.
        """
        config, generator = self._config, self._generator
        count = len(classes)
        first, step = levels[0].shape[2:], self._network.heads.strides[0]
        hw = (first[0] * step // TRUNK_STRIDE, first[1] * step // TRUNK_STRIDE)
        real = ((classes > 0) & (classes != UNKNOWN)).float()
        noisy = torch.rand(count, generator=generator) < config.noise_share
        where = blob_mask(hw, count, generator) & noisy[:, None, None, None]
        taken = (classes > 0).float()[:, None]
        where &= ~(torch.nn.functional.adaptive_max_pool2d(taken, hw) > 0)
        made = add_noise(levels, where, config.noise_deviation, generator)
        grown = torch.nn.functional.interpolate(
            where.float(), size=classes.shape[1:], mode="nearest"
        )
        return made, torch.maximum(real, grown[:, 0])


def _vague(example: Example) -> bool:
    return example.strength == "image"


def _turned(values: npt.NDArray[np.generic], view: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(view_of(values, view)))
