"""Choosing a segmenter's thresholds on the validation images of a fold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from annotations import FoldThresholds, Sample
from annotations.images import read_image_rgb
from inference.masks import Look, SegmentPredictor
from inference.matching import FOUND_COVER, match_regions
from inference.thresholds import PRIOR_GROUPS, from_log_odds, log_odds
from segment.config import AimedConfig
from segment.data import resize_class_mask
from training import FoldJob, good_probability_thresholds, probability_thresholds

BINS: Final = 401
LIMIT: Final = 8.0
"""Log odds of a pixel's score, beyond which all count as this."""
SMOOTH: Final = 21
"""Bins that Dice is averaged over: 0.8 of log odds."""
STEP: Final = 20
"""Bins from one candidate for the threshold of pixels to the next."""
WORTH: Final = 0.1
"""Of Dice, that a candidate may be below the best."""
MOST_DEFECTIVE: Final = 30
MIN_AREAS: Final = (1e-4, 3e-4, 1e-3)
"""Candidates beside the configured one, as parts of the image."""
LOW_FRACTIONS: Final = (1.0, 0.5)
"""Candidates for hysteresis, as parts of the threshold of regions."""
MERGES: Final = (0.01, 0.03)
"""Candidates for the widest gap that is closed, as parts of the image's longer side."""
RARELY: Final = 0.1
"""Share of the training side's defects, or gaps, that a rule may pass over."""
GAIN: Final = 0.02
"""Of F1 and Dice, from which on pieces are grouped: on a few dozen images less is chance."""
GOOD_PIXELS: Final = 0.9995
"""Part of the pixels of good validation images that stay below the threshold of regions, where
there is no defect to choose it on."""

Counts = npt.NDArray[np.float64]
FitScores = Callable[[Sequence[Sample], Sequence[Look]], Sequence[float]]


def look_at(job: FoldJob, samples: Sequence[Sample], predictor: SegmentPredictor) -> list[Look]:
    """What a predictor sees in each of a fold's images."""
    advance = job.reporter.track(
        f"{job.folder.parent.name}: fold {job.fold}, validation images", len(samples)
    )
    looks = []
    for sample in samples:
        looks.append(predictor.look(read_image_rgb(sample.image_path)))
        advance("")
    return looks


def choose_thresholds(
    job: FoldJob,
    config: AimedConfig,
    predictor: SegmentPredictor,
    samples: Sequence[Sample],
    looks: Sequence[Look],
    *,
    good_alone: bool = False,
    fit_scores: FitScores | None = None,
) -> FoldThresholds:
    """Thresholds of pixels and regions by pixel Dice and found regions together, and of images by
    the aim.

    The predictor gets what is chosen.

    Args:
        job: dataset and fold.
        config: settings, with the aim.
        predictor: of the trained network.
        samples: images that did not train what saw them.
        looks: what was seen in each of them.
        good_alone: without defective ones, choose on good ones; else 0.5 is taken.
        fit_scores: fits the predictor's image score to the validation images and gives held-out
            scores of them.
    """
    inside, outside = pixels_by_score(job, samples, looks)
    flags = [sample.is_defective for sample in samples]
    groups = [sample.group for sample in samples]
    only_good = good_alone and bool(samples) and not any(flags)
    if only_good:
        predictor.region_threshold = _good_pixel_threshold(outside)
    else:
        shown = _some(job, samples, looks)
        dice = smooth_dice(inside, outside)
        _choose_pixel_threshold(job, predictor, shown, dice)
        _choose_grouping(job, predictor, shown, dice)
    image_scores: Sequence[float] = [seen.image_score for seen in looks]
    if fit_scores is not None:
        image_scores = fit_scores(samples, looks)
    if only_good:
        chosen = good_probability_thresholds(
            image_scores, region_threshold=predictor.region_threshold, aim=config.aim
        )
    else:
        chosen = probability_thresholds(
            image_scores,
            flags,
            groups,
            region_threshold=predictor.region_threshold,
            aim=config.aim,
        )
    return replace(
        chosen,
        min_area_fraction=predictor.min_area_fraction,
        low_fraction=predictor.low_fraction,
        merge_fraction=predictor.merge_fraction,
    )


