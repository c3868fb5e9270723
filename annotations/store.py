"""Predictions on disk: `predictions/` of a run.

    regions.json    COCO results, as pycocotools' `loadRes` takes them (a plain list)
    images.csv      image_id, image_score, verdict, raw_score, fold
    maps/*.png      16-bit score maps
    validation.csv  image_id, image_score, raw_score, fold of the images that chose thresholds
    meta.json       split digest, thresholds by fold, range of every map

`image_score` is calibrated: 0.5 is the threshold of the fold's own model, so that folds can be
pooled. A fold that is written again replaces its own rows and no others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.dataset import Dataset
from annotations.errors import InputError, SplitMismatchError, shortened
from annotations.files import read_json
from annotations.images import read_mask_raw
from annotations.prediction_files import (
    GIVEN,
    MAP_LEVELS,
    THRESHOLD,
    FoldThresholds,
    common_range,
    parse_thresholds,
    read_csv,
)
from annotations.regions import Regions, box_slices, decode_rle
from annotations.rle import check_rle
from annotations.run_digests import FILES_KEY, SELF_KEY
from annotations.run_files import (
    IMAGES_FILE,
    MAPS_FOLDER,
    META_FILE,
    PREDICTIONS_FOLDER,
    REGIONS_FILE,
    RUNS_FOLDER,
    VALIDATION_FILE,
)
from annotations.scores import CalibratedScore, RawScore

_NOT_ABOUT = ("folds", "maps", "format", FILES_KEY, SELF_KEY)


@dataclass(frozen=True)
class StoredPredictions:
    """One run's predictions, read from disk; maps are read when asked for.

    Attributes:
        run: the run's folder; its name is the run's name.
        about: `family`, `model` and what else the run says of itself.
        image_scores: calibrated scores by image id.
        raw_scores: the models' own scores by image id.
        fold_of: fold number by image id.
        folds: thresholds by fold number.
        regions: scored regions by image id; None for a family without regions.
        map_ranges: (low, high) of the stored map by image id; empty without maps.
        stems: file stem by image id.
        validation_scores: calibrated scores by (fold, image id) of the images that validated;
            empty where the run kept none.
        predicted_types: `good` or the likeliest defect type by image id; empty for a family that
            names none.
        added: of images that came to the dataset after the training: the folds whose models
            predicted them (see `annotations.later`).
        map_files: where maps stand that are not among the run's own, by image id.
        late_leaks: ids of test images whose part the models learned from, as an update found out
            later; figures that count them flatter the run.
    """

    run: Path
    about: Mapping[str, Any]
    image_scores: Mapping[str, CalibratedScore]
    raw_scores: Mapping[str, RawScore]
    fold_of: Mapping[str, int]
    folds: Mapping[int, FoldThresholds]
    regions: Mapping[str, Regions] | None
    map_ranges: Mapping[str, tuple[float, float]]
    stems: Mapping[str, str]
    validation_scores: Mapping[tuple[int, str], CalibratedScore] = field(default_factory=dict)
    predicted_types: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    map_files: Mapping[str, Path] = field(default_factory=dict)
    late_leaks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def has_pixels(self) -> bool:
        """True where the family says something about pixels (a map, or regions to rasterise)."""
        return bool(self.map_ranges) or self.regions is not None

    @property
    def given_threshold(self) -> bool:
        """True where the threshold came with predictions made elsewhere: what it was chosen on is
        not known."""
        return any(part.chosen_on == GIVEN for part in self.folds.values())

    @property
    def no_threshold(self) -> str | None:
        """Why there are no image verdicts: predictions from elsewhere may lack a threshold."""
        reason = self.about.get("no_threshold")
        return str(reason) if reason else None

    def verdict(self, image_id: str) -> str:
        """`defective` or `good`, at the threshold chosen on validation images."""
        return "defective" if self.image_scores[image_id] >= THRESHOLD else "good"

    def found_regions(self, image_id: str) -> Regions | None:
        """The regions that count as found: score at or above the fold's region threshold."""
        if self.regions is None:
            return None
        threshold = self.folds[self.fold_of[image_id]].region_threshold
        return self.regions[image_id].above(threshold)

    @property
    def score_range(self) -> tuple[float, float]:
        """Scores at the ends of a heat map's colors, one range for all maps of the run."""
        return common_range(self.map_ranges.values())

    def pixel_scores(self, image_id: str) -> npt.NDArray[np.float32] | None:
        """Score map float32 (H, W): as stored, else regions drawn with their scores, else None.

        Raises:
            ImageReadError: the map's file is missing or damaged.
        """
        if image_id in self.map_ranges:
            low, high = self.map_ranges[image_id]
            own = self.run / PREDICTIONS_FOLDER / MAPS_FOLDER / f"{self.stems[image_id]}.png"
            levels = read_mask_raw(self.map_files.get(image_id, own))
            return (levels.astype(np.float32) * ((high - low) / MAP_LEVELS) + low).astype(
                np.float32
            )
        if self.regions is None:
            return None
        return rasterise_scores(self.regions[image_id])


