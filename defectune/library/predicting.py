"""Verdicts, regions and overlays for new images."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from annotations import (
    ImageReadError,
    InputError,
    OutputExistsError,
    Prediction,
    UsageError,
    read_image_rgb,
    write_png,
)
from annotations.errors import shortened
from annotations.files import (
    read_json,
    remove_dead_files,
    require_new_folder,
    write_json_atomic,
)
from annotations.prediction_files import THRESHOLD, FoldThresholds, map_levels, write_csv
from annotations.prediction_writer import coco_results
from annotations.run_files import (
    CONFIG_FILE,
    IMAGES_FILE,
    MAPS_FOLDER,
    REGIONS_FILE,
    meta_path,
)
from annotations.samples import safe_name
from annotations.scores import CalibratedScore
from annotations.scoring.decision import decide
from defectune import families
from defectune.inputs import OUTPUT_MARKER, Inputs, gather_images
from defectune.library.arguments import Place, as_image, as_path, checked, several
from defectune.library.environment import quiet_environment
from defectune.library.progress import shown
from defectune.library.run import Run
from defectune.library.verdict import Verdict
from defectune.runs import find_run, operating_threshold

if TYPE_CHECKING:
    from deployment import Bundle
    from training import Predictor, Reporter

ImageRgb = npt.NDArray[np.uint8]
FORMAT: Final = "defectune-verdicts-1"
COLUMNS: Final = (
    "image", "verdict", "image_score", "predicted_type", "regions", "overlay", "error",
)  # fmt: skip
OVERLAYS: Final = ("all", "defective", "none")
AHEAD: Final = 2
"""Images that are decoded while the network looks at those before."""
RESULTS_FILE: Final = "results.jsonl"
_BEGUN_FILE: Final = "begun.json"


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

    Raises:
        UsageError: an unknown word for `overlays`, both thresholds, or one that is not above 0
            and at most 1.
    """

    fold: int | None = None
    device: str = "auto"
    threshold: float | None = None
    operating_point: bool = False
    maps: bool = False
    overlays: str = "all"

    def __post_init__(self) -> None:
        if self.overlays not in OVERLAYS:
            raise UsageError(
                f"--overlays takes {', '.join(OVERLAYS)}, got {shortened(repr(self.overlays), 80)}."
            )
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
class _Recipe:
    """What decides a verdict, as predictions.json holds it."""

    run: Path
    fold: int | list[int]
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
            name=decided.name,
            score=decided.score,
            threshold=decided.threshold,
            regions=decided.regions,
            heat_map=decided.heat_map,
            predicted_type=decided.predicted_type,
            class_names=tuple(self.class_names),
            heat_map_range=self.score_range,
            image_rgb=image_rgb,
        )

    def to_json(self, inputs: Inputs) -> dict[str, Any]:
        # By size and time, since hashing a camera's images takes longer than predicting them.
        facts = [(str(p), (s := p.stat()).st_size, s.st_mtime_ns) for p in inputs.images]
        return {
            "format": FORMAT,
            "run": str(self.run.resolve()),
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
            "images_digest": hashlib.sha256(json.dumps(facts).encode()).hexdigest(),
            "passed_over": {
                reason: [str(path) for path in paths]
                for reason, paths in sorted(inputs.passed_over.items())
            },
        }


@dataclass(frozen=True)
class PredictedImages:
    """What `predict` wrote.

    Attributes:
        folder: the output.
        rows: of images.csv, an image each.
        threshold: calibrated scores from this on are defective.
        chosen_by: who chose the threshold, in words.
        notes: what a reader must know beside the table, a sentence each.
    """

    folder: Path
    rows: tuple[Mapping[str, str], ...]
    threshold: float
    chosen_by: str
    notes: tuple[str, ...]

    @property
    def table(self) -> Path:
        """images.csv."""
        return self.folder / IMAGES_FILE

    @property
    def n_failed(self) -> int:
        """Images that could not be read; their rows have the error."""
        return sum(bool(row["error"]) for row in self.rows)

    def __repr__(self) -> str:
        n = sum(row["verdict"] == "defective" for row in self.rows)
        return (
            f"PredictedImages({self.folder.as_posix()!r}: {len(self.rows)} images, {n} defective, "
            f"{self.n_failed} not read)"
        )


