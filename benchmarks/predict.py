"""A detector's bundle beside ultralytics' own prediction: same weights, same images, one run.

    uv run python -m benchmarks.predict --size 160 --images 40 --side 900

Images are drawn and decoded from PNG by each way itself; weights are random, since time does not
depend on them. Times are wall-clock seconds an image after a warm-up, ways taking turns image by
image so that a busy machine touches all alike. Cold start is a process of its own: import, open,
first verdict.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotations import write_png
from annotations.prediction_files import FoldThresholds
from annotations.scoring.boxes import MIN_SCORE, SAME_IOU
from deployment import open_bundle
from deployment.archive import BUNDLE, CARD, FORMAT, graph_name, to_json, write_archive
from deployment.export import graph_of
from detect.network import published_architecture
from detect.predict import BoxPredictor
from detect.ultralytics_setup import import_ultralytics

MODEL = "yolo11n.pt"
COLD = """
import sys, time
began = time.perf_counter()
from deployment import open_bundle
open_bundle(sys.argv[1]).predict(sys.argv[2])
print(time.perf_counter() - began)
"""


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--side", type=int, default=900)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        _measure(Path(name), options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    images = _draw(folder / "images", options.images, options.side)
    network = published_architecture(MODEL).build().float().eval()
    ways: dict[str, Callable[[Path], Any]] = {
        "ultralytics, torch": _ultralytics(network, options.size),
    }
    bundles = {}
    for views in (1, 8):
        path = _bundle(folder / f"{views}.bundle", network, options.size, views)
        bundles[views] = path
        opened = open_bundle(path, threads=options.threads)
        ways[f"bundle, {views} view{'s' * (views > 1)}"] = opened.predict
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number, image in enumerate([*images[:3], *images]):
        for way, predict in ways.items():
            began = time.perf_counter()
            predict(image)
            if number >= 3:
                times[way].append(time.perf_counter() - began)
    print("| way | images/s | p50 ms | p99 ms | p99 / p50 |")
    print("|---|---|---|---|---|")
    for way, seconds in times.items():
        middle, high = np.quantile(seconds, [0.5, 0.99])
        print(
            f"| {way} | {1 / middle:.1f} | {1000 * middle:.1f} | {1000 * high:.1f} | "
            f"{high / middle:.2f} |"
        )
    cold = sorted(_cold(bundles[1], images[0]) for _ in range(3))
    print(f"\nCold start of the bundle, 1 view, median of 3 processes: {cold[1]:.2f} s")


def _draw(folder: Path, count: int, side: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(60, 200, (side // 20, side // 20, 3), np.uint8)
        image = np.repeat(np.repeat(coarse, 20, axis=0), 20, axis=1)
        paths.append(folder / f"{number:03d}.png")
        write_png(paths[-1], image)
    return paths


def _ultralytics(network: Any, size: int) -> Callable[[Path], Any]:
    import_ultralytics()
    import copy

    from ultralytics.models.yolo.detect import DetectionPredictor

    overrides = {
        "task": "detect", "mode": "predict", "rect": True, "save": False, "imgsz": size,
        "conf": MIN_SCORE, "iou": SAME_IOU, "max_det": 100, "device": "cpu", "verbose": False,
    }  # fmt: skip
    predictor: Any = DetectionPredictor(overrides=overrides)
    predictor.setup_model(model=copy.deepcopy(network), verbose=False)
    return lambda path: predictor(str(path))


def _bundle(path: Path, network: Any, size: int, views: Any) -> Path:
    scorer = BoxPredictor(network, image_size=size, max_detections=100, device="cpu", views=views)
    model = {
        "fold": 0,
        "scorer": scorer.kind,
        "recipe": scorer.recipe(),
        "arrays": [],
        "thresholds": FoldThresholds(0.5, "odds", 0.5, "nothing").to_json(),
    }
    document = {
        "format": FORMAT, "run": "benchmark", "family": "detect", "split_digest": "",
        "class_names": [str(n) for n in range(80)], "bit_depth": None, "threshold": 0.5,
        "map_range": [0.0, 1.0], "models": [model],
    }  # fmt: skip
    write_archive(
        path, {graph_name(0): graph_of(scorer), BUNDLE: to_json(document), CARD: b"# Benchmark\n"}
    )
    return path


def _cold(bundle: Path, image: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", COLD, str(bundle), str(image)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
