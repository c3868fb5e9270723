"""What the files and folders of a run are called; the one place that knows.

OUT/runs/NAME/
  config.yaml           family, split digest, class names, settings
  lock                  held while something writes to the run
  predictions/          see `annotations.store`
  fold-K/               weights, logs and what an interrupted training goes on from
"""

from pathlib import Path
from typing import Final

RUNS_FOLDER: Final = Path("runs")
"""Of a converted dataset."""
LEADERBOARD_FILE: Final = "leaderboard.json"
"""Of a converted dataset."""
REPORT_FOLDER: Final = "report"
"""Of a converted dataset."""

CONFIG_FILE: Final = "config.yaml"
PREDICTIONS_FOLDER: Final = "predictions"
IMAGES_FILE: Final = "images.csv"
VALIDATION_FILE: Final = "validation.csv"
REGIONS_FILE: Final = "regions.json"
META_FILE: Final = "meta.json"
MAPS_FOLDER: Final = "maps"
TIMING_FILE: Final = "timing.json"
"""Of a fold: seconds of training (since it was last begun or resumed), and of predicting one image
with reading and writing."""


def fold_folder(run: Path, fold: int) -> Path:
    """Where one fold's weights and logs stand."""
    return run / f"fold-{fold}"
