"""Learning what good looks like, and predicting a fold's test images."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from annotations import Dataset, FoldThresholds, InputError, Prediction, Sample
from annotations.files import write_bytes_atomic
from annotations.images import read_image_rgb
from classify.config import ClassifyConfig
from classify.features import STAGES, FeatureNetwork
from classify.mahalanobis import Array, Distances, Gaussians, held_out_distances
from classify.nearest import NearestGood
from classify.patch_memory import BLUR_SIGMA, PatchMemory
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

MODEL_FILE = "model.npz"
METHOD_NAMES = {
    "mahalanobis": "Mahalanobis",
    "knn": "k nearest neighbours",
    "patch-memory": "patch memory",
}


class DistancePredictor:
    """Scores one image by its distance to the good ones.

    Attributes:
        held_out_scores: by image id, of images that the model is fitted to, the distance to a
            fit without them.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        model: Distances,
        held_out_scores: Mapping[str, float] | None = None,
    ) -> None:
        """Take a network and what good images look like through it."""
        self._network = network
        self._model = model
        self.held_out_scores = dict(held_out_scores or {})

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Distance of one image, uint8 (H, W, 3); no regions and no map."""
        stages = self._network([self._network.prepare(image_rgb)])
        return Prediction(image_id, float(self._model.distances(stages)[0]))


class PatchPredictor:
    """Scores every place of an image by the distance of its patch to the good ones."""

    def __init__(self, network: FeatureNetwork, memory: PatchMemory) -> None:
        """Take a network and the good patches seen through it."""
        self._network = network
        self._memory = memory

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Largest patch distance of one image, uint8 (H, W, 3), and the map at its size."""
        prepared = self._network.prepare(image_rgb)
        patches, place_hw = self._network.patches([prepared])
        distances = self._memory.distances(patches[0])
        side = int(prepared.shape[-1])
        grid = cv2.resize(distances.reshape(place_hw), (side, side), interpolation=cv2.INTER_LINEAR)
        blurred = cv2.GaussianBlur(grid, (0, 0), BLUR_SIGMA)
        high, wide = image_rgb.shape[:2]
        picture = cv2.resize(blurred, (wide, high), interpolation=cv2.INTER_LINEAR)
        return Prediction(
            image_id,
            float(distances.max()),
            pixel_scores=np.maximum(np.asarray(picture, np.float32), 0),
        )


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
    learnt: dict[tuple[str, ...], tuple[PatchMemory, FoldThresholds]] = {}

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        good = _good_images(job, teaching=True)
        if config.method == "patch-memory":
            held_out = _good_images(job, teaching=False)
            key = tuple(s.image_id for s in (*good, *held_out))
            # Folds of kfold share their good images, and so what is learnt from them.
            if key not in learnt:
                learnt[key] = _learn_patches(network, good, held_out, config, name, job.reporter)
            memory, thresholds = learnt[key]
            save_arrays(job.folder / MODEL_FILE, memory.arrays())
            return PatchPredictor(network, memory), thresholds
        good = sorted([*good, *_good_images(job, teaching=False)], key=lambda s: s.image_id)
        if len(good) < 2:
            raise InputError(
                f"Fold {job.fold} of {job.dataset.root} has {len(good)} good training images; "
                "at least 2 are needed."
            )
        stages = cache.stages(good, f"{name}: features of good images", job.reporter)

        def fit(rows: Sequence[Array]) -> Distances:
            if config.method == "knn":
                return NearestGood.fit(rows, k=config.neighbours)
            return Gaussians.fit(rows)

        distances = held_out_distances(
            stages,
            [sample.group for sample in good],
            parts=min(config.parts, len({sample.group for sample in good})),
            seed=config.seed,
            fit=fit,
        )
        model = fit(stages)
        save_arrays(job.folder / MODEL_FILE, model.arrays())
        thresholds = FoldThresholds(
            quantile_threshold(distances.tolist(), config.good_quantile),
            "ratio",
            0.0,
            f"{config.good_quantile:.1%} quantile of {len(good)} good training images, each held "
            "out once",
        )
        ids = [sample.image_id for sample in good]
        own = dict(zip(ids, distances.tolist(), strict=True))
        return DistancePredictor(network, model, own), thresholds

    return train_run(
        dataset,
        name,
        family="classify",
        model=f"{config.model} {METHOD_NAMES[config.method]}"
        + (" (random weights)" if config.weights == "none" else ""),
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
    )


def _good_images(job: FoldJob, *, teaching: bool) -> list[Sample]:
    """Good images that the source gives for training, of one part of the training side."""
    fold = job.dataset.split.folds[job.fold]
    return [
        sample
        for sample in job.dataset.select(fold.train if teaching else fold.val)
        if not sample.is_defective and sample.source_split == "train"
    ]


def _learn_patches(
    network: FeatureNetwork,
    good: Sequence[Sample],
    held_out: Sequence[Sample],
    config: ClassifyConfig,
    name: str,
    reporter: Reporter,
) -> tuple[PatchMemory, FoldThresholds]:
    if not good or not held_out:
        raise InputError(
            f"A memory of patches needs good training images to learn from and others to choose "
            f"the threshold on; there are {len(good)} and {len(held_out)}."
        )
    advance = reporter.track(f"{name}: patches of good images", len(good))
    found = []
    for sample in good:
        patches, _ = network.patches([network.prepare(read_image_rgb(sample.image_path))])
        found.append(patches[0])
        advance("")
    chosen = reporter.track(f"{name}: coreset", config.memory_size)
    memory = PatchMemory.fit(
        np.concatenate(found),
        size=config.memory_size,
        seed=config.seed,
        progress=lambda _count: chosen(""),
    )
    predictor = PatchPredictor(network, memory)
    advance = reporter.track(f"{name}: held-out good images", len(held_out))
    scores = []
    for sample in held_out:
        image_rgb = read_image_rgb(sample.image_path)
        scores.append(predictor.predict(sample.image_id, image_rgb).image_score)
        advance("")
    return memory, FoldThresholds(
        quantile_threshold(scores, config.good_quantile),
        "ratio",
        0.0,
        f"{config.good_quantile:.1%} quantile of {len(held_out)} held-out good training images",
    )


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write what was learnt as plain arrays (no pickle)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes_atomic(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read what `save_arrays` wrote.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"The trained model {path} is missing. Train this fold again.")
    try:
        # Opened here, since a damaged file would stay open otherwise.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}). Train this fold again.") from error


def load_distance_predictor(run: Path, fold: int, *, device: str = "auto") -> Predictor:
    """Open one fold of a finished classifier run.

    Raises:
        InputError: not a classifier run, or that fold has no model.
    """
    config = ClassifyConfig(**read_run_config(run)["config"])
    path = fold_folder(run, fold) / MODEL_FILE
    if not path.is_file() and path.with_name("gaussians.npz").is_file():
        path = path.with_name("gaussians.npz")  # as runs of 0.1.0's beginnings call it
    arrays = load_arrays(path)
    torch_device: torch.device = resolve_device(device)
    if config.model not in STAGES:
        raise InputError(f"The run {run} names the unknown model {config.model!r}.")
    # With random weights the same seed makes the same network again.
    seed_everything(config.seed)
    network = FeatureNetwork(
        config.model, weights=config.weights, device=torch_device, image_size=config.image_size
    )
    try:
        if config.method == "patch-memory":
            return PatchPredictor(network, PatchMemory.from_arrays(arrays))
        if config.method == "knn":
            return DistancePredictor(network, NearestGood.from_arrays(arrays))
        return DistancePredictor(network, Gaussians.from_arrays(arrays))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}). Train this fold again.") from error