def pixels_by_score(
    job: FoldJob, samples: Sequence[Sample], looks: Sequence[Look]
) -> tuple[Counts, Counts]:
    """Pixels inside and outside of defects by log odds of their score, where all are known."""
    n_classes = len(job.dataset.class_names)
    inside, outside = np.zeros(BINS), np.zeros(BINS)
    for sample, seen in zip(samples, looks, strict=True):
        if job.dataset.strengths[sample.image_id] != "masks":
            continue
        truth = job.dataset.truths[sample.image_id].class_index_mask()
        scores = seen.defect
        hw = (scores.shape[0], scores.shape[1])
        small = resize_class_mask(truth, hw, n_classes) > 0
        bins = _bin_of(scores)
        inside += np.bincount(bins[small], minlength=BINS)
        outside += np.bincount(bins[~small], minlength=BINS)
    return inside, outside


def _bin_of(scores: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The bins of scores from 0 to 1."""
    places = np.rint((log_odds(np.asarray(scores)) / LIMIT + 1) / 2 * (BINS - 1))
    return np.clip(places, 0, BINS - 1).astype(np.intp)


def _of_bin(number: float) -> float:
    """The score in the middle of a bin."""
    return from_log_odds((2 * number / (BINS - 1) - 1) * LIMIT)


def _good_pixel_threshold(outside: Counts) -> float:
    """The upper end of the bin with the quantile `GOOD_PIXELS` of good images' pixels."""
    share = np.cumsum(outside) / outside.sum()
    number = int(np.searchsorted(share, GOOD_PIXELS))
    return float(np.clip(_of_bin(number + 0.5), 0.05, 0.999))


def smooth_dice(inside: Counts, outside: Counts) -> Counts:
    """Pooled Dice at the threshold of each bin, averaged over its neighbors: on few images the
    curve's single highest point is chance. All 0 without a known defect pixel."""
    if not inside.any():
        return np.zeros(BINS)
    hits, false = np.cumsum(inside[::-1])[::-1], np.cumsum(outside[::-1])[::-1]
    dice = 2 * hits / (hits + false + inside.sum())
    padded = np.pad(dice, SMOOTH // 2, mode="edge")
    return np.convolve(padded, np.ones(SMOOTH) / SMOOTH, mode="valid")


def _choose_pixel_threshold(
    job: FoldJob, predictor: SegmentPredictor, shown: Sequence[tuple[Sample, Look]], dice: Counts
) -> None:
    """Give a predictor the threshold of pixels with the highest sum of pixel Dice and F1 of found
    regions: Dice alone would give up small defects for one large one, and regions alone most of a
    crack's pixels.

    It is drawn towards 0.5 by `PRIOR_GROUPS` parts against those with a defect whose pixels are
    known, but never to where Dice is more than `WORTH` below its best.
    """
    parts = {sample.group for sample, _ in shown if sample.is_defective}
    if not parts:
        predictor.region_threshold = 0.5
        return
    best = int(np.argmax(dice))
    worth = np.flatnonzero(dice >= dice[best] - WORTH)
    scored = []
    for number in sorted({best, *worth[::STEP].tolist()}):
        predictor.region_threshold = _of_bin(number)
        found_f1 = _f1_by_area(job, predictor, shown, [predictor.min_area_fraction])[0]
        scored.append((dice[number] + found_f1, -abs(number - BINS // 2), number))
    middle = BINS // 2
    drawn = middle + (max(scored)[-1] - middle) * len(parts) / (len(parts) + PRIOR_GROUPS)
    predictor.region_threshold = _of_bin(float(np.clip(drawn, worth[0], worth[-1])))


def _choose_grouping(
    job: FoldJob, predictor: SegmentPredictor, shown: Sequence[tuple[Sample, Look]], dice: Counts
) -> None:
    """Give a predictor the smallest area, and the grouping of pieces, with the highest sum of pixel
    Dice and F1 of regions found.

    A larger area than the configured one is taken only where that finds clearly more, and never
    one that would leave out what makes nine in ten of the training side's defects found.
    A thin crack falls into pieces wherever its score dips. Pieces are joined, and pixels below the
    threshold taken in, only where that finds clearly more, and over no wider gap than nine in ten
    images of the training side have between regions of their own.
    """
    least = predictor.min_area_fraction
    gap = _usual_gap(job)
    most = _smallest_usual(job)
    areas = [least, *(area for area in MIN_AREAS if least < area <= most)]
    groupings = [(low, merge) for merge in (0.0, *MERGES) for low in LOW_FRACTIONS if merge < gap]
    best: tuple[float, float, float, float] | None = None
    for low, merge in groupings:
        predictor.low_fraction, predictor.merge_fraction = low, merge
        found_f1 = _f1_by_area(job, predictor, shown, areas)
        # The smallest that is about as good: nothing is left out without a reason.
        number = int(np.argmax(np.asarray(found_f1) >= max(found_f1) - GAIN))
        # Pixels below the threshold that are taken in may lie beside the defect.
        score = found_f1[number] + float(dice[_bin_of(low * predictor.region_threshold)])
        if best is None or score > best[0] + GAIN:
            best = (score, areas[number], low, merge)
    if best is not None:
        _, predictor.min_area_fraction, predictor.low_fraction, predictor.merge_fraction = best


def _some(
    job: FoldJob, samples: Sequence[Sample], looks: Sequence[Look]
) -> list[tuple[Sample, Look]]:
    """At most `MOST_DEFECTIVE` defective images whose pixels are known, and half as many good ones:
    cutting regions at an image's own size takes its time."""
    known = [
        (sample, seen)
        for sample, seen in zip(samples, looks, strict=True)
        if job.dataset.strengths[sample.image_id] == "masks"
    ]
    bad = [one for one in known if one[0].is_defective]
    good = [one for one in known if not one[0].is_defective]
    rng = np.random.default_rng(0)
    chosen = []
    for rows, most in ((bad, MOST_DEFECTIVE), (good, MOST_DEFECTIVE // 2)):
        numbers = sorted(rng.permutation(len(rows))[:most].tolist())
        chosen += [rows[number] for number in numbers]
    return chosen


def _smallest_usual(job: FoldJob) -> float:
    """Area that is enough for nine in ten defects of the training side to be found, as a part of
    the image; 0 where none is known by its pixels."""
    areas = [
        float(area) / (sample.image_hw[0] * sample.image_hw[1])
        for sample in job.dataset.select(job.dataset.split.folds[job.fold].train)
        if job.dataset.strengths[sample.image_id] == "masks"
        for area in job.dataset.truths[sample.image_id].areas
    ]
    return FOUND_COVER * float(np.quantile(areas, RARELY)) if areas else 0.0


def _usual_gap(job: FoldJob) -> float:
    """Nine in ten training images with several regions have no two closer together than this part
    of the longer side; 1 where no image has two."""
    gaps = []
    for sample in job.dataset.select(job.dataset.split.folds[job.fold].train):
        boxes = job.dataset.truths[sample.image_id].boxes_xyxy
        # Between boxes, which is never more than between what is inside them.
        apart = [
            float(np.hypot(*np.maximum(0, np.maximum(b[:2] - a[2:], a[:2] - b[2:]))))
            for number, a in enumerate(boxes[:-1])
            for b in boxes[number + 1 :]
        ]
        if apart:
            gaps.append(min(apart) / max(sample.image_hw))
    return float(np.quantile(gaps, RARELY)) if gaps else 1.0


def _f1_by_area(
    job: FoldJob,
    predictor: SegmentPredictor,
    shown: Sequence[tuple[Sample, Look]],
    candidates: Sequence[float],
) -> list[float]:
    """F1 of the regions found, with smaller ones than each candidate left out."""
    matched, found_all = np.zeros(len(candidates)), np.zeros(len(candidates))
    n_truth = 0
    for sample, seen in shown:
        truth = job.dataset.truths[sample.image_id]
        found = predictor.prediction(sample.image_id, seen, sample.image_hw).regions
        n_truth += len(truth)
        if found is None or not len(found):
            continue
        sizes = found.areas / (sample.image_hw[0] * sample.image_hw[1])
        for number, smallest in enumerate(candidates):
            kept = found[sizes >= smallest]
            match = match_regions(truth, kept)
            found_all[number] += len(kept)
            # Pieces of one defect, and one piece over several defects, count once.
            matched[number] += min(match.found_truth.sum(), (~match.false_alarm).sum())
    if not n_truth:
        return [0.0] * len(candidates)
    return [float(value) for value in 2 * matched / (found_all + n_truth)]