@checked
def predict(
    run: Run | Place,
    images: Place | Sequence[Place],
    output: Place,
    *,
    fold: int | None = None,
    device: str = "auto",
    threshold: float | None = None,
    operating_point: bool = False,
    maps: bool = False,
    overlays: str = "all",
    progress: "bool | Reporter" = True,
) -> PredictedImages:
    """Give verdicts, regions and overlays for new images; a killed call goes on when repeated.

    For one image in memory, see `Run.predict`.

    Args:
        run: a run, its folder, OUT/NAME, or a bundle's file.
        images: files, folders with all that is in them, or patterns (`line/**/*.png`).
        output: a new or empty folder, for images.csv, regions.json, predictions.json and overlays.
        fold: whose model; None takes the first finished one.
        device: auto, cpu, cuda:0 …
        threshold: calibrated scores from this on are defective; None takes 0.5, the threshold
            that training chose.
        operating_point: take the threshold that `evaluate` chose by costs or a bound.
        maps: also write score maps, as 16-bit PNGs.
        overlays: which images get a picture: all, defective or none.
        progress: bars or lines; False shows nothing; or a reporter of your own.

    Raises:
        UsageError: an argument of a wrong type, a fold that has not finished, both thresholds.
        DefectuneError: no such run or image; an existing output.

    Example:
        >>> import defectune as dt
        >>> images = "drawn/drawn_bottle/test/good"
        >>> dt.predict("out/runs/quick", images, "new", device="cpu", progress=False).n_failed
        0
    """
    with shown(progress) as reporter:
        return predict_images(
            run.path if isinstance(run, Run) else as_path(run, what="run"),
            [as_path(one, what="image") for one in several(images)],
            as_path(output, what="output"),
            PredictOptions(fold, device, threshold, operating_point, maps, overlays),
            reporter=reporter,
        )


def predict_one(
    run: Path,
    image: Any,
    options: PredictOptions,
    predictors: "dict[tuple[int, str], Predictor] | None" = None,
) -> Verdict:
    """The verdict on one image.

    Args:
        run: its folder.
        image: a path, or an array as `arguments.as_image` takes it.
        options: how to predict.
        predictors: models that are loaded already, by fold and device; gets the one that is used.

    Raises:
        DefectuneError: see `Run.predict`.
    """
    recipe = _recipe(run, options)
    if isinstance(image, str | PathLike):
        path = as_path(image, what="image")
        name = path.name
        image_rgb = read_image_rgb(path, bit_depth=recipe.bit_depth)
    else:
        name, image_rgb = "array", as_image(image)
    loaded = {} if predictors is None else predictors
    key = (int(str(recipe.fold)), options.device)
    if key not in loaded:
        quiet_environment()
        loaded[key] = _open_model(recipe, options)
    return recipe.decide(loaded[key].predict(name, image_rgb), image_rgb)


def predict_images(
    run: str | Path,
    places: Sequence[Path],
    output: Path,
    options: PredictOptions = PredictOptions(),
    *,
    reporter: "Reporter",
) -> PredictedImages:
    """Predict new images with one fold's model of a run, or with a bundle.

    Writes images.csv, regions.json (COCO results; `image_id` counts the rows of images.csv from
    1), predictions.json (the thresholds and all else that decided) and an overlay PNG for every
    image. Results are kept beside `output` as they come, so that a call that was killed goes on
    when made again.

    Raises:
        DefectuneError: no such run, fold or image; an existing output.
    """
    bundle = Path(run) if Path(run).is_file() else None
    if bundle is not None:
        recipe, predictor = _open_bundle(bundle, options)
    else:
        recipe = _recipe(find_run(run), options)
    require_new_folder(output, hint="Choose another --output, or remove that folder yourself.")
    if bundle is None and not _knows_least_area(recipe):
        reporter.say(
            f"{recipe.run} was trained before runs kept the least area of a region: smaller "
            "regions than those that were evaluated may be found. Train it again to be rid of them."
        )
    inputs = gather_images(places, output=output)
    if bundle is None:
        predictor = _open_model(recipe, options)
    partial = partial_folder(output)
    document = recipe.to_json(inputs)
    _begin(partial, document)
    advance = reporter.track(f"{recipe.run.name}, fold {recipe.fold}", len(inputs.images))
    names = _overlay_names(inputs.images)
    results = partial / RESULTS_FILE
    with results.open("a", encoding="utf-8", newline="\n") as file:
        _lock(file, partial)
        rows = [line["row"] for line in _kept(results)]
        if rows:
            reporter.say(f"{len(rows)} images were predicted by an earlier call; it goes on.")
            for _ in rows:
                advance("")
        waiting = inputs.images[len(rows) :]
        for path, image in _decoded(waiting, recipe.bit_depth):
            index = len(rows) + 1
            line = _predict_one(predictor, recipe, partial, path, image, names[index - 1], index)
            rows.append(line["row"])
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            advance("")
    notes = _notes(rows, recipe)
    write_csv(partial / IMAGES_FILE, COLUMNS, rows)
    # From the file, a line at a time: regions of a hundred thousand images would fill the memory.
    _write_regions(partial / REGIONS_FILE, results)
    maps = {
        line["row"]["image"]: line["map"] for line in _lines(results) if line["map"] is not None
    }
    failed = sum(bool(row["error"]) for row in rows)
    write_json_atomic(
        partial / OUTPUT_MARKER, document | {"n_failed": failed, "notes": notes, "map_files": maps}
    )
    for name in (RESULTS_FILE, _BEGUN_FILE):
        (partial / name).unlink()
    # What a killed call had half-written goes; this call holds the lock.
    for folder in (partial, *(path for path in partial.iterdir() if path.is_dir())):
        remove_dead_files(folder)
    require_new_folder(output, hint=f"The results are kept in {partial}.")
    if output.is_dir():
        output.rmdir()
    partial.replace(output)
    return PredictedImages(
        output, tuple(rows), recipe.cut, recipe.chosen_by, (*inputs.lines(), *notes)
    )


