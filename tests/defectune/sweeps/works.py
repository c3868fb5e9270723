"""Cells that train nothing, for the engines; workers import them by name."""

import json
import os
import signal
import time

from annotations import InputError
from defectune.sweeps.records import write_result


def quick(cell, output):
    """A figure that hangs on the cell alone."""
    value = (int(cell.key[:6], 16) % 1000) / 1000
    metric = {"value": value, "low": None, "high": None, "n": 10}
    figures = {"metrics": {"image_auroc": metric, "balanced_accuracy": metric}, "validation": {}}
    with (output / "log.txt").open("a") as log:
        log.write(json.dumps([cell.name, os.getpid(), os.environ.get("OMP_NUM_THREADS")]) + "\n")
    write_result(output, cell, {**figures, "seconds": 0.1, "peak_gb": 0.1})


def slow(cell, output):
    """Half a second a cell."""
    time.sleep(0.5)
    quick(cell, output)


def fails_once(cell, output):
    """The first try of every cell fails."""
    mark = output / f"{cell.name}.tried"
    if not mark.exists():
        mark.touch()
        raise InputError("The first try fails.")
    quick(cell, output)


def one_fails(cell, output):
    """Seed 1 always fails, in a way that no exception class foresees."""
    if cell.seed == 1:
        raise ZeroDivisionError("seed 1")
    quick(cell, output)


def one_dies(cell, output):
    """The process of seed 1 is killed at its first try."""
    mark = output / "died"
    if cell.seed == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    quick(cell, output)


def threads(cell, output):
    """How many threads the libraries use."""
    import cv2
    import torch

    (output / f"{cell.seed}.threads").write_text(f"{torch.get_num_threads()} {cv2.getNumThreads()}")
    quick(cell, output)


def validated(cell, output):
    """Validation scores that are best at an image size of 64; nothing of test images."""
    if cell.tested:
        raise AssertionError("A search looks at test images.")
    if cell.settings["image_size"] == 96:
        raise InputError("96 is not possible.")
    value = 0.9 - abs(cell.settings["image_size"] - 64) / 1000 + cell.fold / 100
    with (output / "log.txt").open("a") as log:
        log.write(cell.name + "\n")
    result = {"metrics": {}, "validation": {"image_auroc": value, "image_ap": value}}
    write_result(output, cell, {**result, "seconds": 0.1, "peak_gb": 0.1})
