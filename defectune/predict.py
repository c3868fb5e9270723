"""`defectune predict`: verdicts, regions and overlays for new images."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from annotations import InputError, UsageError, read_image_rgb
from annotations.files import folder_moved_into_place, write_json_atomic, write_text_atomic
from annotations.images import is_image_path
from annotations.prediction_files import THRESHOLD
from annotations.prediction_writer import coco_results
from annotations.samples import safe_name
from annotations.store import filter_regions
from defectune.console import BarReporter, out, show_table


def gather_images(places: Sequence[Path]) -> list[Path]:
    """Files, and the images in folders, in order and once each.

    Raises:
        InputError: a place that does not exist, or no image at all.
    """
    images: list[Path] = []
    for place in places:
        if place.is_dir():
            images += sorted(p for p in place.iterdir() if p.is_file() and is_image_path(p))
        elif place.is_file():
            images.append(place)
        else:
            raise InputError(f"There is no image or folder {place}. Check the path.")
    unique = list(dict.fromkeys(images))
    if not unique:
        raise InputError(
            f"{', '.join(map(str, places))} holds no image (PNG, JPEG, BMP or TIFF are read)."
        )
    return unique


def predict_images(
    run: Path,
    places: Sequence[Path],
    output: Path,
    *,
    fold: int | None,
    device: str,
    reporter: BarReporter,
) -> None:
    """Predict new images with one fold's model of a run.

    Writes images.csv, regions.json (COCO results; `image_id` counts the rows of images.csv from
    1) and an overlay PNG for every image.

    Raises:
        DefectuneError: no such run, fold or image; an existing output.
    """
    from defectune.families import open_predictor
    from report import write_overlay
    from training import finished_folds, read_run_config, run_thresholds

    document = read_run_config(run)
    done = sorted(finished_folds(run))
    if not done:
        raise InputError(f"The run {run} has no finished fold. Train it first.")
    number = done[0] if fold is None else fold
    if number not in done:
        raise UsageError(f"Fold {number} of {run} has not finished; finished: {done}.")
    images = gather_images(places)
    thresholds = run_thresholds(run, number)
    rows, results = [], []
    hint = "Choose another --output, or remove that folder yourself."
    with folder_moved_into_place(output, hint=hint) as folder:
        predictor = open_predictor(run, number, device=device)
        advance = reporter.track(f"{run.name}, fold {number}", len(images))
        names: dict[str, int] = {}
        for index, path in enumerate(images, start=1):
            image_rgb = read_image_rgb(path)
            prediction = predictor.predict(path.name, image_rgb)
            score = thresholds.calibrate(prediction.image_score)
            found = None
            if prediction.regions is not None:
                found = filter_regions(prediction.regions, thresholds.region_threshold)
                results += coco_results(found, index)
            stem = safe_name(path.stem)
            names[stem] = names.get(stem, 0) + 1
            name = stem if names[stem] == 1 else f"{stem}-{names[stem]}"
            write_overlay(
                folder / "overlays" / f"{name}.png",
                image_rgb,
                prediction=found,
                pixel_scores=prediction.pixel_scores,
                image_score=score,
                class_names=document["class_names"],
            )
            rows.append(
                {
                    "image": str(path),
                    "verdict": "defective" if score >= THRESHOLD else "good",
                    "image_score": f"{score:.6f}",
                    "predicted_type": prediction.predicted_type or "",
                    "regions": "" if found is None else str(len(found)),
                    "overlay": f"overlays/{name}.png",
                }
            )
            advance("")
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text_atomic(folder / "images.csv", text.getvalue())
        write_json_atomic(folder / "regions.json", results)
    shown = [
        [row["image"], row["verdict"], row["image_score"], row["regions"]] for row in rows[:40]
    ]
    show_table([["image", "verdict", "score", "regions"], *shown], title=f"Threshold {THRESHOLD}")
    out.print(f"{len(rows)} images; all verdicts: {output / 'images.csv'}", markup=False)
