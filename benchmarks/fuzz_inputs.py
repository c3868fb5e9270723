"""Odd settings, recipes, splits, predictions, datasets, runs and images by the thousand.

    uv run --frozen python -m benchmarks.fuzz_inputs 20000

What `convert` reads is fuzzed by benchmarks/fuzz.py; here is all else that a person, or another
program, may give: every round spoils one thing and reads it as the commands do. It must end in
success or in an error of ours of at most 2,000 characters, within seconds and within 1 GB. Writes
results/fuzz_inputs.md.
"""

import argparse
import datetime
import os
import random
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from annotations import (
    DefectuneError,
    load_dataset,
    read_custom_split,
    read_image_rgb,
    read_predictions,
)
from annotations.files import read_json, write_json_atomic
from annotations.run_digests import run_problems
from benchmarks.fuzz import VALUES, rounds_of, spoil_bytes, spoil_json, spoil_text
from classify import ClassifyConfig, train_classifier
from classify.config import SupervisedConfig
from converters import ConvertOptions, convert
from converters.check import check_dataset
from converters.synthetic import SyntheticConfig, draw_category
from defectune.families import open_predictor
from detect import DetectConfig
from evaluation import import_predictions
from segment import SegmentConfig, train_segmenter
from training import SilentReporter, build_config, read_recipe

RESULTS = Path(__file__).parent / "results" / "fuzz_inputs.md"
MOST_CHARACTERS = 2000
KINDS = {"detect": DetectConfig, "segment": SegmentConfig, "classify": SupervisedConfig}
TEXTS = [
    "2020-13-45", "!!int x", "0x_", "!!timestamp x", "9" * 5000, "[" * 3000, "&a [*a, *a]", "\x00",
    "\ud800", ".inf", "-.inf", ".nan", "1e309", "99999999999999999999", "'", "x" * 9000, "{a: 1}",
    "? a", "!!set {a}", "~", "yes", "-1", "0", "1", "3.5", "auto", "none", "cpu", "meta", "cuda:99",
    "!!python/name:os.system", "[1, 2]", "2020-01-01", "!!binary x", "../../x", "/dev/null",
]  # fmt: skip
Rng = random.Random


class Things:
    """A small dataset with a classifier and a segmenter, from which every round copies."""

    def __init__(self, folder: Path) -> None:
        config = SyntheticConfig(n_train_good=6, n_test_good=3, n_per_type=3, image_hw=(64, 64))
        self.source = draw_category(folder / "source", config)
        self.root = folder / "dataset"
        convert(self.source, self.root, ConvertOptions(folds=2, find_groups=False))
        self.dataset = load_dataset(self.root)
        small: dict[str, Any] = {"weights": "none", "device": "cpu", "image_size": 64}
        quiet = SilentReporter()
        memory = ClassifyConfig(method="patch-memory", **small)
        train_classifier(self.dataset, memory, name="memory", folds=[0, 1], reporter=quiet)
        unet = SegmentConfig(epochs=1, **small)
        train_segmenter(self.dataset, unet, name="unet", folds=[0, 1], reporter=quiet)


def settings(rng: Rng, things: Things, folder: Path) -> None:
    """`--set key=value`."""
    del things, folder
    kind = rng.choice(list(KINDS.values()))
    key = rng.choice([*kind.model_fields, "epoch", "", "x" * 400, "\x00"])
    text = rng.choice([f"{key}={rng.choice(TEXTS)}", rng.choice(TEXTS), "="])
    build_config(kind, {}, [text] * rng.randint(1, 2))


def recipes(rng: Rng, things: Things, folder: Path) -> None:
    """A recipe file of a person's own."""
    del things
    family = rng.choice(list(KINDS))
    path = folder / "own.yaml"
    values = read_recipe(family, "fast" if family != "classify" else "bottle-study")
    for _ in range(rng.randint(1, 3)):
        key = rng.choice([*values, *KINDS[family].model_fields])
        values[key] = rng.choice(VALUES)
    path.write_text(yaml.safe_dump(values), encoding="utf-8", errors="replace")
    if rng.random() < 0.7:
        rng.choice([spoil_bytes, spoil_text])(rng, path)
    build_config(KINDS[family], {}, [], recipe=read_recipe(family, str(path)))


def splits(rng: Rng, things: Things, folder: Path) -> None:
    """`--split FILE`."""
    ids = [sample.image_id for sample in things.dataset.samples]
    test = rng.sample(ids, 8)
    entry: dict[str, Any] = {"test": test, "train": [i for i in ids if i not in test]}
    path = folder / "split.json"
    write_json_atomic(path, {"folds": [entry]})
    rng.choice([spoil_json, spoil_bytes])(rng, path)
    read_custom_split(path, things.dataset.samples)


