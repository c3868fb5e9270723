"""Bundles beside ultralytics' own prediction and anomalib's inferencer: same images, one run.

    uv run python -m benchmarks.predict --size 160 --images 40 --side 900 --peer PEER/bin/python

Images are drawn and decoded from PNG by each way itself; weights are random, since time does not
depend on them. Times are wall-clock seconds an image after a warm-up, ways taking turns image by
image, each in a process of its own, so that a busy machine touches all alike. Cold start is a
process of its own: import, open, first verdict. PEER is an environment with anomalib, see
peer_patchcore.py; without it patch memory is measured alone.
"""

import argparse
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotations import write_png
from annotations.prediction_files import FoldThresholds
from classify.anomaly.memory import PatchMemory
from classify.features import FeatureNetwork
from deployment import open_bundle
from deployment.archive import (
    BUNDLE,
    CARD,
    FORMAT,
    array_name,
    graph_name,
    pack_array,
    to_json,
    write_archive,
)  # fmt: skip
from deployment.export import graph_of
from detect.network import published_architecture
from detect.predict import BoxPredictor
from detect.ultralytics_setup import import_ultralytics
from inference.boxes import MIN_SCORE, SAME_IOU
from inference.patches import PatchScorer

MODEL = "yolo11n.pt"
PATCH_SIDE, PATCHES = 256, 2000
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
    parser.add_argument("--peer", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        _measure(Path(name), options)


def _measure(folder: Path, options: argparse.Namespace) -> None:
    images = _draw(folder / "images", options.images, options.side)
    network = published_architecture(MODEL).build().float().eval()
    common = (options.size, options.threads)
    ways: dict[str, tuple[Any, ...]] = {
        "ultralytics, torch": (_ultralytics, *common),
        "ultralytics, its ONNX export": (_ultralytics_onnx, *common, folder),
    }
    bundles = {}
    for views, engine in ((1, "onnxruntime"), (1, "openvino"), (8, "onnxruntime")):
        path = _bundle(folder / f"{views}-{engine}.bundle", network, options.size, views, engine)
        bundles[views, engine] = path
        name = "bundle" if engine == "onnxruntime" else "bundle for OpenVINO"
        ways[f"{name}, {views} view{'s' * (views > 1)}"] = (_opened, path, options.threads)
    _take_turns(f"yolo11n, {options.size} pixels", ways, images, None)
    cold = sorted(_cold(bundles[1, "onnxruntime"], images[0]) for _ in range(3))
    print(f"\nCold start of the bundle, 1 view, median of 3 processes: {cold[1]:.2f} s\n")
    ways, channels = {}, 0
    for engine in ("onnxruntime", "openvino"):
        path, channels = _memory_bundle(folder / f"patches-{engine}.bundle", engine)
        name = "bundle" if engine == "onnxruntime" else "bundle for OpenVINO"
        ways[name] = (_opened, path, options.threads)
    call = None
    if options.peer is not None:
        script = Path(__file__).with_name("peer_inferencer.py").resolve()
        numbers = [str(PATCHES), str(channels), str(options.threads)]
        call = [str(options.peer.absolute()), str(script), *numbers]
    what = f"patch memory, {PATCH_SIDE} pixels, {PATCHES} patches"
    _take_turns(what, ways, images, call)


def _worker(connection: Any, make: Callable[..., Callable[[Path], Any]], *arguments: Any) -> None:
    warnings.filterwarnings("ignore")
    predict = make(*arguments)
    connection.send("ready")
    while (image := connection.recv()) is not None:
        began = time.perf_counter()
        predict(image)
        connection.send(time.perf_counter() - began)


def _take_turns(
    what: str, ways: dict[str, tuple[Any, ...]], images: list[Path], peer: list[str] | None
) -> None:
    """Every way in a process of its own, since idle threads of one engine slow the next."""
    context = multiprocessing.get_context("spawn")
    asked: dict[str, Callable[[Path], float]] = {}
    with contextlib.ExitStack() as stack:
        for way, arguments in ways.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_worker, args=(theirs, *arguments), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(ours.send, None)
            ours.recv()
            asked[way] = partial(_ask, ours)
        if peer is not None:
            environment = os.environ | {"TRUST_REMOTE_CODE": "1"}
            pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            program = stack.enter_context(subprocess.Popen(peer, env=environment, **pipes))
            stack.callback(program.stdin.close)
            while program.stdout.readline().strip() != "ready":
                if program.poll() is not None:
                    raise SystemExit("The peer ended.")
            asked["anomalib's TorchInferencer"] = partial(_ask_program, program)
        times: dict[str, list[float]] = {way: [] for way in asked}
        for number, image in enumerate([*images[:3], *images]):
            for way, ask in asked.items():
                # Threads that wait for work spin for a while.
                time.sleep(0.05)
                seconds = ask(image)
                if number >= 3:
                    times[way].append(seconds)
    print(f"| {what} | images/s | p50 ms | p99 ms | p99 / p50 |")
    print("|---|---|---|---|---|")
    for way, all_seconds in times.items():
        middle, high = np.quantile(all_seconds, [0.5, 0.99])
        print(
            f"| {way} | {1 / middle:.1f} | {1000 * middle:.1f} | {1000 * high:.1f} | "
            f"{high / middle:.2f} |"
        )


def _ask(connection: Any, image: Path) -> float:
    connection.send(image)
    return float(connection.recv())


def _ask_program(program: Any, image: Path) -> float:
    program.stdin.write(f"{image}\n")
    program.stdin.flush()
    return float(program.stdout.readline())


def _opened(path: Path, threads: int) -> Callable[[Path], Any]:
    return open_bundle(path, threads=threads).predict


def _draw(folder: Path, count: int, side: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = rng.integers(60, 200, (side // 20, side // 20, 3), np.uint8)
        image = np.repeat(np.repeat(coarse, 20, axis=0), 20, axis=1)
        paths.append(folder / f"{number:03d}.png")
        write_png(paths[-1], image)
    return paths


def _ultralytics(size: int, threads: int) -> Callable[[Path], Any]:
    torch.set_num_threads(threads)
    network = published_architecture(MODEL).build().float().eval()
    import_ultralytics()

    from ultralytics.models.yolo.detect import DetectionPredictor

    overrides = {
        "task": "detect", "mode": "predict", "rect": True, "save": False, "imgsz": size,
        "conf": MIN_SCORE, "iou": SAME_IOU, "max_det": 100, "device": "cpu", "verbose": False,
    }  # fmt: skip
    predictor: Any = DetectionPredictor(overrides=overrides)
    predictor.setup_model(model=network, verbose=False)
    return lambda path: predictor(str(path))


def _ultralytics_onnx(size: int, threads: int, folder: Path) -> Callable[[Path], Any]:
    torch.set_num_threads(threads)
    model: Any = published_architecture(MODEL).build().float().eval()
    ultralytics = import_ultralytics()
    from ultralytics.engine.exporter import Exporter

    exporter: Any = Exporter(
        overrides={"format": "onnx", "imgsz": size, "batch": 1, "simplify": False}
    )
    model.pt_path = str(folder / "network.pt")
    model.task, model.args = "detect", {"task": "detect", "imgsz": size, "data": ""}
    exported = exporter(model=model)
    graph: Any = ultralytics.YOLO(str(exported), task="detect")
    options = {"imgsz": size, "conf": MIN_SCORE, "iou": SAME_IOU, "max_det": 100, "verbose": False}
    return lambda path: graph.predict(str(path), device="cpu", **options)


def _memory_bundle(path: Path, engine: str) -> tuple[Path, int]:
    """A patch memory of random numbers, and the channels of a patch."""
    network = FeatureNetwork(
        "efficientnet_lite0", weights="none", device=torch.device("cpu"), image_size=PATCH_SIDE
    )
    blank = network.prepare(np.zeros((PATCH_SIDE, PATCH_SIDE, 3), np.uint8))
    channels = network.patches([blank]).shape[2]
    memory = np.random.default_rng(0).uniform(size=(PATCHES, channels)).astype(np.float32)
    scorer = PatchScorer(
        network.patch_graph(),
        PatchMemory(memory),
        image_size=PATCH_SIDE,
        mean=network.backbone.normalization[0],
        deviation=network.backbone.normalization[1],
    )
    return _written(path, scorer, "classify", engine), channels


def _bundle(path: Path, network: Any, size: int, views: Any, engine: str) -> Path:
    scorer = BoxPredictor(network, image_size=size, max_detections=100, device="cpu", views=views)
    return _written(path, scorer, "detect", engine)


def _written(path: Path, scorer: Any, family: str, engine: str) -> Path:
    arrays = dict(scorer.arrays())
    model = {
        "fold": 0,
        "scorer": scorer.kind,
        "recipe": scorer.recipe(),
        "arrays": list(arrays),
        "thresholds": FoldThresholds(0.5, "odds", 0.5, "nothing").to_json(),
    }
    document = {
        "format": FORMAT, "run": "benchmark", "family": family, "split_digest": "",
        "class_names": [str(n) for n in range(80)], "bit_depth": None, "threshold": 0.5,
        "map_range": [0.0, 1.0], "engine": engine, "models": [model],
    }  # fmt: skip
    members = {graph_name(0): graph_of(scorer), BUNDLE: to_json(document), CARD: b"# Benchmark\n"}
    members |= {array_name(0, name): pack_array(array) for name, array in arrays.items()}
    write_archive(path, members)
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
