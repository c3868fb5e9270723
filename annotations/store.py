"""Predictions on disk: `predictions/` of a run.

    regions.json    COCO results, as pycocotools' `loadRes` takes them (a plain list)
    images.csv      image_id, image_score, verdict, raw_score, fold
    maps/*.png      16-bit score maps
    meta.json       split digest, thresholds by fold, range of every map

`image_score` is calibrated: 0.5 is the threshold of the fold's own model, so that folds can be
pooled. A fold that is written again replaces its own rows and no others.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations.dataset import Dataset
from annotations.errors import InputError, SplitMismatchError
from annotations.files import read_json, write_json_atomic, write_text_atomic
from annotations.images import read_mask_raw, write_png
from annotations.prediction import Prediction
from annotations.regions import Regions, box_slices, decode_rle

PREDICTIONS_FOLDER: Final = "predictions"
THRESHOLD: Final = 0.5
"""On the calibrated scale, for every run."""
FORMAT: Final = "defectune-predictions-1"
_MAP_LEVELS: Final = 65535


@dataclass(frozen=True, slots=True)
class FoldThresholds:
    """What one fold's model decided on its validation images, stored with the run.

    Attributes:
        raw_threshold: image scores at or above it are called defective, on the model's scale.
        scale: `odds` for scores in [0, 1] (probabilities), `ratio` for distances from 0 up.
        region_threshold: regions scoring at or above it count as found.
        chosen_on: in words, which images it was chosen on.
        min_area_fraction: found regions of fewer pixels than this part of the image were left
            out; 0 where a family has no such rule.
    """

    raw_threshold: float
    scale: str
    region_threshold: float
    chosen_on: str
    min_area_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.scale not in ("odds", "ratio"):
            raise ValueError(f"scale must be 'odds' or 'ratio', got {self.scale!r}.")
        if not (math.isfinite(self.raw_threshold) and self.raw_threshold > 0):
            raise ValueError(f"raw_threshold must be above 0, got {self.raw_threshold}.")
        if self.scale == "odds" and self.raw_threshold >= 1:
            raise ValueError(f"On the odds scale it must be below 1, got {self.raw_threshold}.")
        if not 0 <= self.min_area_fraction < 1:
            raise ValueError(f"min_area_fraction must be in [0, 1), got {self.min_area_fraction}.")

    def calibrate(self, raw_score: float) -> float:
        """Bring a score to the common scale from 0 to 1 where 0.5 is the threshold.

        With the odds o of the score (the score itself on the `ratio` scale) and those of the
        threshold t, the result is o / (o + t): monotonic, with one parameter a fold, so that few
        validation images cannot bend it.
        """
        odds = raw_score
        limit = self.raw_threshold
        if self.scale == "odds":
            raw_score = min(max(raw_score, 0.0), 1.0)
            if raw_score == 1.0:
                return 1.0
            odds = raw_score / (1 - raw_score)
            limit = limit / (1 - limit)
        odds = max(odds, 0.0)
        # Exactly at the threshold must come out as exactly 0.5.
        return 0.5 if odds == limit else odds / (odds + limit)


@dataclass
class PredictionWriter:
    """Writes one fold's predictions into a run; use it as a context manager.

    Maps are written as they come; the tables are moved into place at the end, meta.json last, so
    that an interrupted run has no half fold.

    Attributes:
        run: the run's folder.
        dataset: that the run was trained on.
        fold: number of the fold.
        thresholds: of this fold's model.
        about: model and family, stored in meta.json: `{"family", "model", ...}`.
    """

    run: Path
    dataset: Dataset
    fold: int
    thresholds: FoldThresholds
    about: Mapping[str, Any]
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False)
    _results: list[dict[str, Any]] = field(default_factory=list, init=False)
    _maps: dict[str, list[float]] = field(default_factory=dict, init=False)
    _has_regions: bool = field(default=False, init=False)

    def __enter__(self) -> "PredictionWriter":
        return self

    def write(self, prediction: Prediction) -> None:
        """Add one image; `prediction.image_score` is the model's own, uncalibrated score.

        Raises:
            InputError: an image that is not in the dataset.
            ValueError: a map of another size than the image, or negative scores.
        """
        sample = self.dataset.by_id.get(prediction.image_id)
        if sample is None:
            raise InputError(f"The dataset has no image {prediction.image_id!r}.")
        score = self.thresholds.calibrate(prediction.image_score)
        self._rows.append(
            {
                "image_id": prediction.image_id,
                "image_score": repr(score),
                "verdict": "defective" if score >= THRESHOLD else "good",
                "raw_score": repr(float(prediction.image_score)),
                "fold": self.fold,
            }
        )
        coco_id = self.dataset.coco_ids[prediction.image_id]
        if prediction.regions is not None:
            self._has_regions = True
            self._results += coco_results(prediction.regions, coco_id)
        if prediction.pixel_scores is not None:
            if prediction.pixel_scores.shape != sample.image_hw:
                raise ValueError(
                    f"The map of {prediction.image_id} is {prediction.pixel_scores.shape}, "
                    f"the image {sample.image_hw}."
                )
            scores = prediction.pixel_scores.astype(np.float64)
            low, high = float(scores.min()), float(scores.max())
            # Probabilities share one range, so that equal scores stay equal over images.
            if low >= 0 and high <= 1:
                low, high = 0.0, 1.0
            span = (high - low) or 1.0
            levels = np.rint((scores - low) / span * _MAP_LEVELS).astype(np.uint16)
            write_png(self._folder / "maps" / f"{sample.stem}.png", levels, compression=1)
            self._maps[prediction.image_id] = [low, high]

    @property
    def _folder(self) -> Path:
        return self.run / PREDICTIONS_FOLDER

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()

    def _finish(self) -> None:
        expected = set(self.dataset.split.folds[self.fold].test)
        got = [row["image_id"] for row in self._rows]
        if len(got) != len(set(got)) or set(got) != expected:
            raise ValueError(
                f"Fold {self.fold} judges on {len(expected)} images, but {len(set(got))} were "
                "predicted."
            )
        meta: dict[str, Any] = {
            "format": FORMAT,
            "split_digest": self.dataset.split.digest,
            "has_regions": self._has_regions,
            "folds": {},
            "maps": {},
        }
        rows: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        if (self._folder / "meta.json").is_file():
            before = read_json(self._folder / "meta.json", what="a run's predictions")
            if before.get("split_digest") == self.dataset.split.digest:
                meta["folds"] = before["folds"]
                mine = {self.dataset.coco_ids[i] for i in expected}
                meta["maps"] = {k: v for k, v in before["maps"].items() if k not in expected}
                rows = [
                    row
                    for row in _read_csv(self._folder / "images.csv")
                    if row["image_id"] not in expected
                ]
                results = [
                    row
                    for row in read_json(self._folder / "regions.json", what="COCO results")
                    if row["image_id"] not in mine
                ]
        meta |= dict(self.about)
        meta["maps"] |= self._maps
        meta["folds"][str(self.fold)] = {
            "raw_threshold": self.thresholds.raw_threshold,
            "scale": self.thresholds.scale,
            "region_threshold": self.thresholds.region_threshold,
            "chosen_on": self.thresholds.chosen_on,
        }
        rows = sorted([*rows, *self._rows], key=lambda row: str(row["image_id"]))
        text = io.StringIO(newline="")
        columns = ("image_id", "image_score", "verdict", "raw_score", "fold")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text_atomic(self._folder / "images.csv", text.getvalue())
        write_json_atomic(self._folder / "regions.json", [*results, *self._results], indent=None)
        write_json_atomic(self._folder / "meta.json", meta)


def coco_results(regions: Regions, coco_id: int) -> list[dict[str, Any]]:
    """COCO result rows of one image's scored regions.

    Raises:
        ValueError: regions without scores.
    """
    if regions.scores is None:
        raise ValueError("Predicted regions need scores.")
    rows: list[dict[str, Any]] = []
    for index, (label, score) in enumerate(
        zip(regions.labels.tolist(), regions.scores.tolist(), strict=True)
    ):
        x1, y1, x2, y2 = (float(v) for v in regions.boxes_xyxy[index])
        row: dict[str, Any] = {
            "image_id": coco_id,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        if regions.masks is not None:
            row["segmentation"] = regions.masks[index]
        rows.append(row)
    return rows


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
    """

    run: Path
    about: Mapping[str, Any]
    image_scores: Mapping[str, float]
    raw_scores: Mapping[str, float]
    fold_of: Mapping[str, int]
    folds: Mapping[int, FoldThresholds]
    regions: Mapping[str, Regions] | None
    map_ranges: Mapping[str, tuple[float, float]]
    stems: Mapping[str, str]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def has_pixels(self) -> bool:
        """True where the family says something about pixels (a map, or regions to rasterise)."""
        return bool(self.map_ranges) or self.regions is not None

    def verdict(self, image_id: str) -> str:
        """`defective` or `good`, at the threshold chosen on validation images."""
        return "defective" if self.image_scores[image_id] >= THRESHOLD else "good"

    def found_regions(self, image_id: str) -> Regions | None:
        """The regions that count as found: score at or above the fold's region threshold."""
        if self.regions is None:
            return None
        threshold = self.folds[self.fold_of[image_id]].region_threshold
        return filter_regions(self.regions[image_id], threshold)

    def pixel_scores(self, image_id: str) -> npt.NDArray[np.float32] | None:
        """Score map float32 (H, W): as stored, else regions drawn with their scores, else None.

        Raises:
            ImageReadError: the map's file is missing or damaged.
        """
        if image_id in self.map_ranges:
            low, high = self.map_ranges[image_id]
            path = self.run / PREDICTIONS_FOLDER / "maps" / f"{self.stems[image_id]}.png"
            levels = read_mask_raw(path)
            return (levels.astype(np.float32) * ((high - low) / _MAP_LEVELS) + low).astype(
                np.float32
            )
        if self.regions is None:
            return None
        return rasterise_scores(self.regions[image_id])


