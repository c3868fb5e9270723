"""Verdicts of a model that is open: on one image, or on a part of a call's many."""

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from annotations import read_image_rgb, write_png
from annotations.prediction_files import map_levels
from annotations.prediction_writer import coco_results
from annotations.run_files import MAPS_FOLDER
from defectune.library.arguments import as_path
from defectune.library.decoding import decoded
from defectune.library.environment import quiet_environment
from defectune.library.recipe import PredictOptions, Recipe, open_model, run_recipe
from defectune.library.shards import Part
from defectune.library.verdict import Verdict
from inference.arrays import as_image
from inference.base import ImageRgb
from inference.remarks import remark_on

if TYPE_CHECKING:
    from training import Predictor

COLUMNS: Final = (
    "image", "verdict", "image_score", "predicted_type", "regions", "overlay", "error",
    "remark",
)  # fmt: skip


def predict_one(
    run: Path,
    image: Any,
    options: PredictOptions,
    predictors: "dict[tuple[int, str], Predictor] | None" = None,
) -> Verdict:
    """The verdict on one image.

    Args:
        run: its folder.
        image: a path, or an array as `as_image` takes it.
        options: how to predict.
        predictors: models that are loaded already, by fold and device; gets the one that is used.

    Raises:
        DefectuneError: see `Run.predict`.
    """
    recipe = run_recipe(run, options)
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
        loaded[key] = open_model(recipe, options)
    return recipe.decide(loaded[key].predict(name, image_rgb), image_rgb)


def predict_part(
    predictor: "Predictor",
    recipe: Recipe,
    part: Part,
    file: IO[str],
    on_row: Callable[[Mapping[str, str]], None],
) -> None:
    """Append a line for each image of a part to `file`; `on_row` gets every row of images.csv."""
    images = zip(decoded(part.paths, recipe.bit_depth), part.names, strict=True)
    for index, ((path, image), name) in enumerate(images, start=part.start + 1):
        line = _predict_one(predictor, recipe, part.folder, path, image, name, index)
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        on_row(line["row"])


def _predict_one(
    predictor: "Predictor",
    recipe: Recipe,
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
        "remark": remark_on(image_rgb),
    }
    return line
