"""Distance of every patch to a memory of good ones (PatchCore); see `classify.patch_memory`."""

import numpy as np
import torch

from annotations.images import read_image_rgb
from annotations.scoring.patches import PatchScorer
from classify.config import ClassifyConfig
from classify.features import FeatureNetwork
from classify.methods.base import Arrays, Lesson, Method, need_good
from classify.patch_memory import PatchMemory
from training import Predictor


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
            found.append(self.network.patches([self.network.prepare(image_rgb)])[0])
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
        mean, deviation = self.network.backbone.normalisation
        return PatchScorer(
            self.network.patch_graph(),
            PatchMemory.from_arrays(learnt),
            image_size=self.network.image_size,
            mean=mean,
            deviation=deviation,
        )
