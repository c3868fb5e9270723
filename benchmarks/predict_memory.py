"""Does the memory of `predict` grow with the number of images?

    python -m benchmarks.predict_memory WORK --images 100000

Draws 500 images, links them under so many names, and predicts them with the bundle of a small
classifier (untrained weights: memory does not depend on them). Resident memory is read every
hundredth of the way. Writes results/predict_memory.md.
"""

import argparse
import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

import defectune as dt
from annotations import write_png
from benchmarks.bottle import machine
from converters.synthetic import SyntheticConfig, draw_category

RESULTS = Path(__file__).parent / "results" / "predict_memory.md"
DRAWN = 500


class Watcher:
    """A reporter that reads this process's resident memory."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.seen: list[tuple[int, float, float]] = []

    def say(self, text: str) -> None:
        """Show a line."""
        print(text)

    def track(self, what: str, total: int) -> Callable[[str], None]:
        """Read at the beginning and at every hundredth."""
        process, step, began, done = psutil.Process(), max(1, total // 100), time.monotonic(), 0
        print(what)

        def advance(_note: str) -> None:
            nonlocal done
            done += 1
            if done % step == 0 or done == total:
                memory = process.memory_info().rss / 2**20
                self.seen.append((done, memory, time.monotonic() - began))
                print(f"{done} images, {memory:.0f} MiB", flush=True)

        return advance


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    work: Path = options.work
    bundle = work / "small.bundle"
    if not bundle.exists():
        config = SyntheticConfig(n_train_good=20, image_hw=(64, 64))
        data = dt.convert(draw_category(work / "drawn", config), work / "out", progress=False)
        run = dt.train(
            data, "classify", method="pretrained", model="resnet18", weights="none",
            image_size=32, fold=0, device="cpu", progress=False,
        )  # fmt: skip
        dt.bundle(run, bundle, progress=False)
    folder = work / f"images-{options.images}"
    rng = np.random.default_rng(0)
    for number in range(DRAWN):
        write_png(folder / "0" / f"{number:03d}.png", rng.integers(0, 255, (64, 64, 3), np.uint8))
    for number in range(DRAWN, options.images):
        place = folder / str(number // DRAWN)
        if number % DRAWN == 0:
            place.mkdir(exist_ok=True)
        link = place / f"{number % DRAWN:03d}.png"
        if not link.exists():
            os.link(folder / "0" / link.name, link)
    watcher = Watcher()
    began = time.monotonic()
    done = dt.predict(
        bundle, folder, work / f"predicted-{options.images}", overlays="none", progress=watcher
    )
    seconds = time.monotonic() - began
    end = psutil.Process().memory_info().rss / 2**20
    rows = [watcher.seen[0], *(s for s in watcher.seen if s[0] * 10 % options.images == 0)]
    table = "\n".join(f"| {n:,} | {memory:.0f} | {at:.0f} |" for n, memory, at in rows)
    growth = watcher.seen[-1][1] - watcher.seen[0][1]
    text = f"""# Memory of `predict`

{datetime.date.today()}, {machine()}. Command: `python -m benchmarks.predict_memory WORK --images
{options.images}`. {done.n_images:,} drawn images of 64×64 pixels, the bundle of a ResNet-18 at 32
pixels, no overlays.

| images done | resident memory, MiB | seconds |
|---|---|---|
{table}

From the first hundredth to the last image it changed by {growth:+.0f} MiB,
{1024 * growth / options.images:+.2f} KiB an image: the names of overlays, which must differ. The
list of paths is there from the beginning. Tables written: {end:.0f} MiB, {seconds:.0f} s in all.
"""
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
