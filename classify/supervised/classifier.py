"""A pretrained network fine-tuned to tell good images and each type of defect apart.

Rare types can weigh as much as common ones, and can be given more images: the same ones again,
real defects pasted into good images, or DeepSMOTE's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import lightning as L  # noqa: N812 - its own convention
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from annotations import InputError, Sample
from classify.config import SupervisedConfig
from classify.features import FeatureNetwork
from classify.loop import Item, MakeItem, load_small, of_epoch, train_module, vary
from classify.method import (
    Calibration,
    FoldData,
    Method,
    begin_with,
    load_arrays_into,
    score_all,
    state_arrays,
)
from classify.supervised.deepsmote import oversample
from inference.images import resize_square
from inference.types import TypeScorer
from training import Predictor, probability_thresholds
from training.array_files import Arrays
from training.contact_sheet import CONTACT_SHEET, load_labeled, write_contact_sheet
from training.geometry import estimate_geometry
from training.injection import DefectInjector
from training.torch_network import TorchNetwork

_NETWORK: Final = "network/"
GOOD: Final = "good"
WARM_UP: Final = 0.2


class Supervised(Method[SupervisedConfig]):
    """Good, or which defect."""

    name = "supervised"
    title = "supervised classifier"
    needs_defects = True

    def __init__(self, config: SupervisedConfig, device: torch.device) -> None:
        """Load the network."""
        super().__init__(config, device)
        self.features = FeatureNetwork.of(config, device)

    def words(self) -> str:
        """With the way of oversampling."""
        way = self.config.oversample
        return self.title if way == "none" else f"{self.title} with {way}"

    def fit(self, data: FoldData) -> Arrays:
        """Fine-tune on the training side; the best epoch on the validation part is kept."""
        config = self.config
        names = (GOOD, *data.job.dataset.class_names)
        labels = [names.index(s.defect_type) for s in data.train]
        if 0 not in labels or len(set(labels)) < 2:
            raise InputError(
                f"Fold {data.job.fold} of {data.job.dataset.root} has images of "
                f"{len(set(labels))} kind to learn from; good ones and defective ones are needed."
            )
        features = FeatureNetwork.of(config, self.device)
        shown_images = _shown_images(data, labels, names, features, config, self.device)
        network = _Classifier(features, len(names))
        if data.start is not None:
            begin_with(network, data.start, _NETWORK, data)
        validation = [
            (features.normalize(image), names.index(sample.defect_type))
            for image, sample in zip(
                load_small(data.validation, config.image_size, data),
                data.validation,
                strict=True,
            )
        ]
        steps = config.epochs * -(-len(shown_images.numbers(0)) // config.batch_size)
        module = _Training(network, config, shown_images.class_weights, steps)
        train_module(
            module,
            shown_images.make,
            shown_images.numbers,
            data,
            config,
            what="classifier",
            epochs=config.epochs,
            validation=validation,
            monitor="val_loss" if config.keep == "best" and validation else None,
            shown="validation loss",
        )
        encoded = np.array([name.encode() for name in names])
        return {"class_names": encoded, **state_arrays(network, _NETWORK)}

    def open(self, learned: Arrays) -> Predictor:
        """Score by the probability of any defect, and name the likeliest class."""
        names = tuple(bytes(name).decode() for name in learned["class_names"].tolist())
        features = FeatureNetwork.of(self.config, self.device, random=True)
        network = _Classifier(features, len(names))
        load_arrays_into(network, learned, _NETWORK)
        mean, deviation = features.backbone.normalization
        return TypeScorer(
            TorchNetwork(_Chances(network), self.device),
            names,
            image_size=features.image_size,
            mean=mean,
            deviation=deviation,
        )

    def calibrate(self, data: FoldData, predictor: Predictor) -> Calibration:
        """Choose the threshold on the validation images, as detector and segmenter do."""
        scores = score_all(predictor, data.validation, data, "validation images")
        flags = [sample.is_defective for sample in data.validation]
        groups = [sample.group for sample in data.validation]
        return Calibration(
            probability_thresholds(list(scores), flags, groups, region_threshold=0.5)
        )


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an epoch shows.

    `numbers` counts the images, then what was added to them.
    """

    make: MakeItem
    numbers: Callable[[int], Sequence[int]]
    class_weights: torch.Tensor


