"""The whole job on real images with real weights, a short fold each; what `scripts/real-run` calls.

    python -m benchmarks.real_run DATA WEIGHTS

DATA holds `mvtec/bottle` and `magnetic_tile` in MVTec layout, WEIGHTS `yolo11n.pt`. Every step is a
command in a process of its own, in a temporary folder. It ends with 1 at the first step that
fails, or whose result is not what it has to be.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from annotations import load_dataset
from annotations.files import read_json

SHORT = ["--epochs", "1", "--fold", "0", "--device", "cpu"]
BOTTLE: dict[str, list[str]] = {
    "detect-coco": ["detect", "--recipe", "fast", "--model", "yolo11n.pt", "--image-size", "160"],
    "detect-lite0": ["detect", "--recipe", "fast", "--model", "yolo-lite0", "--image-size", "160"],
    "unet": ["segment", "--recipe", "fast", "--image-size", "128"],
    "hybrid": ["segment", "--recipe", "hybrid", "--image-size", "160"],
    "supervised": ["classify", "--method", "supervised", "--image-size", "128"],
    "patches": ["classify", "--method", "patch-memory", "--image-size", "160"],
}
TILES = {name: BOTTLE[name] for name in ("detect-coco", "hybrid")}
WITHOUT_EPOCHS = frozenset({"patches"})
BUNDLED = frozenset({"detect-coco", "unet", "patches"})
"""One of each family: what a bundle does for the others, tests on drawn images say."""
WHOLE = {"image_auroc": 1.000, "pixel_ap": 0.776, "aupro_30": 0.948, "accuracy": 82 / 83}
"""Patch memory on the 83 official test images, as benchmarks/results/baselines.md has it."""
HALF_DIGIT = 0.0006
EQUAL = 1e-6


class StepError(Exception):
    """A step did not do what it has to."""


class Steps:
    """Runs commands one after the other and says what each took."""

    def __init__(self, weights: Path) -> None:
        self._environment = {**os.environ, "DEFECTUNE_WEIGHTS": str(weights.resolve())}
        self._began = time.monotonic()
        self.n = 0

    def __call__(self, *words: str | Path) -> str:
        began = time.monotonic()
        command = [sys.executable, "-W", "ignore", "-m", "defectune", *map(str, words)]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        shown = " ".join(str(word) for word in words if not str(word).startswith("/"))
        self.say(f"{time.monotonic() - began:6.1f} s  {shown}")
        self.n += 1
        if done.returncode:
            raise StepError(f"{shown} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {text}", flush=True)


def subset(source: Path, target: Path, *, n_good: int, n_type: int) -> Path:
    """The first images of each folder of a category in MVTec layout, with their masks."""
    for folder in sorted(source.glob("t*/*")):
        good = folder.name == "good"
        n = (2 * n_good if folder.parent.name == "train" else n_good) if good else n_type
        files = [path for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png")]
        for file in files[:n]:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            for mask in (source / "ground_truth" / folder.name).glob(f"{file.stem}[._]*"):
                copy = target / mask.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(mask, copy)
    return target


def scores(path: Path, key: str) -> dict[str, float]:
    """The calibrated scores of an images.csv by one of its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row[key]: float(row["image_score"]) for row in csv.DictReader(file)}


def same_as_stored(root: Path, run: str, work: Path, step: Steps) -> None:
    """`predict` on the test images of fold 0 gives what is stored with the run."""
    data = load_dataset(root)
    test = data.select(data.split.folds[0].test)
    output = work / f"predicted-{root.name}-{run}"
    step("predict", root / "runs" / run, *(s.image_path for s in test), "--output", output)
    stored = scores(root / "runs" / run / "predictions" / "images.csv", "image_id")
    predicted = scores(output / "images.csv", "image")
    differences = [abs(predicted[str(s.image_path)] - stored[s.image_id]) for s in test]
    if not differences or max(differences) > EQUAL:
        raise StepError(
            f"{run}: the scores of predict and those that are stored differ by up to "
            f"{max(differences, default=0):.2g} on {len(differences)} images."
        )


def whole_job(source: Path, root: Path, runs: dict[str, list[str]], step: Steps) -> None:
    """Convert, train a fold of each, evaluate, report, predict, bundle and check a bundle."""
    step("convert", source, root, "--folds", "3")
    step("check", root)
    for name, words in runs.items():
        short = SHORT if name not in WITHOUT_EPOCHS else SHORT[2:]
        step("train", words[0], root, *words[1:], *short, "--name", name)
    table = step("evaluate", root, "--fold", "0")
    missing = [name for name in runs if name not in table]
    if missing:
        raise StepError(f"evaluate shows no {missing}:\n{table}")
    step("report", root)
    for name in runs:
        same_as_stored(root, name, root.parent, step)
        if name not in BUNDLED:
            continue
        bundle = root.parent / f"{root.name}-{name}.bundle"
        step("bundle", root / "runs" / name, bundle)
        step("bundle", "check", bundle, root)


def whole_bottle(source: Path, root: Path, step: Steps) -> None:
    """Patch memory on all of bottle gives the committed metrics."""
    step("convert", source, root, "--protocol", "official")
    step("train", "classify", root, "--method", "patch-memory", "--name", "whole")
    step("evaluate", root)
    metrics = read_json(root / "leaderboard.json", what="a leaderboard")["rows"][0]["metrics"]
    for name, expected in WHOLE.items():
        value = metrics[name]["value"]
        step.say(f"          patch memory on bottle: {name} {value:.4f}, committed {expected:.4f}")
        if abs(value - expected) > HALF_DIGIT:
            raise StepError(f"{name} of patch memory on bottle is {value}, committed {expected}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the data at hand allows; 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    given = parser.parse_args(arguments)
    bottle, tiles = given.data / "mvtec" / "bottle", given.data / "magnetic_tile"
    has_weights = (given.weights / "yolo11n.pt").is_file()
    step = Steps(given.weights)

    def allowed(runs: dict[str, list[str]]) -> dict[str, list[str]]:
        if not has_weights:
            step.say(f"skipped detect-coco: {given.weights / 'yolo11n.pt'} is missing")
        return {name: runs[name] for name in runs if has_weights or name != "detect-coco"}

    with tempfile.TemporaryDirectory(prefix="defectune-real-run-") as folder:
        work = Path(folder)
        try:
            if bottle.is_dir():
                small = subset(bottle, work / "bottle", n_good=12, n_type=12)
                whole_job(small, work / "bottle-out", allowed(BOTTLE), step)
                whole_bottle(bottle, work / "whole", step)
            else:
                step.say(f"skipped everything on bottle: {bottle} is missing")
            if tiles.is_dir():
                small = subset(tiles, work / "tiles", n_good=9, n_type=6)
                whole_job(small, work / "tiles-out", allowed(TILES), step)
            else:
                step.say(f"skipped everything on magnetic tile: {tiles} is missing")
        except StepError as failure:
            print(f"failed: {failure}", file=sys.stderr)
            return 1
    step.say(f"{step.n} commands, and all of them did what they have to")
    return 0


if __name__ == "__main__":
    sys.exit(main())