def rasterise_scores(regions: Regions) -> npt.NDArray[np.float32]:
    """Draw scored regions: float32 (H, W), the highest score that covers a pixel, 0 outside.

    Raises:
        ValueError: regions without scores.
    """
    if regions.scores is None:
        raise ValueError("Regions without scores cannot be drawn as scores.")
    canvas = np.zeros(regions.image_hw, np.float32)
    for index, score in enumerate(regions.scores.tolist()):
        if regions.masks is not None:
            inside = decode_rle(regions.masks[index])
            canvas[inside] = np.maximum(canvas[inside], score)
        else:
            window = box_slices(regions.boxes_xyxy[index], regions.image_hw)
            canvas[window] = np.maximum(canvas[window], score)
    return canvas


def run_folders(root: Path) -> list[Path]:
    """Runs of a converted dataset that have predictions, by name."""
    folder = root / RUNS_FOLDER
    if not folder.is_dir():
        return []
    return sorted(p.parent.parent for p in folder.glob(f"*/{PREDICTIONS_FOLDER}/{META_FILE}"))


def read_as_trained(run: Path, dataset: Dataset) -> StoredPredictions:
    """Read a run's predictions and check them against the dataset that it was trained on.

    `annotations.later.read_predictions` also takes runs of earlier versions of a dataset.

    Raises:
        InputError: no predictions, malformed ones, unknown images, unknown classes.
        SplitMismatchError: the run was made under another split.
    """
    folder = run / PREDICTIONS_FOLDER
    if not (folder / META_FILE).is_file():
        raise InputError(
            f"The run {run} has no finished predictions (no {folder / META_FILE}). Train it "
            "with `defectune train`; an interrupted training resumes."
        )
    meta: Any = read_json(folder / META_FILE, what="a run's predictions")
    try:
        digest = str(meta["split_digest"])
        if digest != dataset.split.digest:
            raise SplitMismatchError(
                f"The run {run} was made under the split {digest[:12]}…, but {dataset.root} has "
                f"{dataset.split.digest[:12]}…: the two were not evaluated on the same images. "
                "Train again on this dataset."
            )
        folds = parse_thresholds(meta, folder / META_FILE)
        # Rows of a fold that was killed before its predictions were complete are none.
        rows = [row for row in read_csv(folder / IMAGES_FILE) if int(row["fold"]) in folds]
        if not rows:
            raise InputError(f"No fold of the run {run} has finished. Train it again to go on.")
        known, scored = dataset.by_id, {row["image_id"] for row in rows}
        for row in rows:
            if row["image_id"] not in known:
                raise InputError(
                    f"{folder / IMAGES_FILE} scores the image {shortened(row['image_id'])!r}, "
                    "which the dataset does not have."
                )
            if not math.isfinite(float(row["image_score"])):
                raise InputError(
                    f"{folder / IMAGES_FILE}: {row['image_id']} scores "
                    f"{shortened(row['image_score'])}."
                )
        about = {k: v for k, v in meta.items() if k not in _NOT_ABOUT}
        regions = (
            _read_regions(folder, dataset, [r["image_id"] for r in rows], folds)
            if meta["has_regions"]
            else None
        )
        return StoredPredictions(
            run=run,
            about=about,
            image_scores={r["image_id"]: CalibratedScore(float(r["image_score"])) for r in rows},
            raw_scores={r["image_id"]: RawScore(float(r["raw_score"])) for r in rows},
            fold_of={r["image_id"]: int(r["fold"]) for r in rows},
            folds=folds,
            regions=regions,
            map_ranges={
                str(k): (float(v[0]), float(v[1])) for k, v in meta["maps"].items() if k in scored
            },
            stems={sample.image_id: sample.stem for sample in dataset.samples},
            validation_scores=_read_validation(folder / VALIDATION_FILE, dataset, folds),
            predicted_types=_predicted_types(rows, dataset),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"The predictions in {folder} are malformed ({type(error).__name__}: "
            f"{shortened(error)}). "
            "Train again, or restore the files."
        ) from error


