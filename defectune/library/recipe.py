"""All that decides the verdicts of one call of `predict`, of a run or of a bundle."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from annotations import InputError, Prediction, UsageError
from annotations.dataset import portable
from annotations.errors import shortened
from annotations.files import read_json
from annotations.prediction_files import THRESHOLD, FoldThresholds
from annotations.run_files import CONFIG_FILE, meta_path
from annotations.scores import CalibratedScore
from defectune import families
from defectune.inputs import Inputs
from defectune.library.verdict import Verdict
from defectune.runs import operating_threshold
from inference.base import ImageRgb
from inference.decision import decide

if TYPE_CHECKING:
    from deployment import Bundle
    from training import Predictor

FORMAT: Final = "defectune-verdicts-1"
OVERLAYS: Final = ("all", "defective", "none")


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How to predict.

    Attributes:
        fold: whose model; None takes the first finished one.
        device: auto, cpu, cuda:0 …
        threshold: calibrated scores at or above it are defective; None takes 0.5, the threshold
            that training chose.
        operating_point: take the threshold that `evaluate` chose by costs or a bound.
        maps: also write score maps, as 16-bit PNGs.
        overlays: which images get a picture: all, defective or none.
        threads: that compute one image, of a bundle; 0 is one a core.
        provider: what computes a bundle's graphs.

    Raises:
        UsageError: an unknown word for `overlays`, both thresholds, or one that is not above 0
            and at most 1.
    """

    fold: int | None = None
    device: str = "auto"
    threshold: float | None = None
    operating_point: bool = False
    maps: bool = False
    overlays: str = "none"
    threads: int = 0
    provider: str = "cpu"

    def __post_init__(self) -> None:
        if self.overlays not in OVERLAYS:
            raise UsageError(
                f"--overlays takes {', '.join(OVERLAYS)}, got {shortened(repr(self.overlays), 80)}."
            )
        if self.threads < 0:
            raise UsageError(f"--threads must be 0 (one a core) or more, got {self.threads}.")
        if self.threshold is not None and self.operating_point:
            raise UsageError("Give --threshold or --operating-point, not both.")
        if self.threshold is not None and not (
            math.isfinite(self.threshold) and 0 < self.threshold <= 1
        ):
            raise UsageError(
                "--threshold is on the calibrated score, above 0 and at most 1 (0.5 is what "
                f"training chose), got {self.threshold}."
            )


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides a verdict, as predictions.json holds it."""

    run: Path
    fold: int | str | list[int]
    class_names: list[str]
    thresholds: FoldThresholds
    cut: float
    chosen_by: str
    score_range: tuple[float, float]
    maps: bool
    overlays: str
    bit_depth: int | None
    bundle: str = ""
    """Digest of the bundle that predicts; empty for a run."""

    def decide(self, prediction: Prediction, image_rgb: ImageRgb) -> Verdict:
        """The verdict that a prediction makes."""
        decided = decide(prediction, self.thresholds, CalibratedScore(self.cut))
        return Verdict(
            **vars(decided),
            class_names=tuple(self.class_names),
            heat_map_range=self.score_range,
            image_rgb=image_rgb,
        )

    def to_json(self, inputs: Inputs, output: Path) -> dict[str, Any]:
        """The recipe, and what it is for.

        Args:
            inputs: the images.
            output: folder that will hold the document. The run is named as seen from there, so
                that results which are passed on do not tell where they were made.
        """
        # By size and time, since hashing a camera's images takes longer than predicting them.
        facts = hashlib.sha256()
        for path in inputs.images:
            seen = path.stat()
            facts.update(json.dumps([str(path), seen.st_size, seen.st_mtime_ns]).encode())
        return {
            "format": FORMAT,
            "run": portable(self.run.resolve(), output, self.run.resolve().parent),
            "fold": self.fold,
            "class_names": self.class_names,
            "threshold": self.cut,
            "threshold_chosen_by": self.chosen_by,
            "fold_thresholds": self.thresholds.to_json(),
            "heat_map_range": list(self.score_range),
            "maps": self.maps,
            "overlays": self.overlays,
            "bit_depth": self.bit_depth,
            **({"bundle": self.bundle} if self.bundle else {}),
            "n_images": len(inputs.images),
            "images_digest": facts.hexdigest(),
            "passed_over": {
                reason: [str(path) for path in paths]
                for reason, paths in sorted(inputs.passed_over.items())
            },
        }


def run_recipe(run: Path, options: PredictOptions) -> Recipe:
    from training import finished_folds, map_range, read_run_config, run_thresholds

    if not (run / CONFIG_FILE).is_file():
        raise InputError(
            f"{run} holds predictions that were made elsewhere: it has no model to predict with."
        )
    document = read_run_config(run)
    done = sorted(finished_folds(run))
    if not done:
        raise InputError(f"The run {run} has no finished fold. Train it first.")
    fold = done[0] if options.fold is None else options.fold
    if fold not in done:
        raise UsageError(f"Fold {fold} of {run} has not finished; finished: {done}.")
    thresholds = run_thresholds(run, fold)
    cut, chosen_by = float(THRESHOLD), f"training, on {thresholds.chosen_on}"
    if options.threshold is not None:
        cut, chosen_by = options.threshold, "--threshold"
    if options.operating_point:
        cut = operating_threshold(run, fold)
        chosen_by = "evaluate's operating point, in leaderboard.json"
    return Recipe(
        run,
        fold,
        list(document["class_names"]),
        thresholds,
        cut,
        chosen_by,
        map_range(run),
        options.maps,
        options.overlays,
        document["bit_depth"],
    )


class _BundlePredictor:
    """A bundle as a trained model."""

    def __init__(self, bundle: "Bundle") -> None:
        self._bundle = bundle

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        return self._bundle.raw_prediction(image_id, image_rgb)


def bundle_recipe(
    path: Path, options: PredictOptions, *, threads: int = 0
) -> "tuple[Recipe, Predictor]":
    from deployment import open_bundle

    if options.operating_point or options.device not in ("auto", "cpu"):
        raise UsageError(
            "A bundle has its threshold inside and computes on the CPU; make it with "
            "--operating-point, give --threshold, or predict with the run itself."
        )
    bundle = open_bundle(path, threads=threads or options.threads, provider=options.provider)
    folds = list(bundle.folds)
    if options.fold is not None and (bundle.refitted or folds != [options.fold]):
        held = "a refitted model" if bundle.refitted else f"the models of fold {folds}"
        raise UsageError(f"{path} holds {held}, and not that of fold {options.fold} alone.")
    cut, chosen_by = bundle.threshold, bundle.chosen_by
    if options.threshold is not None:
        cut, chosen_by = options.threshold, "--threshold"
    recipe = Recipe(
        path,
        "refit" if bundle.refitted else folds[0] if len(folds) == 1 else folds,
        list(bundle.class_names),
        bundle.thresholds,
        cut,
        chosen_by,
        bundle.map_range,
        options.maps,
        options.overlays,
        bundle.bit_depth,
        bundle.digest,
    )
    return recipe, _BundlePredictor(bundle)


def open_model(recipe: Recipe, options: PredictOptions) -> "Predictor":
    return families.open_predictor(recipe.run, int(str(recipe.fold)), device=options.device)


def knows_least_area(recipe: Recipe) -> bool:
    """False for a segmenter's run whose thresholds lack the field."""
    meta = read_json(meta_path(recipe.run), what="a run's predictions")
    return meta.get("family") != "segment" or "min_area_fraction" in meta["folds"][str(recipe.fold)]