def _open_model(recipe: _Recipe, options: PredictOptions) -> "Predictor":
    return families.open_predictor(recipe.run, int(str(recipe.fold)), device=options.device)


class _BundlePredictor:
    """A bundle as a trained model."""

    def __init__(self, bundle: "Bundle") -> None:
        self._bundle = bundle

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        return self._bundle.raw_prediction(image_id, image_rgb)


def _open_bundle(path: Path, options: PredictOptions) -> "tuple[_Recipe, Predictor]":
    from deployment import open_bundle

    if options.operating_point or options.device not in ("auto", "cpu"):
        raise UsageError(
            "A bundle knows no operating point and computes on the CPU; give --threshold, or "
            "predict with the run itself."
        )
    bundle = open_bundle(path)
    folds = list(bundle.folds)
    if options.fold is not None and folds != [options.fold]:
        raise UsageError(
            f"{path} holds the models of fold {folds}, and not of {options.fold} alone."
        )
    cut, chosen_by = bundle.threshold, f"training, on {bundle.thresholds.chosen_on}"
    if options.threshold is not None:
        cut, chosen_by = options.threshold, "--threshold"
    recipe = _Recipe(
        path,
        folds[0] if len(folds) == 1 else folds,
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


def _knows_least_area(recipe: _Recipe) -> bool:
    """False for a segmenter's run whose thresholds lack the field."""
    meta = read_json(meta_path(recipe.run), what="a run's predictions")
    return meta.get("family") != "segment" or "min_area_fraction" in meta["folds"][str(recipe.fold)]


def partial_folder(output: Path) -> Path:
    """Where results are kept until the last image is done."""
    whole = output.absolute()
    return whole.with_name(f".{whole.name}.part")


def _lock(file: IO[str], partial: Path) -> None:
    """Refuse a second call that writes to the same place; the lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputExistsError(
            f"Another call is writing to {partial} at this moment. Wait for it, or choose another "
            "--output."
        ) from error


def _recipe(run: Path, options: PredictOptions) -> _Recipe:
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
        cut = operating_threshold(run, fold, document["split_digest"])
        chosen_by = "evaluate's operating point, in leaderboard.json"
    return _Recipe(
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


def _begin(partial: Path, document: dict[str, Any]) -> None:
    """Begin the folder of results, or take that of an earlier call with the same settings."""
    marker = partial / _BEGUN_FILE
    if not marker.is_file():
        partial.mkdir(parents=True, exist_ok=True)
        write_json_atomic(marker, document)
    elif read_json(marker, what="the settings of an interrupted call") != document:
        raise OutputExistsError(
            f"{partial} holds results of an interrupted call with other images or other settings. "
            "Make that call again to go on with it, or remove that folder yourself."
        )


def _kept(results: Path) -> list[dict[str, Any]]:
    """What an earlier call left; a line that it had not ended is cut off."""
    end = 0
    with results.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
        file.truncate(end)
    try:
        return [{"row": line["row"]} for line in _lines(results)]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{results} is damaged ({shortened(error)}). Remove the folder "
            f"{results.parent} and call again."
        ) from error


def _lines(results: Path) -> Iterator[dict[str, Any]]:
    """Every image's result, as it was written."""
    with results.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _write_regions(path: Path, results: Path) -> None:
    """COCO results of all images, an array of one region a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        before = "["
        for line in _lines(results):
            for region in line["regions"]:
                file.write(before + json.dumps(region))
                before = ",\n"
        file.write("]" if before != "[" else "[]")


def _decoded(
    paths: Sequence[Path], bit_depth: int | None
) -> Iterator[tuple[Path, ImageRgb | Exception]]:
    """Images in order, a few of them decoded ahead in threads; an error in an image's place."""
    waiting: deque[tuple[Path, Future[ImageRgb]]] = deque()
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode") as threads:
        try:
            for path in paths:
                waiting.append((path, threads.submit(read_image_rgb, path, bit_depth=bit_depth)))
                if len(waiting) > AHEAD:
                    yield _taken(*waiting.popleft())
            while waiting:
                yield _taken(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _taken(path: Path, future: "Future[ImageRgb]") -> tuple[Path, ImageRgb | Exception]:
    try:
        return path, future.result()
    except (ImageReadError, OSError) as error:
        return path, error


def _predict_one(
    predictor: "Predictor",
    recipe: _Recipe,
    folder: Path,
    path: Path,
    image_rgb: ImageRgb | Exception,
    name: str,
    index: int,
) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS, "") | {"image": str(path)}
    line: dict[str, Any] = {"row": row, "regions": [], "map": None}
    if isinstance(image_rgb, Exception):
        row["error"] = str(image_rgb)
        return line
    verdict = recipe.decide(predictor.predict(path.name, image_rgb), image_rgb)
    if verdict.regions is not None:
        line["regions"] = coco_results(verdict.regions, index)
    if recipe.maps and verdict.heat_map is not None:
        levels, ends = map_levels(verdict.heat_map)
        write_png(folder / MAPS_FOLDER / f"{name}.png", levels, compression=1)
        line["map"] = {"file": f"{MAPS_FOLDER}/{name}.png", "range": list(ends)}
    drawn = recipe.overlays == "all" or (recipe.overlays == "defective" and verdict.defective)
    if drawn:
        write_png(folder / "overlays" / f"{name}.png", verdict.draw(), compression=1)
    row |= {
        "verdict": "defective" if verdict.defective else "good",
        "image_score": repr(verdict.score),
        "predicted_type": verdict.predicted_type or "",
        "regions": "" if verdict.regions is None else str(len(verdict.regions)),
        "overlay": f"overlays/{name}.png" if drawn else "",
    }
    return line


def _overlay_names(images: Sequence[Path]) -> list[str]:
    """A file name for each image: its stem, with a number where several have it."""
    used: set[str] = set()
    names = []
    for path in images:
        stem = safe_name(path.stem)
        name, number = stem, 1
        # Without regard to case, as the file systems of two of the three usual systems compare.
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names


def _notes(rows: Sequence[dict[str, str]], recipe: _Recipe) -> list[str]:
    """Why a verdict and the number of regions may seem to contradict each other, and failures."""
    notes = []
    good = sum(row["verdict"] == "good" and row["regions"] not in ("", "0") for row in rows)
    bare = sum(row["verdict"] == "defective" and row["regions"] == "0" for row in rows)
    why = (
        f"the verdict compares the image's score with {recipe.cut:g}; regions have a threshold of "
        f"their own ({recipe.thresholds.region_threshold:.3g} on the model's scale) and a least "
        "area, both chosen on validation images"
    )
    if good:
        notes.append(f"{good} images are good and yet have regions: {why}.")
    if bare:
        notes.append(f"{bare} images are defective without a region: {why}.")
    failed = [row["image"] for row in rows if row["error"]]
    if failed:
        some = ", ".join(failed[:4]) + (" …" if len(failed) > 4 else "")
        notes.append(
            f"{len(failed)} of {len(rows)} images could not be read and have no verdict ({some}); "
            "the column `error` says why."
        )
    return notes
