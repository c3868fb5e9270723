"""Do bundles of every family say on real images what their runs said, and how fast?

    python -m benchmarks.bundles WORK NAME=OUT [NAME=OUT ...] --models patch-memory unet ...

OUT is a converted dataset. A cell is a dataset and a model: a run of that name in OUT, where there
is one, else a short training on fold 0 (whether a bundle agrees with its run does not depend on how
well it was trained). Each cell is bundled for ONNX Runtime, for OpenVINO and with 8-bit numbers,
and every bundle predicts the fold's test images again. Milliseconds are medians of one image after
another, decoding counted, ways taking turns. Cells are kept in results/bundles/ as soon as they are
done; done ones are skipped. Writes results/bundle.md from whatever is there.
"""

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

import defectune as dt
from annotations import load_dataset
from annotations.files import read_json, write_json_atomic
from benchmarks.bottle import machine
from defectune.sweeps.records import link_dataset
from deployment import open_bundle

CELLS = Path(__file__).parent / "results" / "bundles"
TABLE = Path(__file__).parent / "results" / "bundle.md"
WAYS: dict[str, dict[str, Any]] = {
    "onnx": {},
    "openvino": {"format": "openvino"},
}
_SHORT = {"epochs": 1, "image_size": 128}
MODELS: dict[str, dict[str, Any]] = {
    "pretrained": {"family": "classify", "method": "pretrained"},
    "knn": {"family": "classify", "method": "knn"},
    "patch-memory": {"family": "classify", "method": "patch-memory"},
    "finetuned": {"family": "classify", "method": "finetuned", **_SHORT},
    "supervised": {"family": "classify", "method": "supervised", **_SHORT},
    "autoencoder": {"family": "classify", "method": "autoencoder", **_SHORT},
    "gan": {"family": "classify", "method": "gan", **_SHORT},
    "unet": {"family": "segment", "recipe": "fast", **_SHORT},
    "hybrid": {"family": "segment", "method": "hybrid"},
    "detect": {"family": "detect", "recipe": "fast", "image_size": 160, "epochs": 2},
}
NOTES = """\
Where a U-Net's score differs by more than 1e-4, one pixel of a map crossed a level whose area is
a statistic of that score; the maps themselves differ by some 1e-5. `hybrid`, and `detect` on
bottle, are whole trainings, the others of networks a single epoch, whose scores lie close
together.

8-bit numbers were tried and taken out again: they shrank a file to a third or a half, hardly
changed the time on two cores, and changed up to 15 % of the verdicts, also with the threshold
moved on validation images, with weights of 7 bits, and with ranges without the highest 0.001 %.
EfficientNet-Lite0's depthwise convolutions have channels of very different ranges, and one range a
tensor holds them all. The figures are those of version 0.1.
"""
TIMED = 40


