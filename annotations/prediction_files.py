"""What a run's prediction files are called and hold, shared by those who write and read them."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from annotations.errors import InputError, shortened
from annotations.files import read_json, write_text_atomic
from annotations.run_files import meta_path
from annotations.scores import CalibratedScore, RawScore

THRESHOLD: Final = CalibratedScore(0.5)
"""On the calibrated scale, for every run."""
GIVEN: Final = "given with the predictions"
"""`chosen_on` of a threshold of which nobody here knows what it was chosen on."""
FORMAT: Final = "defectune-predictions-1"
IMAGE_COLUMNS: Final = ("image_id", "image_score", "verdict", "raw_score", "fold", "predicted_type")
VALIDATION_COLUMNS: Final = ("image_id", "image_score", "raw_score", "fold")
MAP_LEVELS: Final = 65535
_STRIP_PIXELS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FoldThresholds:
    """What one fold's model decided on its validation images, stored with the run.

    Attributes:
        raw_threshold: image scores at or above it are called defective, on the model's scale.
        scale: `odds` for scores in [0, 1] (probabilities), `ratio` for distances from 0 up.
        region_threshold: regions scoring at or above it count as found.
        chosen_on: a text that says which images it was chosen on.
        min_area_fraction: found regions of fewer pixels than this part of the image were left
            out; 0 where a family has no such rule.
        low_fraction: pixels from this part of `region_threshold` on belong to a found region that
            reaches the threshold somewhere (hysteresis); 1 where pixels below it never do.
        merge_fraction: found pieces with a gap of at most this part of the image's longer side
            between them are one region; 0 where every piece is one of its own.
    """

    raw_threshold: float
    scale: str
    region_threshold: float
    chosen_on: str
    min_area_fraction: float = 0.0
    low_fraction: float = 1.0
    merge_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.scale not in ("odds", "ratio"):
            raise ValueError(f"scale must be 'odds' or 'ratio', got {self.scale!r}.")
        if not (math.isfinite(self.raw_threshold) and self.raw_threshold > 0):
            raise ValueError(f"raw_threshold must be above 0, got {self.raw_threshold}.")
        if self.scale == "odds" and self.raw_threshold >= 1:
            raise ValueError(f"On the odds scale it must be below 1, got {self.raw_threshold}.")
        if not 0 <= self.min_area_fraction < 1:
            raise ValueError(f"min_area_fraction must be in [0, 1), got {self.min_area_fraction}.")
        if not 0 < self.low_fraction <= 1:
            raise ValueError(f"low_fraction must be in (0, 1], got {self.low_fraction}.")
        if not 0 <= self.merge_fraction < 1:
            raise ValueError(f"merge_fraction must be in [0, 1), got {self.merge_fraction}.")

    def to_json(self) -> dict[str, Any]:
        """As meta.json holds it: every field, so that none is lost between two readers."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "FoldThresholds":
        """Read what `to_json` wrote; fields with a default may lack, as in older runs.

        Raises:
            KeyError: a field is missing.
            TypeError: a field of another kind.
            ValueError: a number out of its range.
        """
        return cls(
            raw_threshold=float(value["raw_threshold"]),
            scale=str(value["scale"]),
            region_threshold=float(value["region_threshold"]),
            chosen_on=str(value["chosen_on"]),
            min_area_fraction=float(value.get("min_area_fraction", 0.0)),
            low_fraction=float(value.get("low_fraction", 1.0)),
            merge_fraction=float(value.get("merge_fraction", 0.0)),
        )

    def calibrate(self, raw_score: RawScore) -> CalibratedScore:
        """Bring a score to the common scale from 0 to 1 where 0.5 is the threshold.

        With the odds o of the score (the score itself on the `ratio` scale) and those of the
        threshold t, the result is o / (o + t): monotonic, with one parameter a fold, so that few
        validation images cannot bend it.
        """
        odds = float(raw_score)
        limit = self.raw_threshold
        if self.scale == "odds":
            odds = min(max(odds, 0.0), 1.0)
            if odds == 1.0:
                return CalibratedScore(1.0)
            odds = odds / (1 - odds)
            limit = limit / (1 - limit)
        odds = max(odds, 0.0)
        # Exactly at the threshold must come out as exactly 0.5.
        return THRESHOLD if odds == limit else CalibratedScore(odds / (odds + limit))


def map_levels(
    pixel_scores: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.uint16], tuple[float, float]]:
    """A score map, float (H, W), as the 16-bit levels that are stored, and the range they span."""
    low, high = float(pixel_scores.min()), float(pixel_scores.max())
    # Probabilities share one range, so that equal scores stay equal over images.
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    span = (high - low) or 1.0
    height, width = pixel_scores.shape
    levels = np.empty((height, width), np.uint16)
    for rows in strips(height, width):
        scores = pixel_scores[rows].astype(np.float64)
        levels[rows] = np.rint((scores - low) / span * MAP_LEVELS)
    return levels, (low, high)


def strips(height: int, width: int) -> Iterator[slice]:
    """Rows of an image from top to bottom, about a million pixels at a time.

    What is computed pixel by pixel needs no floating point copy of a large image as a whole.
    """
    step = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def common_range(ranges: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The scores at the ends of a heat map's colors: of all a run's maps; 0 to 1 without any."""
    ends = list(ranges)
    if not ends:
        return 0.0, 1.0
    return min(low for low, _ in ends), max(high for _, high in ends)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with a header, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a table with a header, in UTF-8, with or without a byte order mark.

    Columns are separated by what the header has most of: commas, semicolons (Excel in many
    languages) or tabs.

    Raises:
        InputError: there is no such file, it is in another encoding, or no CSV.
    """
    if not path.is_file():
        raise InputError(f"Expected a table at {path}, but there is no such file.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            return list(csv.DictReader(file, delimiter=max(",;\t", key=head.count)))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not in UTF-8 ({error.reason} at byte {error.start}). Save it as CSV in "
            "UTF-8; Excel calls that 'CSV UTF-8'."
        ) from error
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read as CSV ({shortened(error)}). Write it again."
        ) from error


def parse_thresholds(meta: Any, path: Path) -> dict[int, FoldThresholds]:
    """Thresholds by fold of a meta.json, `path` being its place.

    Raises:
        InputError: it is damaged.
    """
    try:
        return {int(number): FoldThresholds.from_json(f) for number, f in meta["folds"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """What is said of a prediction file that is not what a training wrote."""
    return InputError(
        f"{path} is damaged ({type(error).__name__}: {shortened(error)}). Train this fold again, "
        "or restore the file."
    )


def read_thresholds(run: Path) -> dict[int, FoldThresholds]:
    """Thresholds by finished fold of a run; empty where none has finished.

    Raises:
        InputError: its meta.json is damaged.
    """
    path = meta_path(run)
    if not path.is_file():
        return {}
    return parse_thresholds(read_json(path, what="a run's predictions"), path)