def filter_regions(regions: Regions, threshold: float) -> Regions:
    """The scored regions at or above a threshold.

    Raises:
        ValueError: regions without scores.
    """
    if regions.scores is None:
        raise ValueError("Only scored regions can be filtered by score.")
    keep = np.flatnonzero(regions.scores >= threshold)
    return Regions(
        boxes_xyxy=regions.boxes_xyxy[keep],
        masks=None if regions.masks is None else tuple(regions.masks[i] for i in keep.tolist()),
        labels=regions.labels[keep],
        scores=regions.scores[keep],
        image_hw=regions.image_hw,
    )


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


def _read_csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"Expected a run's image scores at {path}, but there is no such file.")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run_folders(root: Path) -> list[Path]:
    """Runs of a converted dataset that have predictions, by name."""
    folder = root / "runs"
    if not folder.is_dir():
        return []
    return sorted(p.parent.parent for p in folder.glob(f"*/{PREDICTIONS_FOLDER}/meta.json"))


def read_predictions(run: Path, dataset: Dataset) -> StoredPredictions:
    """Read a run's predictions and check them against the dataset.

    Raises:
        InputError: no predictions, malformed ones, unknown images, unknown classes.
        SplitMismatchError: the run was made under another split.
    """
    folder = run / PREDICTIONS_FOLDER
    if not (folder / "meta.json").is_file():
        raise InputError(
            f"The run {run} has no finished predictions (no {folder / 'meta.json'}). Train it "
            "with `defectune train`; an interrupted training resumes."
        )
    meta: Any = read_json(folder / "meta.json", what="a run's predictions")
    try:
        digest = str(meta["split_digest"])
        if digest != dataset.split.digest:
            raise SplitMismatchError(
                f"The run {run} was made under the split {digest[:12]}…, but {dataset.root} has "
                f"{dataset.split.digest[:12]}…: the two were not judged on the same images. "
                "Train again on this dataset."
            )
        folds = {
            int(number): FoldThresholds(
                float(f["raw_threshold"]),
                str(f["scale"]),
                float(f["region_threshold"]),
                str(f["chosen_on"]),
            )
            for number, f in meta["folds"].items()
        }
        rows = _read_csv(folder / "images.csv")
        known = dataset.by_id
        for row in rows:
            if row["image_id"] not in known:
                raise InputError(
                    f"{folder / 'images.csv'} scores the image {row['image_id']!r}, which "
                    "the dataset does not have."
                )
            if not math.isfinite(float(row["image_score"])):
                raise InputError(
                    f"{folder / 'images.csv'}: {row['image_id']} scores {row['image_score']}."
                )
        about = {k: v for k, v in meta.items() if k not in ("folds", "maps", "format")}
        regions = (
            _read_regions(folder, dataset, [r["image_id"] for r in rows])
            if meta["has_regions"]
            else None
        )
        return StoredPredictions(
            run=run,
            about=about,
            image_scores={r["image_id"]: float(r["image_score"]) for r in rows},
            raw_scores={r["image_id"]: float(r["raw_score"]) for r in rows},
            fold_of={r["image_id"]: int(r["fold"]) for r in rows},
            folds=folds,
            regions=regions,
            map_ranges={str(k): (float(v[0]), float(v[1])) for k, v in meta["maps"].items()},
            stems={sample.image_id: sample.stem for sample in dataset.samples},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"The predictions in {folder} are malformed ({type(error).__name__}: {error}). "
            "Train again, or restore the files."
        ) from error