def measure(name: str, root: Path, model: str, run_path: Path | None, work: Path) -> dict[str, Any]:
    """Train where there is no run, bundle in all ways, and compare."""
    view = work / name.replace(" ", "-")
    link_dataset(root.resolve(), view)
    if run_path is not None:
        link = view / "runs" / run_path.name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(run_path.resolve(), target_is_directory=True)
        run = dt.Run(link)
    else:
        settings = dict(MODELS[model])
        family = settings.pop("family")
        run = dt.train(view, family, fold=0, name=model, device="cpu", progress=False, **settings)
    data = load_dataset(view)
    ways: dict[str, Any] = {}
    opened = {}
    for way, options in WAYS.items():
        path = work / f"{name.replace(' ', '-')}-{model}-{way}.bundle"
        if not path.exists():
            dt.bundle(run, path, models="fold-0", progress=False, **options)
        found = dt.check_bundle(path, view, progress=False)
        ways[way] = {
            "n": len(found.images),
            "flips": list(found.flips),
            "score": found.largest_score_difference,
            "lost": found.lost,
            "won": found.won,
            "map": found.largest_map_difference,
            "bytes": path.stat().st_size,
        }
        opened[way] = open_bundle(path)
    images = [s.image_path for s in data.select(data.split.folds[0].test)][: TIMED + 3]
    times: dict[str, list[float]] = {way: [] for way in opened}
    for number, image in enumerate(images):
        for way, bundle in opened.items():
            began = time.perf_counter()
            bundle.predict(image)
            if number >= 3:
                times[way].append(time.perf_counter() - began)
    for way, seconds in times.items():
        ways[way]["ms"] = round(1000 * float(np.median(seconds)), 1)
    config = run.config
    return {
        "data": name, "model": model, "image_size": config["image_size"],
        "views": config.get("views", 1), "ways": ways, "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def _share(flips: int, n: int) -> str:
    interval = binomtest(flips, n).proportion_ci(method="exact")
    return f"{flips} [{100 * interval.low:.1f}–{100 * interval.high:.1f} %]"


def write_table() -> None:
    """The tables, from the cells that are there."""
    cells = [read_json(path, what="a cell") for path in sorted(CELLS.glob("*.json"))]
    lines = [
        "# Bundles on real images", "",
        f"{cells[0]['date']}, {cells[0]['machine']}. Command: the head of benchmarks/bundles.py; "
        "each cell is in results/bundles/. Other programs ran on the machine at the same time, so "
        "that the relations say more than the times.", "",
        "The run's stored predictions, by torch, against the bundle's, over fold 0's test images: "
        "verdicts that differ, with exact 95 % intervals of their share; largest difference of the "
        "calibrated score; regions lost and won; largest difference of the maps, as a part of the "
        "run's range of maps.", "",
        "| data | model | images | way | other verdicts | score | lost, won | map | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for cell in cells:
        for way in WAYS:
            said = cell["ways"][way]
            away = "—" if said["map"] is None else f"{said['map']:.1e}"
            lines.append(
                f"| {cell['data']} | {cell['model']} | {said['n']} | {way} | "
                f"{_share(len(said['flips']), said['n'])} | {said['score']:.1e} | "
                f"{said['lost']}, {said['won']} | {away} | {said['bytes'] / 1e6:.1f} |"
            )
    lines += [
        "", "Milliseconds an image, decoding counted, medians of at most 40 images:", "",
        "| data | model | pixels | views | " + " | ".join(WAYS) + " |",
        "|---|---|---|---|" + "---|" * len(WAYS),
    ]  # fmt: skip
    for cell in cells:
        times = " | ".join(f"{cell['ways'][way]['ms']}" for way in WAYS)
        lines.append(
            f"| {cell['data']} | {cell['model']} | {cell['image_size']} | {cell['views']} | "
            f"{times} |"
        )
    for way in WAYS:
        n = sum(cell["ways"][way]["n"] for cell in cells)
        flips = sum(len(cell["ways"][way]["flips"]) for cell in cells)
        worst = max(cell["ways"][way]["score"] for cell in cells)
        lines += [
            "", f"In all, {way}: {_share(flips, n)} of {n} verdicts differ, scores by at most "
            f"{worst:.1e}.",
        ]  # fmt: skip
    TABLE.write_text("\n".join([*lines, "", NOTES]))


def main() -> None:
    """Measure what is not there yet, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["patch-memory"])
    parser.add_argument("--run", nargs="*", default=[], help="MODEL=PATH of a run that is there")
    options = parser.parse_args()
    CELLS.mkdir(parents=True, exist_ok=True)
    given = dict(pair.split("=", 1) for pair in options.run)
    for pair in options.data:
        name, _, root = pair.partition("=")
        for model in options.models:
            cell = CELLS / f"{name.replace(' ', '-')}_{model}.json"
            if not cell.exists():
                run = Path(given[model]) if model in given else None
                write_json_atomic(cell, measure(name, Path(root), model, run, options.work))
            print(json.dumps(read_json(cell, what="a cell")), flush=True)
            write_table()


if __name__ == "__main__":
    main()
