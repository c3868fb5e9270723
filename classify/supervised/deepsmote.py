"""More images of rare defect types, decoded between the codes of real ones.

Dablain, Krawczyk, Chawla: DeepSMOTE: Fusing Deep Learning and SMOTE for Imbalanced Data (IEEE
TNNLS 2022), algorithm 1: an encoder and a decoder learn to reconstruct, and a penalty has the
decoder make, of the codes of one class in another order, the images in the first order, since
SMOTE later asks it for codes that no image of its own has. Then SMOTE (Chawla et al. 2002) draws
codes between an image's code and one of its k = 5 nearest of the same class.

The authors' published code (github.com/dd1github/DeepSMOTE) differs from their algorithm in two
things: it puts the images into the same new order as the codes, so that the penalty is one more
reconstruction; and it cuts the penalty's gradient off before the encoder. Here the algorithm is
followed, and encoder and decoder both get the gradient.

What follows from the algorithm as it is written: for a code z_i the squared errors ask the decoder
for its own image x_i and, with weight w, for every other image of the class, so that their least
sum lies at (x_i + w m) / (1 + w), with m the mean of the class. At w = 1, the paper's, half of
every decoded image is the class's mean, however long one trains. `smote_penalty` is w.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import cv2
import lightning as L  # noqa: N812 - its own convention
import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from annotations import InputError
from annotations.files import write_text_atomic
from annotations.images import write_png
from classify.config import SupervisedConfig
from classify.convnets import image_decoder, image_encoder
from classify.loop import Item, train_module, unit_tensor
from classify.method import FoldData, ImageRgb
from inference.images import resize_square

SHEET: Final = "deepsmote.png"
LEARNING_RATE: Final = 1e-3
_SHOWN_PER_TYPE: Final = 4
_TILE: Final = 96
Codes = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Generated:
    """An image that was decoded.

    Attributes:
        image_rgb: uint8 (S, S, 3).
        label: of its class.
        parents: ids of the two images that it lies between.
        nearness: 0 at the first parent, 1 at the second.
    """

    image_rgb: ImageRgb
    label: int
    parents: tuple[str, str]
    nearness: float


def interpolate(
    codes: Codes, count: int, *, k: int, rng: np.random.Generator
) -> tuple[Codes, npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """SMOTE.

    Args:
        codes: float32 (n, d) of one class, n at least 2.
        count: codes to draw.
        k: nearest neighbors to choose among; n - 1 where there are fewer.
        rng: draws image, neighbor and place between them.

    Returns:
        float32 (count, d); the two parents' places (count, 2); and float64 (count,), 0 at the first
        parent and below 1 toward the second.

    Raises:
        ValueError: fewer than two codes.
    """
    if len(codes) < 2:
        raise ValueError("Between fewer than two codes there is nothing to draw.")
    k = min(k, len(codes) - 1)
    # Without being asked about points, it leaves each out of its own neighbors.
    nearest = NearestNeighbors(n_neighbors=k).fit(codes).kneighbors(return_distance=False)
    first = rng.integers(len(codes), size=count)
    second = nearest[first, rng.integers(k, size=count)]
    nearness = rng.random(count)
    part = nearness[:, None].astype(np.float32)
    drawn = codes[first] * (1 - part) + codes[second] * part
    return drawn, np.stack((first, second), axis=1), nearness


class CodeNetwork(torch.nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: SupervisedConfig) -> None:
        """Draw random weights."""
        super().__init__()
        self.encoder = image_encoder(config.smote_size, config.smote_latent, width=32)
        self.decoder = image_decoder(config.smote_size, config.smote_latent, width=32)
        self.penalty_weight = config.smote_penalty

    def penalty(self, images: torch.Tensor) -> torch.Tensor:
        """Squared error between images of one class and what the others' codes decode to.

        The order is turned by one, so that no image keeps its own code.
        """
        others = self.encoder(images).roll(1, dims=0)
        return functional.mse_loss(self.decoder(others), images)


class _Training(L.LightningModule):
    def __init__(
        self, network: CodeNetwork, images: torch.Tensor, labels: npt.NDArray[np.intp], seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._images, self._labels, self._seed = images, labels, seed
        counts = np.bincount(labels)
        self._classes = np.flatnonzero(counts > 1)

    def training_step(self, batch: Item, batch_idx: int) -> torch.Tensor:
        images, network = batch[0], self.network
        loss = functional.mse_loss(network.decoder(network.encoder(images)), images)
        self.log("reconstruction", loss, on_epoch=True, on_step=False)
        rng = np.random.default_rng([self._seed, 7, self.current_epoch, batch_idx])
        label = int(rng.choice(self._classes))
        places = np.flatnonzero(self._labels == label)
        chosen = rng.permutation(places)[: len(images)]
        penalty = network.penalty(self._images[torch.from_numpy(chosen)].to(images))
        self.log("penalty", penalty, on_epoch=True, on_step=False)
        loss = loss + self.network.penalty_weight * penalty
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)


def oversample(
    images: Sequence[ImageRgb],
    labels: Sequence[int],
    ids: Sequence[str],
    wanted: Mapping[int, int],
    data: FoldData,
    config: SupervisedConfig,
    *,
    device: torch.device,
    class_names: Sequence[str],
) -> list[Generated]:
    """Train on a fold's training images and decode new ones; writes a sheet of them.

    Args:
        images: uint8 (H, W, 3), of the training side.
        labels: of the images, 0 for good.
        ids: of the images.
        wanted: images to make by label.
        data: folder and reporter.
        config: settings.
        device: where to compute.
        class_names: by label.

    Raises:
        InputError: a type that more images are wanted of has fewer than k + 1.
    """
    counts = np.bincount(np.asarray(labels, np.intp), minlength=len(class_names))
    needed = config.smote_neighbours + 1
    for label, count in wanted.items():
        if count and counts[label] < needed:
            raise InputError(
                f"DeepSMOTE draws between an image and its {config.smote_neighbours} nearest, "
                f"and so needs {needed} images of a type; fold {data.job.fold} has "
                f"{counts[label]} of {class_names[label]!r} to learn from. Use "
                "--oversample injection or repeat, fewer neighbors (--set smote_neighbours=...), "
                "or more images."
            )
    if not any(wanted.values()):
        return []
    small = [resize_square(image, config.smote_size) for image in images]
    stacked = torch.stack([unit_tensor(image) for image in small])
    network = CodeNetwork(config)
    train_module(
        _Training(network, stacked, np.asarray(labels, np.intp), config.seed),
        lambda _epoch, number: (stacked[number], 0),
        lambda _epoch: range(len(small)),
        data,
        config,
        what="DeepSMOTE",
        epochs=config.smote_epochs,
    )
    network.eval().to(device)
    codes = _in_batches(network.encoder, stacked, device, config.batch_size)
    made: list[Generated] = []
    for label, count in sorted(wanted.items()):
        places = np.flatnonzero(np.asarray(labels) == label)
        if not count:
            continue
        rng = np.random.default_rng([config.seed, 8, label])
        drawn, parents, nearness = interpolate(
            codes[places], count, k=config.smote_neighbours, rng=rng
        )
        pictures = _in_batches(network.decoder, torch.from_numpy(drawn), device, config.batch_size)
        for picture, pair, near in zip(pictures, places[parents], nearness, strict=True):
            pixels = np.clip(np.rint(picture.transpose(1, 2, 0) * 255), 0, 255).astype(np.uint8)
            first, second = (ids[int(place)] for place in pair)
            made.append(Generated(pixels, label, (first, second), float(near)))
    _write_sheet(data.job.folder / SHEET, made, dict(zip(ids, small, strict=True)), class_names)
    return made


@torch.inference_mode()
def _in_batches(
    network: Callable[[torch.Tensor], torch.Tensor],
    rows: torch.Tensor,
    device: torch.device,
    size: int,
) -> Codes:
    found = [network(part.to(device)).float().cpu() for part in torch.split(rows, size)]
    return cast(Codes, torch.cat(found).numpy())


def _write_sheet(
    path: Path,
    made: Sequence[Generated],
    small: Mapping[str, ImageRgb],
    class_names: Sequence[str],
) -> None:
    """A row for each of the first images of every type: first parent, what was made, second."""
    shown: list[Generated] = []
    for label in sorted({one.label for one in made}):
        shown += [one for one in made if one.label == label][:_SHOWN_PER_TYPE]
    rows = []
    for one in shown:
        tiles = [small[one.parents[0]], one.image_rgb, small[one.parents[1]]]
        resized = [
            cv2.resize(tile, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST) for tile in tiles
        ]
        rows.append(np.hstack(resized))
    columns = [
        np.vstack(rows[start : start + _SHOWN_PER_TYPE])
        for start in range(0, len(rows), _SHOWN_PER_TYPE)
    ]
    gap = 12
    height = max(column.shape[0] for column in columns)
    sheet = np.full((height, sum(c.shape[1] + gap for c in columns) - gap, 3), 255, np.uint8)
    left = 0
    for column in columns:
        sheet[: column.shape[0], left : left + column.shape[1]] = column
        left += column.shape[1] + gap
    write_png(path, sheet)
    document = {
        "shown": [
            {"type": class_names[g.label], "parents": list(g.parents), "nearness": g.nearness}
            for g in shown
        ],
        "made": {
            class_names[label]: sum(one.label == label for one in made)
            for label in sorted({one.label for one in made})
        },
        "all_parents": sorted({parent for one in made for parent in one.parents}),
    }
    write_text_atomic(path.with_suffix(".json"), json.dumps(document, indent=1))
