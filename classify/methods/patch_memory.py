"""Distance of every patch to a memory of good ones (PatchCore); see `classify.patch_memory`."""

import cv2
import numpy as np
import torch

from annotations import Prediction
from annotations.images import read_image_rgb
from classify.config import ClassifyConfig
from classify.features import FeatureNetwork
from classify.methods.base import Arrays, ImageRgb, Lesson, Method, need_good
from classify.patch_memory import BLUR_SIGMA, PatchMemory
from training import Predictor


class PatchPredictor:
    """Scores every place of an image by the distance of its patch to the good ones."""

    def __init__(self, network: FeatureNetwork, memory: PatchMemory) -> None:
        """Take a network and the good patches seen through it."""
        self._network = network
        self._memory = memory

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
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


class PatchMemoryMethod(Method):
    """A memory of good patches."""

    name = "patch-memory"
    title = "patch memory"
    has_map = True

    def __init__(self, config: ClassifyConfig, device: torch.device) -> None:
        """Load the network."""
        super().__init__(config, device)
        self.network = FeatureNetwork.of(config, device)

    def fit(self, lesson: Lesson) -> Arrays:
        """Choose the coreset among all patches of the good images that teach."""
        need_good(lesson, at_least=1)
        reporter = lesson.job.reporter
        advance = reporter.track(f"{lesson.name}: patches of good images", len(lesson.good))
        found = []
        for sample in lesson.good:
            image_rgb = read_image_rgb(sample.image_path)
            patches, _ = self.network.patches([self.network.prepare(image_rgb)])
            found.append(patches[0])
            advance("")
        chosen = reporter.track(f"{lesson.name}: coreset", self.config.memory_size)
        memory = PatchMemory.fit(
            np.concatenate(found),
            size=self.config.memory_size,
            seed=self.config.seed,
            progress=lambda _count: chosen(""),
        )
        return memory.arrays()

    def open(self, learnt: Arrays) -> Predictor:
        """Score by the farthest patch."""
        return PatchPredictor(self.network, PatchMemory.from_arrays(learnt))