def externals(rng: Rng, things: Things, folder: Path) -> None:
    """`evaluate --external`: another program's predictions."""
    run = things.root / "runs" / rng.choice(["memory", "unet"])
    there = folder / "theirs"
    shutil.copytree(run / "predictions", there)
    (there / "meta.json").unlink()
    files = [p for p in sorted(there.rglob("*")) if p.is_file()]
    for _ in range(rng.randint(1, 2)):
        path = rng.choice(files)
        if not path.is_file():
            continue
        if path.suffix == ".json" and rng.random() < 0.7 and read_json(path, what="x"):
            spoil_json(rng, path)
        elif path.suffix == ".csv" and rng.random() < 0.6:
            spoil_text(rng, path)
        elif rng.random() < 0.2:
            path.unlink()
        else:
            spoil_bytes(rng, path)
    import_predictions(things.dataset, there, folder / "run")


def datasets(rng: Rng, things: Things, folder: Path) -> None:
    """A converted dataset with a spoiled file: read, and checked."""
    root = folder / "dataset"
    shutil.copytree(
        things.root, root, symlinks=True, ignore=shutil.ignore_patterns("runs", "report")
    )
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.is_symlink()]
    path = rng.choice([*files, root / "annotations/all.json", root / "split.json"])
    if path.suffix == ".json" and rng.random() < 0.8:
        spoil_json(rng, path)
    else:
        spoil_bytes(rng, path)
    check_dataset(load_dataset(root), reshots=False)


def runs(rng: Rng, things: Things, folder: Path) -> None:
    """A run with a spoiled file: checked, its predictions read, its model opened."""
    name = rng.choice(["memory", "unet"])
    run = folder / "run"
    shutil.copytree(things.root / "runs" / name, run, ignore=shutil.ignore_patterns("maps"))
    files = [p for p in sorted(run.rglob("*")) if p.is_file()]
    path = rng.choice([*files, run / "config.yaml", run / "predictions" / "meta.json"])
    if path.suffix == ".json" and rng.random() < 0.7 and isinstance(
        read_json(path, what="x"), dict | list
    ):  # fmt: skip
        spoil_json(rng, path)
    elif path.suffix in (".yaml", ".csv", ".json") and rng.random() < 0.7:
        spoil_text(rng, path)
    else:
        spoil_bytes(rng, path)
    reading = rng.randrange(3)
    if reading == 0:
        run_problems(run, things.dataset)
    elif reading == 1:
        read_predictions(run, things.dataset)
    else:
        predictor = open_predictor(run, rng.randrange(2), device="cpu")
        predictor.predict("x", np.zeros((40, 50, 3), np.uint8))


def images(rng: Rng, things: Things, folder: Path) -> None:
    """A new image for `predict`."""
    image = rng.choice(things.dataset.samples).image_path
    pixels = read_image_rgb(image)
    path = folder / f"new{rng.choice(['.png', '.jpg', '.bmp', '.tif', '.webp', '.jp2'])}"
    cv2.imwrite(str(path), pixels)
    spoil_bytes(rng, path)
    read_image_rgb(path, bit_depth=rng.choice([None, 8, 12, 16]))


WAYS: list[Callable[[Rng, Things, Path], None]] = [
    settings, settings, recipes, splits, externals, datasets, runs, images
]  # fmt: skip


def one_round(seed: int, things: Things, folder: Path) -> str:
    """Spoil and read; returns how it ended.

    Raises:
        Exception: whatever was not an error of ours; that is what is looked for.
    """
    rng = random.Random(seed)
    way = rng.choice(WAYS)
    try:
        way(rng, things, folder)
    except DefectuneError as error:
        if not str(error).strip() or len(str(error)) > MOST_CHARACTERS:
            raise ValueError(f"An error of {len(str(error))} characters.") from error
        return f"{way.__name__}: refused"
    return f"{way.__name__}: read"


def run(rounds: int, first: int, say: Callable[[str], None]) -> tuple[Counter[str], list[str]]:
    """Many rounds; returns how they ended, and what went wrong."""
    with tempfile.TemporaryDirectory() as place:
        things = Things(Path(place))
        return rounds_of(lambda seed, folder: one_round(seed, things, folder), rounds, first, say)


def main() -> None:
    """Run and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    begin = time.perf_counter()
    ends, wrong = run(options.rounds, options.first, lambda text: print(text, flush=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        "# Odd settings, splits, predictions, datasets, runs and images\n",
        f"{datetime.date.today()}, {os.uname().sysname}. Command: "
        f"`python -m benchmarks.fuzz_inputs {options.rounds}`.\n",
        f"{options.rounds:,} rounds in {time.perf_counter() - begin:.0f} s, at most "
        f"{memory:.0f} MB (torch and a small U-Net included).\n",
        "| what, and how it ended | rounds |",
        "| --- | --- |",
        *(f"| {name} | {count} |" for name, count in sorted(ends.items())),
        "",
        f"Tracebacks, hangs, errors of more than {MOST_CHARACTERS:,} characters: {len(wrong)}.",
        "",
    ]
    RESULTS.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