def _shown_images(
    data: FoldData,
    labels: list[int],
    names: Sequence[str],
    features: FeatureNetwork,
    config: SupervisedConfig,
    device: torch.device,
) -> _Shown:
    samples = list(data.train)
    images = load_small(samples, config.image_size, data)
    geometry = estimate_geometry([i for i, label in zip(images, labels, strict=True) if not label])
    wanted = missing_images(labels, len(names), config.oversample_to)
    if config.oversample == "none":
        wanted = dict.fromkeys(wanted, 0)
    n_added = sum(wanted.values())
    counts = np.bincount(labels, minlength=len(names)).astype(np.float64)
    counts += [wanted.get(label, 0) for label in range(len(names))]
    every = list(labels)
    injector = None
    if config.oversample == "deepsmote" and n_added:
        ids = [sample.image_id for sample in samples]
        made = oversample(
            images, labels, ids, wanted, data, config, device=device, class_names=names
        )
        images = [*images, *(resize_square(one.image_rgb, config.image_size) for one in made)]
        every += [one.label for one in made]
    elif config.oversample == "injection" and n_added:
        injector = _injector(data, samples, len(names) - 1, config)
        write_contact_sheet(data.job.folder / CONTACT_SHEET, injector, seed=config.seed)
    elif config.oversample == "repeat":
        for label, count in wanted.items():
            places = np.flatnonzero(np.asarray(labels) == label)
            again = np.resize(places, count).tolist()
            images = [*images, *(images[place] for place in again)]
            every += [label] * count
    n_fixed = len(images)

    def make(epoch: int, number: int) -> Item:
        rng = of_epoch(config.seed, epoch, number)
        if number < n_fixed:
            image, label = images[number], every[number]
        else:
            one = cast(DefectInjector, injector).make(rng)
            inside = one.class_mask[one.class_mask > 0]
            label = int(np.bincount(inside).argmax()) if len(inside) else 0
            image = resize_square(one.image_rgb, config.image_size)
        if config.augment:
            image = vary(image, geometry, rng)
        return features.normalize(image), label

    total = n_fixed + (n_added if injector is not None else 0)
    weights = np.ones(len(names))
    if config.class_weights == "balanced":
        # As scikit-learn balances: n / (classes * count). A class without images has no say.
        present = counts > 0
        weights[present] = counts.sum() / (present.sum() * counts[present])
    return _Shown(make, lambda _epoch: range(total), torch.tensor(weights, dtype=torch.float32))


def missing_images(labels: Sequence[int], n_classes: int, part: float) -> dict[int, int]:
    """Images that each type lacks to so large a part of the largest class, by label.

    A type without any image gets none: there is nothing to make them from.
    """
    counts = np.bincount(np.asarray(labels, np.intp), minlength=n_classes)
    goal = round(part * int(counts.max()))
    return {
        label: max(0, goal - int(counts[label])) if counts[label] else 0
        for label in range(1, n_classes)
    }


def _injector(
    data: FoldData, samples: Sequence[Sample], n_types: int, config: SupervisedConfig
) -> DefectInjector:
    dataset = data.job.dataset
    loaded = [load_labeled(dataset, sample, max_side=config.image_size) for sample in samples]
    pairs = list(zip(loaded, samples, strict=True))
    return DefectInjector(
        [image for image, sample in pairs if sample.is_defective],
        [image for image, sample in pairs if not sample.is_defective],
        n_classes=n_types,
        max_defects=1,
    )


class _Classifier(nn.Module):
    """The last stage, pooled, and one linear layer."""

    def __init__(self, features: FeatureNetwork, n_classes: int) -> None:
        super().__init__()
        self.backbone = features.backbone.requires_grad_(True)
        self._pool = features.pool
        side = features.image_size
        with torch.inference_mode():
            device = next(self.backbone.parameters()).device
            channels = self.backbone(torch.zeros(1, 3, side, side, device=device))[-1].shape[1]
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, n_classes))
        self.to(device)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.head(self._pool(self.backbone(images)[-1:])[0]))


class _Training(L.LightningModule):
    def __init__(
        self, network: nn.Module, config: SupervisedConfig, weights: torch.Tensor, steps: int
    ) -> None:
        super().__init__()
        self.network = network
        self._config, self._weights, self._steps = config, weights, steps

    def training_step(self, batch: Item, batch_idx: int) -> torch.Tensor:
        del batch_idx
        images, labels = batch
        loss = self._loss(images, cast(torch.Tensor, labels))
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(images))
        return loss

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        del batch_idx
        images, labels = batch
        loss = self._loss(images, cast(torch.Tensor, labels))
        self.log("val_loss", loss, batch_size=len(images))

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.network(images).float()
        each = functional.cross_entropy(logits, labels, reduction="none")
        # Not divided by the batch's weights, so that every image counts the same in every batch.
        return (each * self._weights.to(each)[labels]).mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self._config.learning_rate, weight_decay=0.01
        )
        total = max(self._steps, 2) + 1
        # torch divides by the steps of the warm-up but one.
        total += int(WARM_UP * total == 1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self._config.learning_rate,
            total_steps=total,
            pct_start=WARM_UP,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class _Chances(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.network(images)).float().softmax(dim=1)
