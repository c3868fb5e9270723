"""Writing a run's predictions; what stands in the files is described in `annotations.store`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from annotations.dataset import Dataset
from annotations.errors import InputError
from annotations.files import read_json, write_json_atomic
from annotations.images import write_png
from annotations.prediction import Prediction
from annotations.prediction_files import (
    FORMAT,
    IMAGE_COLUMNS,
    THRESHOLD,
    VALIDATION_COLUMNS,
    FoldThresholds,
    damaged,
    map_levels,
    read_csv,
    write_csv,
)
from annotations.regions import Regions
from annotations.run_digests import FILES_KEY, digests_of, sealed
from annotations.run_files import (
    IMAGES_FILE,
    MAPS_FOLDER,
    META_FILE,
    PREDICTIONS_FOLDER,
    REGIONS_FILE,
    VALIDATION_FILE,
)
from annotations.scores import RawScore


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
        model: files of this fold's model, in the run's folder, to keep digests of.
    """

    run: Path
    dataset: Dataset
    fold: int
    thresholds: FoldThresholds
    about: Mapping[str, Any]
    model: Sequence[Path] = ()
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False)
    _validation: list[dict[str, Any]] = field(default_factory=list, init=False)
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
                "predicted_type": prediction.predicted_type or "",
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
            levels, (low, high) = map_levels(prediction.pixel_scores)
            write_png(self._folder / MAPS_FOLDER / f"{sample.stem}.png", levels, compression=1)
            self._maps[prediction.image_id] = [low, high]

    def write_validation(self, image_id: str, raw_score: RawScore) -> None:
        """Keep the model's score of an image of the fold's training side: of its validation part,
        or one that a part of the model did without.

        Raises:
            ValueError: an image that is tested in this fold, or no image of it.
        """
        fold = self.dataset.split.folds[self.fold]
        if image_id not in fold.val and image_id not in fold.train:
            raise ValueError(f"{image_id} does not validate in fold {self.fold}.")
        self._validation.append(
            {
                "image_id": image_id,
                "image_score": repr(self.thresholds.calibrate(raw_score)),
                "raw_score": repr(float(raw_score)),
                "fold": self.fold,
            }
        )

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
                f"Fold {self.fold} evaluates on {len(expected)} images, but {len(set(got))} were "
                "predicted."
            )
        before = self._before()
        folds = {**before.folds, str(self.fold): self.thresholds.to_json()}
        maps = before.maps | self._maps
        rows = sorted([*before.rows, *self._rows], key=_by_fold)
        validation = sorted([*before.validation, *self._validation], key=_by_fold)
        # By fold and image, whatever the order in which folds are trained.
        place = {self.dataset.coco_ids[row["image_id"]]: n for n, row in enumerate(rows)}
        results = sorted(
            [*before.results, *self._results], key=lambda row: place[int(row["image_id"])]
        )
        meta = {
            "format": FORMAT,
            "split_digest": self.dataset.split.digest,
            "has_regions": self._has_regions or before.has_regions,
            "folds": {number: folds[number] for number in sorted(folds, key=int)},
            "maps": {r["image_id"]: maps[r["image_id"]] for r in rows if r["image_id"] in maps},
            **self.about,
        }
        files = [self._folder / IMAGES_FILE, self._folder / REGIONS_FILE, *self.model]
        write_csv(files[0], IMAGE_COLUMNS, rows)
        write_json_atomic(files[1], results, indent=None)
        if validation:
            files.append(self._folder / VALIDATION_FILE)
            write_csv(files[-1], VALIDATION_COLUMNS, validation)
        by_id = self.dataset.by_id
        files += [
            self._folder / MAPS_FOLDER / f"{by_id[image_id].stem}.png" for image_id in self._maps
        ]
        digests = before.digests | digests_of(self.run, files)
        meta[FILES_KEY] = dict(sorted(digests.items()))
        write_json_atomic(self._folder / META_FILE, sealed(meta))

    def _before(self) -> "_Before":
        """What finished folds have written; rows of a fold that was killed are none."""
        path = self._folder / META_FILE
        if not path.is_file():
            return _Before()
        meta = read_json(path, what="a run's predictions")
        try:
            if meta["split_digest"] != self.dataset.split.digest:
                return _Before()
            folds = {k: v for k, v in meta["folds"].items() if int(k) != self.fold}
            rows = [r for r in read_csv(self._folder / IMAGES_FILE) if r["fold"] in folds]
            ids = {row["image_id"] for row in rows}
            coco_ids = {self.dataset.coco_ids[image_id] for image_id in ids}
            validation = self._folder / VALIDATION_FILE
            stored = read_csv(validation) if validation.is_file() else []
            return _Before(
                folds=folds,
                rows=rows,
                validation=[row for row in stored if row["fold"] in folds],
                results=[
                    row
                    for row in read_json(self._folder / REGIONS_FILE, what="COCO results")
                    if row["image_id"] in coco_ids
                ],
                maps={k: v for k, v in meta["maps"].items() if k in ids},
                has_regions=bool(folds and meta["has_regions"]),
                digests={str(k): str(v) for k, v in meta.get(FILES_KEY, {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise damaged(path, error) from error


@dataclass(frozen=True)
class _Before:
    folds: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)
    validation: list[dict[str, str]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, list[float]] = field(default_factory=dict)
    has_regions: bool = False
    digests: dict[str, str] = field(default_factory=dict)


def _by_fold(row: Mapping[str, Any]) -> tuple[int, str]:
    return int(row["fold"]), str(row["image_id"])


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
