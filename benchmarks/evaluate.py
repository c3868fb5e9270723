"""Are the metrics right, and fast? AUPRO against anomalib's exact one, and three runs at once.

    uv run --frozen python benchmarks/evaluate.py --save-backbone BACKBONE.pt
    … benchmarks/peer_patchcore.py (see there) writes FOLDER …
    uv run --frozen python benchmarks/evaluate.py OFFICIAL FOLDER KFOLD

OFFICIAL is bottle converted with --protocol official, FOLDER anomalib's predictions and figures,
KFOLD bottle with three finished runs (benchmarks/bottle.py). Writes results/evaluate.md.
"""

import argparse
import datetime
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from annotations import load_dataset, read_predictions, run_folders
from benchmarks.bottle import machine
from evaluation import evaluate_runs, import_predictions
from evaluation.pixel_metrics import PixelCounts, pixel_metrics
from inference.matching import region_masks

RESULTS = Path(__file__).parent / "results" / "evaluate.md"
SHARED = ("image_auroc", "image_ap", "pixel_auroc", "aupro_30", "aupro_5", "aupimo")


def time_aupro(root: Path, run: Path) -> tuple[float, float]:
    """Value and seconds of AUPRO at 30 %, maps and masks in memory as anomalib has them."""
    dataset = load_dataset(root)
    stored = read_predictions(run, dataset)
    maps, truths = [], []
    for image_id in dataset.split.test_ids:
        picture = stored.pixel_scores(image_id)
        if picture is None:
            raise SystemExit(f"{run} has no map of {image_id}.")
        maps.append(picture)
        truths.append(list(region_masks(dataset.truths[image_id])))
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        counts = PixelCounts(float(min(m.min() for m in maps)), float(max(m.max() for m in maps)))
        for picture, truth in zip(maps, truths, strict=True):
            counts.add(picture, truth, np.zeros(picture.shape, np.bool_))
        value = pixel_metrics(counts)["aupro_30"].value
        seconds.append(time.perf_counter() - begin)
    return float(value or 0.0), float(np.median(seconds))


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("official", nargs="?", type=Path)
    parser.add_argument("peer", nargs="?", type=Path)
    parser.add_argument("kfold", nargs="?", type=Path)
    parser.add_argument("--save-backbone", type=Path)
    options = parser.parse_args()
    if options.save_backbone:
        import torch

        from training.weights import efficientnet_lite0_state_dict

        torch.save(efficientnet_lite0_state_dict(), options.save_backbone)
        return
    begin = time.perf_counter()
    board = evaluate_runs(load_dataset(options.kfold), run_folders(options.kfold)[:3])
    whole = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as folder:
        dataset = load_dataset(options.official)
        run = Path(folder) / "patchcore"
        import_predictions(dataset, options.peer, run)
        (row,) = evaluate_runs(dataset, [run]).rows
        aupro, seconds = time_aupro(options.official, run)
    theirs = json.loads((options.peer / "peer.json").read_text())
    lines = [
        "# Metrics against anomalib\n",
        f"{datetime.date.today()}, {machine()}. Commands: the head of benchmarks/evaluate.py",
        "and of benchmarks/peer_patchcore.py. anomalib's PatchCore (EfficientNet-Lite0, coreset",
        "1 %, 256 pixels) on bottle's official split, its predictions evaluated here and by its",
        "own metrics. Maps are evaluated as stored on disk, in 65,536 levels.\n",
        "| figure | evaluated here | anomalib | difference | anomalib, seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in SHARED:
        metric = row.metrics[name]
        value = float("nan") if metric is None or metric.value is None else metric.value
        lines.append(
            f"| {name} | {value:.5f} | {theirs[name]:.5f} | {value - theirs[name]:+.5f} | "
            f"{theirs[f'{name}_seconds']:.1f} |"
        )
    ratio = theirs["aupro_30_seconds"] / seconds
    lines += [
        "",
        f"AUPRO over 83 maps of 900×900, in memory, median of 5: {seconds:.2f} s here (value "
        f"{aupro:.5f}), {theirs['aupro_30_seconds']:.1f} s in anomalib: {ratio:.1f} times faster.",
        "",
        f"{len(board.rows)} runs on {board.n_images} images, every figure with its interval and "
        f"every comparison: {whole:.1f} s, at most {memory:,.0f} MB.",
        "",
    ]
    RESULTS.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