def _read_regions(folder: Path, dataset: Dataset, ids: Iterable[str]) -> dict[str, Regions]:
    path = folder / "regions.json"
    by_coco_id: dict[int, list[Any]] = {dataset.coco_ids[image_id]: [] for image_id in ids}
    for row in read_json(path, what="COCO results"):
        if int(row["image_id"]) not in by_coco_id:
            raise InputError(f"{path} has a region for the unknown image {row['image_id']}.")
        if not 1 <= int(row["category_id"]) <= len(dataset.class_names):
            raise InputError(f"{path} has a region of the unknown class {row['category_id']}.")
        by_coco_id[int(row["image_id"])].append(row)
    found: dict[str, Regions] = {}
    by_id = dataset.by_id
    for image_id in ids:
        rows = by_coco_id[dataset.coco_ids[image_id]]
        with_masks = all("segmentation" in row for row in rows)
        boxes = [
            (r["bbox"][0], r["bbox"][1], r["bbox"][0] + r["bbox"][2], r["bbox"][1] + r["bbox"][3])
            for r in rows
        ]
        found[image_id] = Regions(
            boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            masks=tuple(row["segmentation"] for row in rows) if with_masks else None,
            labels=np.array([int(row["category_id"]) - 1 for row in rows], np.int64),
            scores=np.array([float(row["score"]) for row in rows], np.float32),
            image_hw=by_id[image_id].image_hw,
        )
    return found
