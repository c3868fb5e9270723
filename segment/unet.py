"""Fine-tuning the U-Net on a fold."""

from collections.abc import Sequence

from annotations import FoldThresholds, Sample
from annotations.run_files import IMAGE_SCORE_FILE, SEGMENTER_WEIGHTS_FILE
from inference.masks import Look
from segment.config import SegmentConfig
from segment.fit import fit, learnable
from segment.network import build_network
from segment.predict import MaskPredictor
from segment.score_stack import fit_stack
from segment.thresholds import choose_thresholds, look_at
from training import FoldJob, Predictor, load_into, resolve_device
from training.fold_tiles import choose_fold_tiles
from training.shots import select_limited
from training.strengths import say_taught, say_unlearned


def train_unet(job: FoldJob, config: SegmentConfig) -> tuple[Predictor, FoldThresholds]:
    """Train a fold's network, or take the one that is there, and choose its thresholds.

    Raises:
        TrainingError: there is no image to learn from.
    """
    best = job.folder / SEGMENTER_WEIGHTS_FILE
    network = build_network(config, len(job.dataset.class_names), pretrained=False)
    fold = job.dataset.split.folds[job.fold]
    train = select_limited(job.dataset, fold.train, config)
    tiles = choose_fold_tiles(job, train, image_size=config.image_size, asked=config.tiles)
    if not best.is_file():
        learned = learnable(job, fold.train, config, tiles=tiles)
        say_taught(job, learned, held_out=False)
        if tiles > 1:
            say_unlearned(job, learns_from=frozenset({"masks", "boxes"}))
        fit(job, config, tiles, best)
    load_into(network, best)
    device = resolve_device(config.device)
    predictor = MaskPredictor(network, config, device=device, tiles=tiles)

    def fit_scores(samples: Sequence[Sample], looks: Sequence[Look]) -> Sequence[float]:
        flags, groups = [s.is_defective for s in samples], [s.group for s in samples]
        fitted = fit_stack([seen.defect for seen in looks], flags, groups)
        (job.folder / IMAGE_SCORE_FILE).unlink(missing_ok=True)
        if fitted is None:
            job.reporter.say(
                f"Fold {job.fold}: the image score is the 99.9 % quantile of the map; weights "
                f"fitted to {len(samples)} validation images do not rank clearly better."
            )
            return [seen.image_score for seen in looks]
        predictor.stack, held_out = fitted
        predictor.stack.write(job.folder / IMAGE_SCORE_FILE)
        ids = (sample.image_id for sample in samples)
        predictor.held_out_scores = dict(zip(ids, held_out, strict=True))
        return held_out

    samples = select_limited(job.dataset, fold.val, config)
    looks = look_at(job, samples, predictor)
    return predictor, choose_thresholds(
        job, config, predictor, samples, looks, fit_scores=fit_scores
    )