def _predicted_types(rows: Iterable[Mapping[str, str]], dataset: Dataset) -> dict[str, str]:
    known = {"good", *dataset.class_names}
    rows = list(rows)
    found = {r["image_id"]: r["predicted_type"] for r in rows if r.get("predicted_type")}
    strange = sorted(set(found.values()) - known)
    if strange:
        raise ValueError(f"the predicted type {strange[0]!r} is not one of the dataset's")
    if found and len(found) < len(rows):
        raise ValueError(f"{len(rows) - len(found)} images have no predicted type, others have")
    return found


def _read_validation(
    path: Path, dataset: Dataset, folds: Mapping[int, FoldThresholds]
) -> dict[tuple[int, str], CalibratedScore]:
    if not path.is_file():
        return {}
    scores: dict[tuple[int, str], CalibratedScore] = {}
    sides = {n: {*dataset.split.folds[n].train, *dataset.split.folds[n].val} for n in folds}
    for row in read_csv(path):
        fold, image_id = int(row["fold"]), row["image_id"]
        score = CalibratedScore(float(row["image_score"]))
        if fold not in folds:
            # Left by a fold that was killed before its predictions were complete.
            continue
        if image_id not in sides[fold] or not math.isfinite(score):
            raise InputError(
                f"{path} scores {shortened(image_id)!r} as {shortened(row['image_score'])} "
                f"in fold {fold}, where it is no image of the training side or the score is no "
                "number. Train again."
            )
        scores[fold, image_id] = score
    return scores


def _read_regions(
    folder: Path, dataset: Dataset, ids: Iterable[str], folds: Mapping[int, FoldThresholds]
) -> dict[str, Regions]:
    path = folder / REGIONS_FILE
    unfinished = {
        dataset.coco_ids[image_id]
        for number, fold in enumerate(dataset.split.folds)
        if number not in folds
        for image_id in fold.test
    }
    by_coco_id: dict[int, list[Any]] = {dataset.coco_ids[image_id]: [] for image_id in ids}
    for row in read_json(path, what="COCO results"):
        if int(row["image_id"]) in unfinished:
            continue
        if int(row["image_id"]) not in by_coco_id:
            raise InputError(f"{path} has a region for the unknown image {row['image_id']}.")
        if not 1 <= int(row["category_id"]) <= len(dataset.class_names):
            raise InputError(f"{path} has a region of the unknown class {row['category_id']}.")
        by_coco_id[int(row["image_id"])].append(row)
    found: dict[str, Regions] = {}
    by_id = dataset.by_id
    for image_id in ids:
        rows = by_coco_id[dataset.coco_ids[image_id]]
        found[image_id] = regions_of_results(rows, by_id[image_id].image_hw)
    return found


def regions_of_results(rows: Sequence[Any], image_hw: tuple[int, int]) -> Regions:
    """The scored regions of one image's COCO results.

    Raises:
        KeyError: a row lacks something.
        ValueError: a mask that is none.
    """
    with_masks = all("segmentation" in row for row in rows)
    if with_masks:
        for row in rows:
            check_rle(row["segmentation"])
    boxes = [
        (r["bbox"][0], r["bbox"][1], r["bbox"][0] + r["bbox"][2], r["bbox"][1] + r["bbox"][3])
        for r in rows
    ]
    return Regions(
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        masks=tuple(row["segmentation"] for row in rows) if with_masks else None,
        labels=np.array([int(row["category_id"]) - 1 for row in rows], np.int64),
        scores=np.array([float(row["score"]) for row in rows], np.float32),
        image_hw=image_hw,
    )
