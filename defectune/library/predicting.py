"""Verdicts, regions and overlays for new images."""

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotations import Dataset, InputError, UsageError, load_dataset
from annotations.dataset import COCO_ALL
from annotations.files import require_new_folder, write_json_atomic
from annotations.prediction_files import read_csv
from annotations.run_files import IMAGES_FILE, LABEL_FIRST_FILE, OUTPUT_MARKER, REGIONS_FILE
from defectune.inputs import gather_images, listed_images, refuse_videos
from defectune.library.arguments import Place, as_path, checked, several
from defectune.library.deciding import COLUMNS, predict_part
from defectune.library.kept_results import (
    RESULTS_FILE,
    Tally,
    begin,
    clear,
    kept_rows,
    lines,
    lock,
    partial_folder,
    write_label_first,
    write_regions,
    write_table,
)
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.recipe import (
    PredictOptions,
    bundle_recipe,
    knows_least_area,
    open_model,
    run_recipe,
)
from defectune.library.run import Run
from defectune.library.shards import kept, parts_of, take
from defectune.ray_tasks import require_engine
from defectune.runs import find_run

if TYPE_CHECKING:
    from training import Reporter


@dataclass(frozen=True)
class PredictedImages:
    """What `predict` wrote.

    Attributes:
        folder: the output.
        n_images: rows of the table.
        n_defective: images with that verdict.
        n_failed: images that could not be read; their rows have the error.
        threshold: calibrated scores from this on are defective.
        chosen_by: who chose the threshold, as a text.
        notes: what a reader must know beside the table, a sentence each.
    """

    folder: Path
    n_images: int
    n_defective: int
    n_failed: int
    threshold: float
    chosen_by: str
    notes: tuple[str, ...]

    @property
    def table(self) -> Path:
        """images.csv."""
        return self.folder / IMAGES_FILE

    @property
    def rows(self) -> tuple[Mapping[str, str], ...]:
        """Of images.csv, an image each; read from the file at every call."""
        return tuple(read_csv(self.table))

    def first_rows(self, count: int) -> list[Mapping[str, str]]:
        """The first rows, without reading all of them."""
        with self.table.open(encoding="utf-8", newline="") as file:
            return list(islice(csv.DictReader(file), count))

    def __repr__(self) -> str:
        return (
            f"PredictedImages({self.folder.as_posix()!r}: {self.n_images} images, "
            f"{self.n_defective} defective, {self.n_failed} not read)"
        )


@checked
def predict(
    run: Annotated[Run | Place, Option(metavar="RUN|BUNDLE")],
    images: Annotated[Dataset | Place | Sequence[Place], Option(metavar="IMAGES", lone_dash=True)],
    output: Annotated[Place, Option(metavar="FOLDER", named=True)],
    *,
    fold: int | None = None,
    device: str = "auto",
    threshold: float | None = None,
    operating_point: bool = False,
    maps: bool = False,
    overlays: str = "none",
    on: str = "local",
    threads: Annotated[int, Option(least=0)] = 0,
    provider: str = "cpu",
    progress: "bool | Reporter" = True,
) -> PredictedImages:
    """Give verdicts, regions and overlays for new images; a killed call goes on when repeated.

    For one image in memory, see `Run.predict`.

    Args:
        run: A run, its folder, OUT/NAME or NAME within OUT; or a bundle's file.
        images: Files, folders with all that is in them, or patterns such as line/**/*.png; -
            reads paths from standard input, one on each line. Of a converted dataset, its
            unlabelled images; label-first.csv then lists them, closest to the threshold first.
        output: Folder for images.csv, regions.json, predictions.json and overlays; a new or an
            empty one.
        fold: Fold whose model predicts; the first finished one if not given.
        device: Device to compute on: auto, cpu or cuda:0.
        threshold: Call images defective from this calibrated score on; if not given, from 0.5,
            which stands for the threshold that training chose.
        operating_point: Take the threshold that evaluate chose by costs or a bound.
        maps: Also write score maps, as 16-bit PNGs.
        overlays: Images that get a picture of some 250 KB: none, defective or all.
        on: Where images are predicted: local, or on Ray as ray, ray:auto or ray:HOST:PORT. Ray's
            nodes must see the model, the images and `output` under the same paths. The results
            are the same.
        threads: Threads that compute one image, of a bundle; 0 is one for each core.
        provider: Engine that computes a bundle's graphs: cpu, cuda, tensorrt or openvino.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Raises:
        UsageError: an argument of a wrong type, a fold that has not finished, both thresholds, or
            Ray is missing.
        DefectuneError: no such run or image; an existing output.

    Example:
        >>> import defectune as dt
        >>> images = "drawn/drawn_bottle/test/good"
        >>> dt.predict("out/runs/quick", images, "new", device="cpu", progress=False).n_failed
        0
    """
    paths, ids = _images_of(images)
    refuse_videos(paths)
    with shown(progress) as reporter:
        return predict_images(
            run.path if isinstance(run, Run) else as_path(run, what="run"),
            paths,
            as_path(output, what="output"),
            PredictOptions(
                fold, device, threshold, operating_point, maps, overlays, threads, provider
            ),
            on=on,
            reporter=reporter,
            unlabelled=ids,
        )


