"""Anyone's model on our split: predictions made elsewhere become a run like any other.

A folder with any of

    images.csv       image_id,image_score (more columns are passed over)
    regions.json     COCO results; image and category ids as in the dataset's annotations/all.json,
                     or as ultralytics writes them (`predictions.json`): images by the names of
                     their files, classes from 1, or from 0 as its older versions do
    predictions.csv  the boxes of ultralytics' `to_csv`, with a column that names the image
    maps/            score maps of the images' size: PNG or TIFF of 8, 16 or 32 bits, or .npy,
                     named by the image id (`broken_large/000.png`) or its stem
                     (`broken_large__000.png`)
    validation.csv   image_id,image_score[,fold]: scores of the split's validation images, from
                     which the threshold is taken
    meta.json        {"split_digest": …}: refused where it is not this dataset's

or a single images.csv or regions.json. Every test image must be scored by a model that never
saw it nor another image of its part; only whoever trained it can know that, and the run says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from annotations import (
    Dataset,
    FoldThresholds,
    InputError,
    Prediction,
    PredictionWriter,
    Regions,
    SplitMismatchError,
    UsageError,
)
from annotations.files import folder_moved_into_place, read_json
from annotations.prediction_files import GIVEN, read_csv
from annotations.scores import RawScore
from evaluation.external_boxes import boxes_of_csv, names_boxes
from evaluation.external_maps import map_files, map_shift, read_map
from evaluation.external_regions import MAX_SCORE, regions_of_rows
from inference.thresholds import BALANCED, ThresholdAim, choose_threshold, from_log_odds, log_odds

FAMILY: Final = "external"
GOOD_QUANTILE: Final = 0.98
"""Of validation scores, where none is of a defective image."""
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class ExternalOptions:
    """What is known of predictions made elsewhere.

    Attributes:
        model: its name for people.
        threshold: image scores at or above it are called defective, on the model's own scale;
            None takes it from validation scores, and without those there are no verdicts.
        region_threshold: regions scoring at or above it count as found.

    Raises:
        UsageError: a threshold that is not a finite number.
    """

    model: str = "made elsewhere"
    threshold: float | None = None
    region_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (
            ("--threshold", self.threshold),
            ("--region-threshold", self.region_threshold),
        ):
            if value is not None and not np.isfinite(value):
                raise UsageError(f"{name} must be a finite number, got {value}.")


def import_predictions(
    dataset: Dataset, source: Path, run: Path, options: ExternalOptions = ExternalOptions()
) -> list[str]:
    """Check predictions made elsewhere and store them as a run.

    Args:
        dataset: that they are to be evaluated on.
        source: the folder, CSV or JSON; see the head of this file.
        run: the run folder to make.
        options: threshold and name of the model.

    Returns:
        What was left out, derived or shifted, a sentence each.

    Raises:
        InputError: nothing to read, an unknown, repeated or missing image, a score that is not a
            number, a box outside of its image or without a size, a mask or map of another size,
            or an unknown class.
        SplitMismatchError: meta.json names another split.
        OutputExistsError: the run exists.
    """
    notes: list[str] = []
    parts = _parts(source)
    _check_digest(parts.get("meta"), dataset)
    ids = dataset.split.test_ids
    maps = map_files(parts["maps"], dataset, notes) if "maps" in parts else {}
    if maps:
        _require_all(maps, ids, parts["maps"])
    regions: dict[str, Regions] | None = None
    if "regions" in parts:
        path = parts["regions"]
        if path.suffix.lower() == ".csv":
            rows: Any = boxes_of_csv(path, dataset, notes)
        else:
            rows = read_json(path, what="COCO results")
        regions = regions_of_rows(rows, path, dataset, notes)
    scores = _image_scores(parts, dataset, regions, maps, notes)
    validation = _validation_scores(parts.get("validation"), dataset)
    everything = [*scores.values(), *validation.values()]
    shift = 0.0
    bounded = min(everything) >= 0 and max(everything) <= 1
    if min(everything) < 0:
        shift = _TINY - min(everything)
        notes.append(f"image scores below 0 occur; all were raised by {shift:g}, threshold too")
    thresholds, missing = _thresholds(dataset, validation, options, shift, bounded=bounded)
    raised = map_shift(maps, dataset, notes)
    notes += _one_sided(options, everything, regions)
    about: dict[str, Any] = {"family": FAMILY, "model": options.model, "notes": notes}
    about["class_names"] = list(dataset.class_names)
    if missing:
        about["no_threshold"] = missing
    hint = "Evaluate the run that is there by its name, or choose another name."
    with folder_moved_into_place(run, hint=hint) as folder:
        for number, fold in enumerate(dataset.split.folds):
            with PredictionWriter(folder, dataset, number, thresholds[number], about) as writer:
                for image_id in fold.test:
                    writer.write(
                        Prediction(
                            image_id,
                            RawScore(scores[image_id] + shift),
                            None if regions is None else regions[image_id],
                            read_map(maps[image_id], dataset, image_id) + raised if maps else None,
                        )
                    )
                for (of_fold, image_id), score in sorted(validation.items()):
                    if of_fold == number:
                        writer.write_validation(image_id, RawScore(score + shift))
    return notes


def _one_sided(
    options: ExternalOptions,
    scores: Sequence[float],
    regions: Mapping[str, Regions] | None,
) -> list[str]:
    """Warnings of thresholds that tell nothing apart: mostly they are on another scale."""
    notes = []
    low, high = min(scores), max(scores)
    if options.threshold is not None and not low < options.threshold <= high:
        side = "above" if options.threshold > high else "at or below"
        notes.append(
            f"WARNING: the threshold {options.threshold:g} lies {side} every image score ({low:g} "
            f"to {high:g}), so that all images are called "
            f"{'good' if options.threshold > high else 'defective'}. Is it on another scale? "
            "16-bit maps are read as whole numbers from 0 to 65,535."
        )
    cut = options.region_threshold
    region_scores = [
        float(score)
        for one in (regions or {}).values()
        for score in (() if one.scores is None else one.scores)
    ]
    if region_scores and cut > max(region_scores):
        notes.append(
            f"WARNING: the region threshold {cut:g} lies above every region's score (at most "
            f"{max(region_scores):g}), so that no region counts as found."
        )
    return notes


def _parts(source: Path) -> dict[str, Path]:
    if source.is_file():
        kind = {".csv": "images", ".json": "regions"}.get(source.suffix.lower())
        if kind == "images" and names_boxes(source):
            kind = "regions"
        if kind is None:
            raise InputError(f"{source} is neither a CSV of image scores nor a JSON of regions.")
        return {kind: source}
    names = {
        "images": "images.csv",
        "regions": "regions.json",
        "maps": "maps",
        "validation": "validation.csv",
        "meta": "meta.json",
    }
    found = {kind: source / name for kind, name in names.items() if (source / name).exists()}
    for name in ("predictions.json", "predictions.csv"):
        # As ultralytics calls them.
        if "regions" not in found and (source / name).is_file():
            found["regions"] = source / name
    if not {"images", "regions", "maps"} & set(found):
        raise InputError(
            f"{source} holds no predictions: expected images.csv, regions.json or a folder maps "
            "in it, or predictions.json or predictions.csv as ultralytics writes them (or give one "
            "such file)."
        )
    return found


def _check_digest(path: Path | None, dataset: Dataset) -> None:
    digest = None
    if path is not None:
        meta = read_json(path, what="what is known of predictions")
        digest = meta.get("split_digest") if isinstance(meta, dict) else None
    if digest is not None and digest != dataset.split.digest:
        raise SplitMismatchError(
            f"{path} says the predictions belong to the split {str(digest)[:12]}…, but "
            f"{dataset.root} has {dataset.split.digest[:12]}…. Predict on this split."
        )


def _score(row: Mapping[str, str], path: Path) -> float:
    try:
        value = float(row["image_score"])
    except (KeyError, TypeError, ValueError):
        value = float("nan")
    # Beyond it sums of two scores, and scores as float32, are no numbers any more.
    if not abs(value) <= MAX_SCORE:
        raise InputError(
            f"{path}: the score of {row.get('image_id')!r} is {_short(row.get('image_score'))}; a "
            f"finite number between -{MAX_SCORE:g} and {MAX_SCORE:g} is needed, higher for more "
            "defective. The columns are image_id,image_score."
        )
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _image_scores(
    parts: Mapping[str, Path],
    dataset: Dataset,
    regions: Mapping[str, Regions] | None,
    maps: Mapping[str, Path],
    notes: list[str],
) -> dict[str, float]:
    ids = dataset.split.test_ids
    if "images" not in parts:
        if maps:
            notes.append("image scores are the highest of each score map")
            return {i: float(read_map(maps[i], dataset, i).max()) for i in ids}
        notes.append("image scores are those of the highest region, 0 without one")
        found = regions or {}
        return {
            i: float(np.max(scores)) if (scores := found[i].scores) is not None and len(scores)
            else 0.0
            for i in ids
        }  # fmt: skip
    path = parts["images"]
    result: dict[str, float] = {}
    others = 0
    test_ids = set(ids)
    for row in read_csv(path):
        image_id = row.get("image_id") or ""
        if image_id not in dataset.by_id:
            raise InputError(
                f"{path} scores the image {_short(image_id)}, which the dataset does not have. Ids "
                f"look like {ids[0]!r}; all stand in annotations/all.json."
            )
        if image_id in result:
            raise InputError(f"{path} scores {image_id} twice. Remove one of the rows.")
        value = _score(row, path)
        if image_id in test_ids:
            result[image_id] = value
        else:
            others += 1
    _require_all(result, ids, path)
    if others:
        notes.append(f"{others} scores of images that are not test images were left out")
    return result


def _require_all(found: Mapping[str, Any], ids: tuple[str, ...], path: Path) -> None:
    missing = [image_id for image_id in ids if image_id not in found]
    if missing:
        raise InputError(
            f"{path} lacks {len(missing)} of the {len(ids)} test images, such as "
            f"{', '.join(missing[:3])}. All runs are evaluated on the same images: "
            "predict these too."
        )


def _validation_scores(path: Path | None, dataset: Dataset) -> dict[tuple[int, str], float]:
    if path is None:
        return {}
    folds = dataset.split.folds
    result: dict[tuple[int, str], float] = {}
    for row in read_csv(path):
        image_id = row.get("image_id") or ""
        text = row.get("fold") or ("0" if len(folds) == 1 else "")
        # Of thousands of digits int() makes no number.
        if not text.isdecimal() or len(text) > 9 or int(text) >= len(folds):
            raise InputError(
                f"{path}: {image_id!r} has the fold {_short(text)}; with {len(folds)} folds, a "
                f"column `fold` from 0 to {len(folds) - 1} must say whose model gave the score."
            )
        if image_id not in folds[int(text)].val:
            raise InputError(
                f"{path}: {image_id!r} is no validation image of fold {text}. Only those may "
                "choose a threshold; split.json lists them under `val`."
            )
        if (int(text), image_id) in result:
            raise InputError(f"{path} scores {image_id} twice in fold {text}. Remove one row.")
        result[int(text), image_id] = _score(row, path)
    return result


def _thresholds(
    dataset: Dataset,
    validation: Mapping[tuple[int, str], float],
    options: ExternalOptions,
    shift: float,
    *,
    bounded: bool,
) -> tuple[list[FoldThresholds], str | None]:
    """Thresholds by fold, and why there are none, or None."""
    by_id = dataset.by_id
    scale = "odds" if bounded else "ratio"
    region = options.region_threshold
    result = []
    for number in range(len(dataset.split.folds)):
        rows = [(s, by_id[i].is_defective) for (f, i), s in validation.items() if f == number]
        if options.threshold is not None:
            value, said = options.threshold + shift, GIVEN
        elif rows:
            value = _chosen(rows, bounded=bounded) + shift
            said = f"{len(rows)} validation images, {sum(bad for _, bad in rows)} of them defective"
        else:
            # Any number ranks alike; verdicts are not evaluated.
            value, said = 0.5 if bounded else 1.0, "nothing"
        value = min(max(value, _TINY), 1 - _TINY) if bounded else max(value, _TINY)
        result.append(FoldThresholds(value, scale, region, said))
    missing = None
    if any(t.chosen_on == "nothing" for t in result):
        missing = "no threshold: neither one nor validation scores came with the predictions"
    return result, missing


def _chosen(rows: Sequence[tuple[float, bool]], *, bounded: bool) -> float:
    """The threshold that training would choose; with images of one kind, next to them."""
    scores, flags = [score for score, _ in rows], [bad for _, bad in rows]
    aim = BALANCED
    if not any(flags):
        aim = ThresholdAim(max_overkill=1 - GOOD_QUANTILE)
    elif all(flags):
        aim = ThresholdAim(max_escape=0.0)
    choice = choose_threshold(log_odds(scores) if bounded else scores, flags, aim)
    if choice is None:
        raise ValueError("A threshold needs scores.")
    return from_log_odds(choice.threshold) if bounded else choice.threshold
