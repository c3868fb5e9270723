"""Fine-tuning a segmenter on folds, and choosing its thresholds on validation images."""

from collections.abc import Sequence
from pathlib import Path

from annotations import (
    Dataset,
    FoldThresholds,
    UsageError,
    require_defects_in_training,
)
from annotations.run_files import SEGMENTER_WEIGHTS_FILE
from segment.config import JoinedConfig, SegmentConfig
from segment.hybrid.config import HybridConfig
from segment.hybrid.held_out import add_probe, held_out_looks
from segment.hybrid.predict import HybridNetwork, HybridPredictor
from segment.hybrid.shape import choose_shape
from segment.hybrid.starting import choose_shares
from segment.hybrid.train import fit_heads
from segment.joined import join_fold, require_member
from segment.network import build_network
from segment.register import FAMILY
from segment.thresholds import choose_thresholds, look_at
from training import (
    FoldJob,
    Predictor,
    Reporter,
    load_into,
    resolve_device,
    train_run,
)
from training.configs import build_config
from training.device import device_list
from training.job import Start, run_folder
from training.recipes import read_recipe
from training.shots import select_limited
from training.strengths import say_taught

SingleConfig = SegmentConfig | HybridConfig
AnyConfig = SingleConfig | JoinedConfig


def train_segmenter(
    dataset: Dataset,
    config: AnyConfig,
    *,
    name: str,
    folds: Sequence[int],
    reporter: Reporter,
    start: Start | None = None,
) -> Path:
    """Fine-tune a segmenter on folds of a dataset and predict their test images.

    Args:
        dataset: a converted dataset.
        config: of a U-Net, of the hybrid segmenter, or of several joined.
        name: of the run.
        folds: numbers.
        reporter: for progress.

    Returns:
        The run's folder.

    Raises:
        ProtocolError: the protocol keeps defective images out of training, and the method cannot
            do without.
        WeightsNotFoundError: pretrained weights were asked for and are not to be had.
        InputError, OutputExistsError, TrainingError: see `training.train_run`.
    """
    device_list(config.device)
    n_classes = len(dataset.class_names)
    members: list[Path] = []
    if isinstance(config, JoinedConfig):
        members = _members(dataset, config, name, folds, reporter)
        model = f"joined {' + '.join(run.name for run in members)}"
    elif isinstance(config, HybridConfig):
        model = f"hybrid {config.encoder}"
        HybridNetwork(config, n_classes, weights=config.weights)
    else:
        require_defects_in_training(dataset.split, dataset.samples, family="segment")
        model = f"{config.architecture} {config.encoder}"
        build_network(config, n_classes, pretrained=config.weights == "auto")

    def train_fold(job: FoldJob) -> tuple[Predictor, FoldThresholds]:
        if isinstance(config, HybridConfig):
            return _train_hybrid(job, config)
        if isinstance(config, JoinedConfig):
            return join_fold(job, config, members)
        # Its libraries take seconds to load, and the other methods do without.
        from segment.unet import train_unet

        return train_unet(job, config)

    return train_run(
        dataset,
        name,
        family="segment",
        model=model,
        config=config,
        folds=folds,
        train_fold=train_fold,
        reporter=reporter,
        start=start,
    )


def _members(
    dataset: Dataset, config: JoinedConfig, name: str, folds: Sequence[int], reporter: Reporter
) -> list[Path]:
    """The runs to join; those that a method stands for are trained, or gone on with.

    Raises:
        UsageError: a run twice.
        InputError, SplitMismatchError: a run that cannot be joined.
    """
    runs: list[Path] = []
    for entry in config.members:
        # Gone on with where it was begun, also if a run of the method's name was trained since.
        begun = run_folder(dataset, f"{name}-{entry}").is_dir()
        if entry in FAMILY.methods and (begun or not run_folder(dataset, entry).is_dir()):
            method = FAMILY.methods[entry]
            chosen = build_config(
                FAMILY.config_class(entry),
                {"seed": config.seed, "device": config.device},
                [],
                recipe=read_recipe(FAMILY.name, method.recipe) if method.recipe else {},
            )
            if not isinstance(chosen, SingleConfig):
                raise UsageError("members should be segmenters that are not joined themselves.")
            runs.append(
                train_segmenter(
                    dataset, chosen, name=f"{name}-{entry}", folds=folds, reporter=reporter
                )
            )
        else:
            runs.append(run_folder(dataset, entry))
    if len({run.name for run in runs}) < len(runs):
        raise UsageError(f"members names a run twice: {', '.join(config.members)}.")
    for run in runs:
        require_member(dataset, run, folds)
    return runs


def _train_hybrid(job: FoldJob, config: HybridConfig) -> tuple[Predictor, FoldThresholds]:
    best = job.folder / SEGMENTER_WEIGHTS_FILE
    fold = job.dataset.split.folds[job.fold]
    train = select_limited(job.dataset, fold.train, config)
    config, tiles = choose_shape(job, config, train)
    everything = select_limited(job.dataset, [*fold.train, *fold.val], config)
    shares = choose_shares(job, config, everything)
    learned = train if shares is None else everything
    if not best.is_file():
        say_taught(job, learned, held_out=shares is not None)
        fit_heads(job, config, learned, shares, tiles=tiles, best=best)
    network = HybridNetwork(config, len(job.dataset.class_names), weights="none")
    load_into(network, best)
    device = resolve_device(config.device)
    predictor = HybridPredictor(network, config, device=device, tiles=tiles)
    if shares is None:
        samples = select_limited(job.dataset, fold.val, config)
        looks = look_at(job, samples, predictor)
    else:
        samples = learned
        looks = held_out_looks(job, config, network, samples, shares, tiles=tiles)
        if tiles == 1:
            looks = add_probe(job, config, network, samples, looks, shares)
        scores = {s.image_id: one.image_score for s, one in zip(samples, looks, strict=True)}
        predictor.held_out_scores = scores
    return predictor, choose_thresholds(job, config, predictor, samples, looks, good_alone=True)
