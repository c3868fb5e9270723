"""Honest scores of the images that heads were trained on: each by the head that did without it."""

from collections.abc import Mapping, Sequence

from annotations import Sample
from annotations.images import read_image_rgb
from inference.masks import Look
from segment.hybrid.cache import CACHE_FOLDER, FeatureCache
from segment.hybrid.config import HybridConfig
from segment.hybrid.predict import HybridNetwork, HybridPredictor
from training import FoldJob, resolve_device


def held_out_looks(
    job: FoldJob,
    config: HybridConfig,
    network: HybridNetwork,
    samples: Sequence[Sample],
    shares: Mapping[str, int],
    *,
    tiles: int,
) -> list[Look]:
    """What the head that an image was held out from sees in it.

    Args:
        job: dataset, fold and reporter.
        config: settings.
        network: trained.
        samples: images, in any order.
        shares: the head of each image, by id.
        tiles: along an image's longer side.

    Returns:
        In the order of the samples.
    """
    device = resolve_device(config.device)
    cache = FeatureCache(job.dataset.root / CACHE_FOLDER, network.features, encoder=config.encoder)
    predictors = [
        HybridPredictor(network, config, device=device, tiles=tiles, only=(head,), cache=cache)
        for head in range(config.heads)
    ]
    advance = job.reporter.track(
        f"{job.folder.parent.name}: fold {job.fold}, held-out scores", len(samples)
    )
    looks = []
    for sample in samples:
        looks.append(predictors[shares[sample.image_id]].look(read_image_rgb(sample.image_path)))
        advance("")
    return looks
