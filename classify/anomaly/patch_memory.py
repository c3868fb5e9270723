"""Distance of every patch to a memory of good ones (PatchCore); see `classify.anomaly.memory`."""

import numpy as np
import torch

from annotations.images import read_image_rgb
from classify.anomaly.memory import PatchMemory
from classify.anomaly.method import AnomalyMethod
from classify.config import PatchMemoryConfig
from classify.features import FeatureNetwork
from classify.method import FoldData, need_good
from inference.patches import PatchScorer
from training import Predictor
from training.array_files import Arrays


class PatchMemoryMethod(AnomalyMethod[PatchMemoryConfig]):
    """A memory of good patches."""

    name = "patch-memory"
    title = "patch memory"
    has_map = True

    def __init__(self, config: PatchMemoryConfig, device: torch.device) -> None:
        """Load the network."""
        super().__init__(config, device)
        self.network = FeatureNetwork.of(config, device)

    def fit(self, data: FoldData) -> Arrays:
        """Choose the coreset among all patches of the good training images."""
        need_good(data, at_least=1)
        reporter = data.job.reporter
        advance = reporter.track(f"{data.name}: patches of good images", len(data.good))
        found = []
        for sample in data.good:
            image_rgb = read_image_rgb(sample.image_path)
            found.append(self.network.patches([self.network.prepare(image_rgb)])[0])
            advance("")
        chosen = reporter.track(f"{data.name}: coreset", self.config.memory_size)
        memory = PatchMemory.fit(
            np.concatenate(found),
            size=self.config.memory_size,
            seed=self.config.seed,
            progress=lambda _count: chosen(""),
        )
        return memory.arrays()

    def open(self, learned: Arrays) -> Predictor:
        """Score by the farthest patch."""
        mean, deviation = self.network.backbone.normalization
        return PatchScorer(
            self.network.patch_graph(),
            PatchMemory.from_arrays(learned),
            image_size=self.network.image_size,
            mean=mean,
            deviation=deviation,
        )
