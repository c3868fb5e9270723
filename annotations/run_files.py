"""What the files and folders of a run are called; the one place that knows.

OUT/leaderboard.json, OUT/report/, OUT/acceptance/NAME/
OUT/runs/NAME/
  config.yaml           family, split digest, class names, settings
  predictions/          see `annotations.store`
  later/                predictions of images that came to the dataset after the training
  stress.json/.html     the operating window; stress/ holds what it goes on from
  fold-K/               weights, logs, and what an interrupted training goes on from
"""

from pathlib import Path
from typing import Final

RUNS_FOLDER: Final = Path("runs")
LEADERBOARD_FILE: Final = "leaderboard.json"
REPORT_FOLDER: Final = "report"
ACCEPTANCE_FOLDER: Final = "acceptance"

STRESS_FILE: Final = "stress.json"
"""Of a run: its operating window."""
STRESS_PAGE: Final = "stress.html"
STRESS_FOLDER: Final = "stress"
"""Of a run: scores of changed images, from which `stress` goes on."""

LATER_FOLDER: Final = "later"
"""Of a run: predictions of images that came with a later version, and their maps."""

CONFIG_FILE: Final = "config.yaml"
PREDICTIONS_FOLDER: Final = "predictions"
IMAGES_FILE: Final = "images.csv"
VALIDATION_FILE: Final = "validation.csv"
REGIONS_FILE: Final = "regions.json"
META_FILE: Final = "meta.json"
MAPS_FOLDER: Final = "maps"

OUTPUT_MARKER: Final = "predictions.json"
"""Stands in a folder that `predict` wrote; its overlays are no new images."""
LABEL_FIRST_FILE: Final = "label-first.csv"
"""There, of the unlabelled images of a dataset: which to label first."""

TIMING_FILE: Final = "timing.json"
"""Of a fold: seconds of training (since it was last begun or resumed), and of predicting one image
with reading and writing."""
CHECKPOINTS: Final = "checkpoints"
"""Of a fold: folder of what an interrupted training with Lightning goes on from."""
TILES_FILE: Final = "tiles.json"
"""Of a fold: how many tiles its model looks through."""
IMAGE_SCORE_FILE: Final = "image_score.json"
"""Of a fold: how its segmenter weighs a map's statistics for the image's score."""
SEGMENTER_WEIGHTS_FILE: Final = "best.pt"
DETECTOR_WEIGHTS_FILE: Final = "best.safetensors"
OLD_DETECTOR_WEIGHTS_FILE: Final = "best.pt"
"""ultralytics' own checkpoint, as earlier runs hold it."""
DETECTOR_ARCHITECTURE_FILE: Final = "architecture.json"
CLASSIFIER_FILE: Final = "model.npz"


def fold_folder(run: Path, fold: int) -> Path:
    """Where one fold's weights and logs stand."""
    return run / f"fold-{fold}"


def meta_path(run: Path) -> Path:
    """The file that makes a run's predictions complete: thresholds and ranges by fold."""
    return run / PREDICTIONS_FOLDER / META_FILE
