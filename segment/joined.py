"""Joining trained segmenters of a dataset: what each counts for, and opening the whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from annotations import Dataset, FoldThresholds, InputError, Sample, SplitMismatchError
from annotations.errors import shortened
from annotations.files import read_json, write_json_atomic
from annotations.run_digests import digests_of, model_files
from annotations.run_files import TIMING_FILE
from annotations.store import read_as_trained
from inference.joined import JoinedMasks, JoinedMember, image_log_odds, join_looks
from inference.masks import Look, SegmentPredictor
from inference.thresholds import log_odds
from segment.config import JoinedConfig
from segment.hybrid.held_out import honest_looks
from segment.hybrid.predict import HybridPredictor, load_hybrid_predictor
from segment.join_weights import image_weights, map_weights
from segment.predict import load_mask_predictor
from segment.register import FAMILY
from segment.score_stack import auroc
from segment.thresholds import choose_thresholds, look_at, pixels_by_score, smooth_dice
from training import FoldJob, finished_folds, fold_folder, read_run_config, run_thresholds

MEMBERS_FILE: Final = "members.json"
FORMAT: Final = "defectune-joined-1"
_TINY: Final = 1e-6


class _Seen(NamedTuple):
    """A member on the validation images: looks and log odds by fits that did without them."""

    run: Path
    scorer: SegmentPredictor
    thresholds: FoldThresholds
    looks: Sequence[Look]
    image_odds: Sequence[float]


def require_member(dataset: Dataset, run: Path, folds: Sequence[int]) -> None:
    """Refuse a run that cannot be joined.

    Raises:
        InputError: no run of a single segmenter, or one that lacks some of the folds.
        SplitMismatchError: it was trained under another split, or on other classes.
    """
    settings = read_run_config(run)
    method = settings["config"].get("method")
    if settings["family"] != FAMILY.name or method == "joined":
        raise InputError(
            f"The run {run.name} is one of {settings['family']}"
            f"{' that is joined itself' if method == 'joined' else ''}; single segmenters alone "
            "can be joined."
        )
    if settings["split_digest"] != dataset.split.digest or settings["class_names"] != list(
        dataset.class_names
    ):
        raise SplitMismatchError(
            f"The run {run.name} was trained under another split or on other classes than "
            f"{dataset.root} has now. Train it again, then join."
        )
    missing = sorted(set(folds) - finished_folds(run))
    if missing:
        raise InputError(
            f"The run {run.name} has not finished fold {', '.join(map(str, missing))}. Train it "
            "first, or join the finished folds with --fold N."
        )


def join_fold(
    job: FoldJob, config: JoinedConfig, runs: Sequence[Path]
) -> tuple[JoinedMasks, FoldThresholds]:
    """Weigh the members by the fold's validation images, and choose the whole's thresholds.

    Args:
        job: dataset, fold and folder.
        config: settings.
        runs: of the members, each with this fold finished.

    Returns:
        The joined segmenter, and its thresholds. Weights and digests are noted in the fold's
        folder.
    """
    samples = job.dataset.select(job.dataset.split.folds[job.fold].val)
    each = [_seen(job, config, run, samples) for run in runs]
    flags, groups = [s.is_defective for s in samples], [s.group for s in samples]
    of_images = image_weights([one.image_odds for one in each], flags, groups)

    def dice(weights: Sequence[float]) -> float | None:
        joined = _joined(each, weights, weights)
        inside, outside = pixels_by_score(job, samples, joined)
        return float(smooth_dice(inside, outside).max()) if inside.any() else None

    alone = [dice([float(n == k) for n in range(len(each))]) for k in range(len(each))]
    known = {
        s.group for s in samples if s.is_defective and job.dataset.strengths[s.image_id] == "masks"
    }
    of_maps = map_weights(alone, len(known), dice)
    members = [
        JoinedMember(one.run.name, one.thresholds, image, pixels, one.scorer)
        for one, image, pixels in zip(each, of_images, of_maps, strict=True)
    ]
    predictor = JoinedMasks(members, min_area_fraction=config.min_area_fraction)
    looks = _joined(each, of_images, of_maps)
    ids = [sample.image_id for sample in samples]
    predictor.held_out_scores = dict(zip(ids, (one.image_score for one in looks), strict=True))
    _say(job, members, each, alone, dice(of_maps), flags, looks)
    _write(job.folder, members, runs, job.fold)
    return predictor, choose_thresholds(
        job, config, predictor, samples, looks, good_alone=not any(flags)
    )


def _seen(job: FoldJob, config: JoinedConfig, run: Path, samples: Sequence[Sample]) -> _Seen:
    scorer = load_single(run, job.fold, device=config.device)
    stored = read_as_trained(run, job.dataset).validation_scores
    if isinstance(scorer, HybridPredictor):
        looks = honest_looks(job, run, samples)
    else:
        looks = look_at(job, samples, scorer)
    thresholds = run_thresholds(run, job.fold)
    odds = [image_log_odds(thresholds, one.image_score) for one in looks]
    for number, sample in enumerate(samples):
        # A score stack is fitted to these very images; the run kept what others say of each.
        score = stored.get((job.fold, sample.image_id))
        if score is not None:
            odds[number] = float(log_odds([score], tiny=_TINY)[0])
    return _Seen(run, scorer, thresholds, looks, odds)


def _joined(
    each: Sequence[_Seen], of_images: Sequence[float], of_maps: Sequence[float]
) -> list[Look]:
    members = [
        JoinedMember(one.run.name, one.thresholds, image, pixels)
        for one, image, pixels in zip(each, of_images, of_maps, strict=True)
    ]
    return [
        join_looks(members, looks, odds)
        for looks, odds in zip(
            zip(*(one.looks for one in each), strict=True),
            zip(*(one.image_odds for one in each), strict=True),
            strict=True,
        )
    ]


def _say(
    job: FoldJob,
    members: Sequence[JoinedMember],
    each: Sequence[_Seen],
    dices: Sequence[float | None],
    joint_dice: float | None,
    flags: Sequence[bool],
    looks: Sequence[Look],
) -> None:
    """What each member brought and cost, a line each."""
    for member, one, dice in zip(members, each, dices, strict=True):
        counts = f"counts {member.image_weight:.0%} for images and {member.map_weight:.0%} for maps"
        said = counts if member.counts else "is left out: the others are better without it"
        timing: Any = {}
        if (path := fold_folder(one.run, job.fold) / TIMING_FILE).is_file():
            timing = read_json(path, what="times of a training")
        cost = timing.get("predicting_s_per_image") if isinstance(timing, dict) else None
        took = f"; {cost:.2f} s an image" if isinstance(cost, int | float) else ""
        job.reporter.say(
            f"Fold {job.fold}: {member.name} {said} ({_told(one.image_odds, dice, flags)}{took})."
        )
    joint = _told([seen.image_score for seen in looks], joint_dice, flags)
    job.reporter.say(f"Fold {job.fold}: joined, on the same {len(flags)} images: {joint}.")


def _told(scores: Sequence[float], dice: float | None, flags: Sequence[bool]) -> str:
    truth = np.asarray(flags, bool)
    both = truth.any() and not truth.all()
    ranked = f"{auroc(np.asarray(scores, np.float64), truth):.3f}" if both else "unknown"
    return f"AUROC {ranked}, Dice {'unknown' if dice is None else f'{dice:.3f}'}"


def _write(folder: Path, members: Sequence[JoinedMember], runs: Sequence[Path], fold: int) -> None:
    rows = [
        {
            "run": member.name,
            "image_weight": member.image_weight,
            "map_weight": member.map_weight,
            "files": digests_of(run, model_files(fold_folder(run, fold))),
        }
        for member, run in zip(members, runs, strict=True)
    ]
    write_json_atomic(folder / MEMBERS_FILE, {"format": FORMAT, "members": rows})


def load_joined(run: Path, fold: int, *, device: str = "auto") -> JoinedMasks:
    """Open one fold of a joined run, whose members stand beside it.

    Raises:
        InputError: that fold has not finished, or a member is gone or was trained again since.
    """
    path = fold_folder(run, fold) / MEMBERS_FILE
    thresholds = run_thresholds(run, fold)
    document: Any = read_json(path, what="the members of a joined run")
    try:
        rows = [
            (str(row["run"]), float(row["image_weight"]), float(row["map_weight"]), row["files"])
            for row in document["members"]
        ]
        if document["format"] != FORMAT or any(
            Path(name).name != name or name in ("", "..") for name, *_ in rows
        ):
            raise ValueError(f"it should be {FORMAT} and name runs beside this one")
        if not all(0 <= weight <= 1 for _, *weights, _files in rows for weight in weights):
            raise ValueError("weights should be 0 to 1")
        if not any(image or pixels for _, image, pixels, _files in rows):
            raise ValueError("some member should count")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({shortened(error)}). Join again under another --name."
        ) from error
    members = []
    for name, image, pixels, files in rows:
        if image == pixels == 0:
            continue
        place = run.parent / name
        _require_same(run, place, fold, files)
        scorer = load_single(place, fold, device=device)
        members.append(JoinedMember(name, run_thresholds(place, fold), image, pixels, scorer))
    joined = JoinedMasks(
        members,
        region_threshold=thresholds.region_threshold,
        min_area_fraction=thresholds.min_area_fraction,
    )
    return joined.group_by(thresholds)


def _require_same(run: Path, member: Path, fold: int, files: Any) -> None:
    there = (
        digests_of(member, model_files(fold_folder(member, fold)))
        if fold_folder(member, fold).is_dir()
        else {}
    )
    if there != files:
        changed = "is gone" if not there else "was trained again or changed since"
        raise InputError(
            f"The run {run.name} joins {member.name}, which {changed}. Restore it, or join again "
            "under another --name."
        )


def load_single(run: Path, fold: int, *, device: str) -> SegmentPredictor:
    """Open one fold of a run that joins no others.

    Raises:
        InputError: not a segmenter run, or that fold has not finished.
    """
    if read_run_config(run)["config"].get("method") == "hybrid":
        return load_hybrid_predictor(run, fold, device=device)
    return load_mask_predictor(run, fold, device=device)
