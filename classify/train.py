"""Learning what good looks like, and predicting a fold's test images."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from annotations import Dataset, FoldThresholds, InputError, Prediction, Sample
from annotations.files import write_bytes_atomic
from annotations.images import read_image_rgb
from classify.config import ClassifyConfig
from classify.features import STAGES, FeatureNetwork
from classify.mahalanobis import Array, Gaussians, held_out_distances
from training import (
    FoldJob,
    Predictor,
    Reporter,
    fold_folder,
    quantile_threshold,
    read_run_config,
    resolve_device,
    seed_everything,
    train_run,
)

MODEL_FILE = "gaussians.npz"


class DistancePredictor:
    """Scores one image by its distance to the good ones."""

    def __init__(self, network: FeatureNetwork, gaussians: Gaussians) -> None:
        """Take a network and what good images look like through it."""
        self._network = network
        self._gaussians = gaussians

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Distance of one image, uint8 (H, W, 3); no regions and no map."""
        stages = self._network([self._network.prepare(image_rgb)])
        return Prediction(image_id, float(self._gaussians.distances(stages)[0]))


class _FeatureCache:
    """Features by image; folds share their good training images."""

    def __init__(self, network: FeatureNetwork, batch_size: int) -> None:
        self._network = network
        self._batch_size = batch_size
        self._known: dict[str, list[Array]] = {}

    def stages(self, samples: Sequence[Sample], what: str, reporter: Reporter) -> list[Array]:
        new = [sample for sample in samples if sample.image_id not in self._known]
        if new:
            advance = reporter.track(what, len(new))
            for start in range(0, len(new), self._batch_size):
                batch = new[start : start + self._batch_size]
                images = []
                for sample in batch:
                    images.append(self._network.prepare(read_image_rgb(sample.image_path)))
                    advance("")
                stages = self._network(images)
                for index, sample in enumerate(batch):
                    self._known[sample.image_id] = [stage[index] for stage in stages]
        rows = [self._known[sample.image_id] for sample in samples]
        return [np.stack(column) for column in zip(*rows, strict=True)]


def train_classifier(
    dataset: Dataset,
    config: ClassifyConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
) -> Path:
    """Learn good images' features on folds of a dataset and score their test images.

    Only good images that the source gives for training teach, under every protocol.

    Returns:
        The run's folder.

    Raises:
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        UsageError: an unknown model.
        InputError: too few good training images.
    """
    seed_everything(config.seed)
    network = FeatureNetwork(
        config.model,
        weights=config.weights,
        device=resolve_device(config.device),
        image_size=config.image_size,
    )
    cache = _FeatureCache(network, config.batch_size)

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        fold = job.dataset.split.folds[job.fold]
        good = [
            sample
            for sample in job.dataset.select(sorted((*fold.train, *fold.val)))
            if not sample.is_defective and sample.source_split == "train"
        ]
        if len(good) < 2:
            raise InputError(
                f"Fold {job.fold} of {job.dataset.root} has {len(good)} good training images; "
                "at least 2 are needed."
            )
        stages = cache.stages(good, f"{name}: features of good images", job.reporter)
        held_out = held_out_distances(
            stages,
            [sample.group for sample in good],
            parts=min(config.parts, len({sample.group for sample in good})),
            seed=config.seed,
        )
        gaussians = Gaussians.fit(stages)
        save_gaussians(job.folder / MODEL_FILE, gaussians)
        thresholds = FoldThresholds(
            quantile_threshold(held_out.tolist(), config.good_quantile),
            "ratio",
            0.0,
            f"{config.good_quantile:.1%} quantile of {len(good)} good training images, each held "
            "out once",
        )
        return DistancePredictor(network, gaussians), thresholds

    return train_run(
        dataset,
        name,
        family="classify",
        model=f"{config.model} Mahalanobis"
        + (" (random weights)" if config.weights == "none" else ""),
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
    )


def save_gaussians(path: Path, gaussians: Gaussians) -> None:
    """Write the Gaussians as plain arrays (no pickle)."""
    arrays = {f"mean_{n}": a for n, a in enumerate(gaussians.means)}
    arrays |= {f"precision_{n}": a for n, a in enumerate(gaussians.precisions)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, buffer.getvalue())


def load_gaussians(path: Path) -> Gaussians:
    """Read what `save_gaussians` wrote.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"The trained model {path} is missing. Train this fold again.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            n = len(arrays.files) // 2
            return Gaussians(
                tuple(arrays[f"mean_{i}"] for i in range(n)),
                tuple(arrays[f"precision_{i}"] for i in range(n)),
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}). Train this fold again.") from error


def load_distance_predictor(run: Path, fold: int, *, device: str = "auto") -> DistancePredictor:
    """Open one fold of a finished classifier run.

    Raises:
        InputError: not a classifier run, or that fold has no model.
    """
    config = ClassifyConfig(**read_run_config(run)["config"])
    gaussians = load_gaussians(fold_folder(run, fold) / MODEL_FILE)
    torch_device: torch.device = resolve_device(device)
    if config.model not in STAGES:
        raise InputError(f"The run {run} names the unknown model {config.model!r}.")
    # With random weights the same seed makes the same network again.
    seed_everything(config.seed)
    network = FeatureNetwork(
        config.model, weights=config.weights, device=torch_device, image_size=config.image_size
    )
    return DistancePredictor(network, gaussians)
