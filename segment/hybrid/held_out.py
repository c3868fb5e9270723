"""Honest scores of the images that heads were trained on: each by the head that did without it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from annotations import Sample
from annotations.images import read_image_rgb
from annotations.run_files import TILES_FILE
from inference.images import fitted_hw, normalized, resize_to
from inference.masks import Look
from inference.tiling import read_tiles
from segment.hybrid.cache import CACHE_FOLDER, FeatureCache
from segment.hybrid.config import HybridConfig
from segment.hybrid.image_probe import PROBE_FILE, fit_probe, pooled
from segment.hybrid.predict import HybridNetwork, HybridPredictor, load_hybrid_predictor
from segment.hybrid.shape import resolved
from segment.hybrid.starting import stored_shares
from segment.score_stack import auroc
from training import FoldJob, fold_folder, resolve_device, stored_config


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


@torch.inference_mode()
def add_probe(
    job: FoldJob,
    config: HybridConfig,
    network: HybridNetwork,
    samples: Sequence[Sample],
    looks: Sequence[Look],
    shares: Mapping[str, int],
) -> list[Look]:
    """Fit a probe of the image as a whole, and give it to the network where it is of use.

    Args:
        job: dataset, fold and folder, which keeps the probe.
        config: settings.
        network: trained.
        samples: images, in any order.
        looks: what heads that were not trained on them see in each.
        shares: of each image, by id.

    Returns:
        The looks, with scores by probes that were not fitted to their images where one is of use.
    """
    path = job.folder / PROBE_FILE
    path.unlink(missing_ok=True)
    cache = FeatureCache(job.dataset.root / CACHE_FOLDER, network.features, encoder=config.encoder)
    device = next(network.parameters()).device
    rows = []
    for sample in samples:
        image_rgb = resize_to(
            read_image_rgb(sample.image_path), fitted_hw(sample.image_hw, config.image_size)
        )
        planes = normalized(image_rgb, *network.features.backbone.normalization)
        levels = cache.read(cache.path(planes), (planes.shape[1], planes.shape[2]))
        if levels is None:
            batch = torch.from_numpy(planes)[None].to(device)
            levels = [level[0] for level in network.features.levels(batch)]
        alone = [level[None].to(device) for level in levels]
        rows.append(pooled(network.heads.standardize(alone))[0].cpu().numpy())
    flags, groups = [s.is_defective for s in samples], [s.group for s in samples]
    scores = [seen.image_score for seen in looks]
    fitted = fit_probe(
        np.stack(rows), scores, flags, groups, [shares[sample.image_id] for sample in samples]
    )
    if fitted is None:
        return list(looks)
    fitted.probe.write(path)
    network.probe = fitted.probe.to(device)
    before, after = (auroc(np.asarray(s), np.asarray(flags)) for s in (scores, fitted.scores))
    job.reporter.say(
        f"Fold {job.fold}: a probe of the image as a whole ranks {len(samples)} held-out images "
        f"better (AUROC {after:.3f}, without it {before:.3f}); {fitted.probe.part:.0%} of the "
        "image score is its own."
    )
    return [
        one._replace(image_score=score) for one, score in zip(looks, fitted.scores, strict=True)
    ]


def honest_looks(job: FoldJob, run: Path, samples: Sequence[Sample]) -> list[Look]:
    """What a finished run sees in images of the training side, without what was trained on them.

    Args:
        job: dataset, fold and reporter; the run was trained on this dataset.
        run: of a hybrid segmenter, with this fold finished.
        samples: validation images; of a run whose heads are cross-fitted, any of the training side.

    Returns:
        In the order of the samples.

    Raises:
        InputError: not such a run, or that fold has not finished.
    """
    config = resolved(stored_config(run, HybridConfig), fold_folder(run, job.fold) / TILES_FILE)
    predictor = load_hybrid_predictor(run, job.fold, device=config.device)
    shares = stored_shares(run, job.fold, job.dataset, config)
    if shares is None:
        return [predictor.look(read_image_rgb(sample.image_path)) for sample in samples]
    tiles = read_tiles(fold_folder(run, job.fold) / TILES_FILE)
    # Images beyond a limit on shots trained no head: any will do.
    shares = {sample.image_id: shares.get(sample.image_id, 0) for sample in samples}
    return held_out_looks(job, config, predictor.trained, samples, shares, tiles=tiles)
