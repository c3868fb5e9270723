"""Results of a call of `predict` that is not over, kept so that a killed call goes on."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from annotations import InputError, OutputExistsError
from annotations.errors import shortened
from annotations.files import PARTIAL, read_json, remove_tree, write_json_atomic
from annotations.locks import LOCK_FILE, hold_lock
from annotations.prediction_files import write_csv
from defectune.library.recipe import Recipe

RESULTS_FILE: Final = "results.jsonl"
BEGUN_FILE: Final = "begun.json"
SHARDS_FOLDER: Final = "shards"
"""Files of parts that were predicted before those in front of them."""
LABEL_FIRST_COLUMNS: Final = (
    "rank", "image_id", "image", "verdict", "image_score", "distance", "predicted_type",
)  # fmt: skip
_NAMED: Final = 4


def partial_folder(output: Path) -> Path:
    """Where results are kept until the last image is done."""
    whole = output.absolute()
    return whole.with_name(f".{whole.name}.part")


def lock(partial: Path) -> AbstractContextManager[None]:
    """Keep a second call from writing to the same place; the lock goes with the process."""
    return hold_lock(
        partial / LOCK_FILE,
        lambda who: OutputExistsError(
            f"Another call is writing to {partial} at this moment{who}. Wait for it, or choose "
            "another --output."
        ),
    )


def begin(partial: Path, document: dict[str, Any]) -> None:
    """Begin the folder of results, or take that of an earlier call with the same settings."""
    marker = partial / BEGUN_FILE
    if not marker.is_file():
        partial.mkdir(parents=True, exist_ok=True)
        write_json_atomic(marker, document)
    elif read_json(marker, what="the settings of an interrupted call") != document:
        raise OutputExistsError(
            f"{partial} holds results of an interrupted call with other images or other settings. "
            "Make that call again to go on with it, or remove that folder yourself."
        )


def kept_rows(results: Path) -> Iterator[dict[str, str]]:
    """Rows that an earlier call left; a line that it had not ended is cut off first."""
    end = 0
    with results.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
        file.truncate(end)
    try:
        for kept in lines(results):
            yield {str(name): str(value) for name, value in kept["row"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{results} is damaged ({shortened(error)}). Remove the folder "
            f"{results.parent} and call again."
        ) from error


def lines(results: Path) -> Iterator[dict[str, Any]]:
    """Every image's result, as it was written."""
    with results.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def write_table(path: Path, columns: Sequence[str], results: Path) -> None:
    """images.csv, a row at a time: those of a hundred thousand images would fill the memory."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for line in lines(results):
            writer.writerow(line["row"])


def write_label_first(path: Path, results: Path, ids: Mapping[str, str], threshold: float) -> None:
    """Write which images to label first: those whose score is closest to the threshold.

    Images that could not be read are left out; images.csv names them.

    Args:
        path: of the table.
        results: what was predicted.
        ids: by the images' paths.
        threshold: on the calibrated score.
    """
    found = []
    for line in lines(results):
        row = line["row"]
        if row["image_score"] != "":
            distance = abs(float(row["image_score"]) - threshold)
            found.append((distance, ids[row["image"]], row))
    found.sort(key=lambda one: one[:2])
    rows = [
        {
            "rank": rank,
            "image_id": image_id,
            "image": row["image"],
            "verdict": row["verdict"],
            "image_score": row["image_score"],
            "distance": f"{distance:.6f}",
            "predicted_type": row["predicted_type"],
        }
        for rank, (distance, image_id, row) in enumerate(found, start=1)
    ]
    write_csv(path, LABEL_FIRST_COLUMNS, rows)


def write_regions(path: Path, results: Path) -> None:
    """COCO results of all images, an array of one region a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        before = "["
        for line in lines(results):
            for region in line["regions"]:
                file.write(before + json.dumps(region))
                before = ",\n"
        file.write("]" if before != "[" else "[]")


def clear(partial: Path) -> None:
    """Remove what is no result: parts' own files, and what killed calls and nodes half-wrote.

    Only for the call that holds the lock: nobody else writes there.
    """
    for name in (RESULTS_FILE, BEGUN_FILE):
        (partial / name).unlink()
    remove_tree(partial / SHARDS_FOLDER)
    for folder in (partial, *(path for path in partial.iterdir() if path.is_dir())):
        for path in folder.glob(f".*{PARTIAL}"):
            path.unlink(missing_ok=True)


@dataclass
class Tally:
    """What is counted of the rows of images.csv.

    Attributes:
        n_images: rows.
        n_defective: with that verdict.
        n_failed: images that could not be read.
        n_good_with_regions: good, and yet with regions.
        n_bare: defective without a region.
        n_remarked: with a remark: images that show too little for a verdict.
        first_failed: the first few of those that could not be read.
    """

    n_images: int = 0
    n_defective: int = 0
    n_failed: int = 0
    n_good_with_regions: int = 0
    n_bare: int = 0
    n_remarked: int = 0
    first_failed: list[str] = field(default_factory=list)

    def add(self, row: Mapping[str, str]) -> None:
        """Count a row."""
        self.n_images += 1
        self.n_defective += row["verdict"] == "defective"
        self.n_good_with_regions += row["verdict"] == "good" and row["regions"] not in ("", "0")
        self.n_bare += row["verdict"] == "defective" and row["regions"] == "0"
        # Rows of a call before there were remarks have none.
        self.n_remarked += bool(row.get("remark"))
        if row["error"]:
            self.n_failed += 1
            if len(self.first_failed) < _NAMED:
                self.first_failed.append(row["image"])

    def notes(self, recipe: Recipe) -> list[str]:
        """Why a verdict and the number of regions may seem to disagree, and what failed."""
        notes = []
        why = (
            f"the verdict compares the image's score with {recipe.cut:g}; regions have a threshold "
            f"of their own ({recipe.thresholds.region_threshold:.3g} on the model's scale) and a "
            "least area, both chosen on validation images"
        )
        if self.n_good_with_regions:
            notes.append(f"{self.n_good_with_regions} images are good and yet have regions: {why}.")
        if self.n_bare:
            notes.append(f"{self.n_bare} images are defective without a region: {why}.")
        if self.n_remarked:
            notes.append(
                f"{self.n_remarked} of {self.n_images} images are tiny or of one color, and their "
                "verdicts say little; the column `remark` says why."
            )
        if self.n_failed:
            more = " …" if self.n_failed > len(self.first_failed) else ""
            notes.append(
                f"{self.n_failed} of {self.n_images} images could not be read and have no verdict "
                f"({', '.join(self.first_failed)}{more}); the column `error` says why."
            )
        return notes