def _images_of(
    images: Dataset | Place | Sequence[Place],
) -> tuple[list[Path], dict[str, str] | None]:
    """The places of a call; of a dataset its unlabelled images, and their ids by path."""
    if isinstance(images, Dataset):
        return _unlabelled_of(images)
    paths = _image_paths(images)
    datasets = [path for path in paths if (path / COCO_ALL).is_file()]
    if not datasets:
        return paths, None
    if len(paths) > 1:
        raise UsageError(
            f"{datasets[0]} is a converted dataset, and is predicted alone: its unlabelled images. "
            "Give other images to a call of their own."
        )
    return _unlabelled_of(load_dataset(datasets[0]))


def _unlabelled_of(dataset: Dataset) -> tuple[list[Path], dict[str, str]]:
    if not dataset.unlabelled:
        raise InputError(
            f"{dataset.root} is a converted dataset without unlabelled images. Add some with "
            f"`defectune update {dataset.root} --unlabelled FOLDER`, or give a folder of images; "
            "predictions of its labelled images stand with its runs."
        )
    return (
        [image.image_path for image in dataset.unlabelled],
        {str(image.image_path): image.image_id for image in dataset.unlabelled},
    )


def _image_paths(images: Place | Sequence[Place]) -> list[Path]:
    paths = [as_path(one, what="image") for one in several(images)]
    listed = listed_images(sys.stdin) if Path("-") in paths else []
    return [path for path in paths if path != Path("-")] + listed


def predict_images(
    run: str | Path,
    places: Sequence[Path],
    output: Path,
    options: PredictOptions,
    *,
    on: str = "local",
    reporter: "Reporter",
    unlabelled: Mapping[str, str] | None = None,
) -> PredictedImages:
    """Predict new images with one fold's model of a run, or with a bundle.

    Writes images.csv, regions.json (COCO results; `image_id` counts the rows of images.csv from
    1), predictions.json (the thresholds and all else that decided) and an overlay PNG for every
    image. Results are kept beside `output` as they come, so that a call that was killed goes on
    when made again. Of an image that is done, nothing but its name stays in memory.

    Args:
        run: see `predict`.
        places: as well.
        output: as well.
        options: how to predict.
        on: the engine.
        reporter: for progress.
        unlabelled: ids by path where the images are a dataset's unlabelled ones; label-first.csv
            is then written, too.

    Raises:
        DefectuneError: no such run, fold, image or engine; an existing output.
    """
    require_engine(on)
    bundle = Path(run) if Path(run).is_file() else None
    if bundle is None and (options.threads or options.provider != "cpu"):
        raise UsageError(
            "threads and provider are of a bundle's runtime, and a run computes with torch: give "
            "--device, or make a bundle of it (`defectune bundle RUN FILE`)."
        )
    if bundle is not None:
        recipe, predictor = bundle_recipe(bundle, options)
    else:
        recipe = run_recipe(find_run(run), options)
    require_new_folder(output, hint="Choose another --output, or remove that folder yourself.")
    if bundle is None and not knows_least_area(recipe):
        reporter.say(
            f"{recipe.run} was trained before runs kept the least area of a region: smaller "
            "regions than those that were evaluated may be found. Train it again to be rid of them."
        )
    inputs = gather_images(places, output=output)
    if bundle is None and on == "local":
        predictor = open_model(recipe, options)
    partial = partial_folder(output)
    document = recipe.to_json(inputs, output)
    begin(partial, document)
    advance = reporter.track(f"{recipe.run.name}, fold {recipe.fold}", len(inputs.images))
    results = partial / RESULTS_FILE
    tally = Tally()
    with lock(partial):
        with results.open("a", encoding="utf-8", newline="\n") as file:
            for row in kept_rows(results):
                tally.add(row)
                advance("")
            if tally.n_images:
                reporter.say(
                    f"{tally.n_images} images were predicted by an earlier call; it goes on."
                )

            def on_row(row: Mapping[str, str]) -> None:
                tally.add(row)
                advance("")

            parts = parts_of(partial, inputs.images, tally.n_images)
            if on != "local":
                from defectune.library.predicting_on_ray import predict_on_ray

                predict_on_ray(parts, recipe, options, on.partition(":")[2], file, on_row)
            else:
                for part in parts:
                    rows = kept(part, recipe.bit_depth)
                    if rows is not None:
                        take(part, rows, file, on_row)
                    else:
                        predict_part(predictor, recipe, part, file, on_row)
        notes = tally.notes(recipe)
        write_table(partial / IMAGES_FILE, COLUMNS, results)
        write_regions(partial / REGIONS_FILE, results)
        if unlabelled is not None:
            write_label_first(partial / LABEL_FIRST_FILE, results, unlabelled, recipe.cut)
            notes.append(
                f"{LABEL_FIRST_FILE} lists what to label first: closest to the threshold first."
            )
        maps = {
            line["row"]["image"]: line["map"] for line in lines(results) if line["map"] is not None
        }
        write_json_atomic(
            partial / OUTPUT_MARKER,
            document | {"n_failed": tally.n_failed, "notes": notes, "map_files": maps},
        )
        clear(partial)
    require_new_folder(output, hint=f"The results are kept in {partial}.")
    if output.is_dir():
        output.rmdir()
    partial.replace(output)
    return PredictedImages(
        output,
        tally.n_images,
        tally.n_defective,
        tally.n_failed,
        recipe.cut,
        recipe.chosen_by,
        (*inputs.lines(), *notes),
    )
