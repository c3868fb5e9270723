"""Which models should a bundle hold: one fold's, all folds' mean, or one that is trained again?

    python -m benchmarks.refit WORK NAME=OUT [NAME=OUT ...] --models supervised hybrid --outer 0 1

OUT is a converted dataset with several folds. Each fold in turn is left out whole; the others make
a dataset of their own, whose folds' models are trained, and bundled three ways (`--models first`,
`ensemble`, `refit`). All three predict the images that were left out, which no model has seen. A
cell is a dataset, a model and a fold left out; it is kept in results/refit/ as soon as it is done,
and done cells are skipped. Writes results/refit.md from whatever is there.
"""

import argparse
import datetime
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import defectune as dt
from annotations import Dataset, load_dataset
from annotations.files import read_json, write_json_atomic
from annotations.split import Fold, Split, split_digest, write_split
from benchmarks.bottle import machine
from defectune.sweeps.records import link_dataset

CELLS = Path(__file__).parent / "results" / "refit"
TABLE = CELLS.with_suffix(".md")
WAYS = ("first", "ensemble", "refit")
MODELS: dict[str, dict[str, Any]] = {
    "supervised": {"family": "classify", "method": "supervised"},
    "supervised-128": {
        "family": "classify", "method": "supervised", "image_size": 128, "epochs": 6,
    },
    "hybrid": {"family": "segment", "method": "hybrid"},
}  # fmt: skip
NOTES = """One model trained again has seen every image but its validation images; a fold's model
lacks a fifth of them (a third with three folds). The ensemble costs a network a fold at
prediction. Errors are false negatives plus false positives at the threshold that each way chose
without the images left out.

The refitted model is as good as the ensemble or better, at the cost of one network, and ranks
better than both where folds are few. It is what a line should get. The default is the first fold's
model all the same: it trains nothing, and says what `predict` and the run's stored predictions say.
The evidence is thin (one model, three folds left out in all); methods that learn from good images
alone gain nothing, since all folds share their good images.
"""


def without_fold(data: Dataset, outer: int, view: Path) -> Dataset:
    """A dataset of links that lacks the test images of one fold."""
    link_dataset(data.root.resolve(), view, without=["split.json"])
    away = set(data.split.folds[outer].test)
    kept = [fold for number, fold in enumerate(data.split.folds) if number != outer]
    folds = tuple(
        Fold(
            tuple(i for i in fold.train if i not in away),
            tuple(i for i in fold.val if i not in away),
            fold.test,
        )
        for fold in kept
    )
    hashes = {s.image_id: s.sha256 for s in data.samples}
    split = Split(
        protocol="custom",
        seed=data.split.seed,
        folds=folds,
        digest=split_digest("custom", folds, hashes),
        left_out=tuple(tuple(sorted(set(hashes) - {*f.train, *f.val, *f.test})) for f in folds),
        detail=f"without fold {outer}",
    )
    write_split(view / "split.json", split, data.samples)
    return replace(load_dataset(view), split=split)


def measure(name: str, root: Path, model: str, outer: int, work: Path) -> dict[str, Any]:
    """Train, bundle three ways, and predict what was left out."""
    data = load_dataset(root)
    inner = without_fold(data, outer, work / f"{name}-{outer}")
    settings = dict(MODELS[model])
    family = settings.pop("family")
    began = time.monotonic()
    run = dt.train(inner.root, family, name=model, device="cpu", progress=False, **settings)
    seconds = time.monotonic() - began
    samples = data.select(data.split.folds[outer].test)
    truth = np.array([sample.is_defective for sample in samples])
    ways: dict[str, Any] = {}
    for way in WAYS:
        began = time.monotonic()
        bundle = work / f"{name}-{outer}-{model}-{way}.bundle"
        if not bundle.exists():
            dt.bundle(run, bundle, models=way, progress=False)
        made = time.monotonic() - began
        output = work / f"{name}-{outer}-{model}-{way}"
        paths = [sample.image_path for sample in samples]
        done = dt.predict(bundle, paths, output, overlays="none", progress=False)
        scores = np.array([float(row["image_score"]) for row in done.rows])
        called = np.array([row["verdict"] == "defective" for row in done.rows])
        ways[way] = {
            "false_negatives": int((truth & ~called).sum()),
            "false_positives": int((~truth & called).sum()),
            "auroc": float(roc_auc_score(truth, scores)),
            "called": [int(c) for c in called],
            "seconds_to_make": round(made, 1),
        }
    return {
        "data": name, "model": model, "outer": outer, "n": len(truth),
        "n_defective": int(truth.sum()), "training_seconds": round(seconds, 1), "ways": ways,
        "machine": machine(), "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def write_table() -> None:
    """The table, from the cells that are there."""
    cells = [read_json(path, what="a cell") for path in sorted(CELLS.glob("*.json"))]
    lines = [
        "# Which models a bundle should hold", "",
        f"{cells[0]['date']}, {cells[0]['machine']}. Command: the head of benchmarks/refit.py.", "",
        "| data | model | folds left out | images (defective) | way | false negatives | "
        "false positives | errors | mean AUROC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    keys = sorted({(cell["data"], cell["model"]) for cell in cells})
    for data, model in keys:
        own = [cell for cell in cells if (cell["data"], cell["model"]) == (data, model)]
        n, bad = sum(c["n"] for c in own), sum(c["n_defective"] for c in own)
        for way in WAYS:
            said = [cell["ways"][way] for cell in own]
            missed = sum(one["false_negatives"] for one in said)
            alarms = sum(one["false_positives"] for one in said)
            auroc = np.mean([one["auroc"] for one in said])
            lines.append(
                f"| {data} | {model} | {', '.join(str(c['outer']) for c in own)} | {n} ({bad}) | "
                f"{way} | {missed} of {bad} | {alarms} of {n - bad} | {missed + alarms} | "
                f"{auroc:.4f} |"
            )
    lines += ["", "Verdicts that differ:", ""]
    for data, model in keys:
        own = [cell for cell in cells if (cell["data"], cell["model"]) == (data, model)]
        parts = []
        for one, other in (("refit", "ensemble"), ("refit", "first"), ("ensemble", "first")):
            differ = sum(
                a != b
                for c in own
                for a, b in zip(c["ways"][one]["called"], c["ways"][other]["called"], strict=True)
            )
            parts.append(f"{one} and {other} {differ}")
        lines.append(f"- {data}, {model}: {'; '.join(parts)}, of {sum(c['n'] for c in own)}")
    TABLE.write_text("\n".join([*lines, "", NOTES]))


def main() -> None:
    """Measure what is not there yet, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["supervised"])
    parser.add_argument("--outer", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    CELLS.mkdir(parents=True, exist_ok=True)
    for outer in options.outer:
        for pair in options.data:
            name, _, root = pair.partition("=")
            for model in options.models:
                cell = CELLS / f"{name}_{model}_{outer}.json"
                if not cell.exists():
                    write_json_atomic(cell, measure(name, Path(root), model, outer, options.work))
                print(json.dumps(read_json(cell, what="a cell")), flush=True)
                write_table()


if __name__ == "__main__":
    main()
