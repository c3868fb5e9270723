"""How long does the search for images of one part take among many, and what memory?

    uv run --frozen python -m benchmarks.groups_at_scale 1000 10000 100000

Draws that many images of aligned parts that all look alike, each with a grain of its own; every
hundredth is a part shot again: brighter or darker, moved by up to 2 pixels, with new noise. Each
search runs in a process of its own. Writes a line a number to results/groups_at_scale.md, and
keeps the lines of other numbers.
"""

import argparse
import datetime
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bottle import machine
from converters.reshots import find_reshots

RESULTS = Path(__file__).parent / "results" / "groups_at_scale.md"
HEAD = """# Images of one part among many drawn ones

Command: the head of benchmarks/groups_at_scale.py. Drawn images of 96 by 128 pixels; every
hundredth shows a part that was shot before. Reading stands apart: photographs of a camera take
longer to decode. Up to 2,000 images every two are compared, of more each with its candidates.
Other programs ran on the machine at the same time.

Second shots are moved by up to 2 pixels. Moved by up to 3, about half of the pairs (5 of 9 among
1,000 images) fall below the threshold of 0.7, by comparing all as by the index: these figures speak
of the index and of time, and not of how far a part may move.

| images | pairs planted | recall | precision | reading | comparing | peak memory | measured |
|---:|---:|---:|---:|---:|---:|---:|---|
"""
SHAPE = (96, 128)
EVERY = 100
MOST_MOVED = 2
_Y, _X = np.mgrid[: SHAPE[0], : SHAPE[1]]
BASE = 110 + 40 * np.sin(np.hypot(_Y - 48, _X - 64) / 4)


def shown(number: int) -> int:
    """Which part an image shows: its own, or, every hundredth, an earlier one's."""
    if number % EVERY or not number:
        return number
    return number - 1 - int(np.random.default_rng((1, number)).integers(EVERY - 1))


def draw(number: int) -> np.ndarray:
    """An image, uint8 (96, 128)."""
    grain = np.random.default_rng((0, shown(number))).normal(0, 1, SHAPE)
    grain = cv2.GaussianBlur(grain, (0, 0), 2)
    rng = np.random.default_rng((2, number))
    picture = BASE + grain / grain.std() * 18
    if shown(number) != number:
        picture = np.roll(picture, rng.integers(-MOST_MOVED, MOST_MOVED + 1, 2), axis=(0, 1))
        picture = picture * rng.uniform(0.7, 1.2) + rng.uniform(-20, 20)
    return np.clip(picture + rng.normal(0, 2, SHAPE), 0, 255).astype(np.uint8)


def search(folder: str, count: int) -> tuple[list[tuple[int, int]], float, float, float]:
    """Pairs found, seconds reading and comparing, and the peak of this process in GB."""
    begin = time.perf_counter()
    read = [0.0]

    def progress(done: int, _total: int) -> None:
        if done == count:
            read[0] = time.perf_counter() - begin
        elif done > count and done % 5000 == 0:
            print(
                f"  compared {done - count} after {time.perf_counter() - begin:.0f} s", flush=True
            )

    found = find_reshots([Path(folder) / f"{n}.png" for n in range(count)], progress=progress)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return [(pair.first, pair.second) for pair in found], read[0], seconds - read[0], peak


def measure(count: int) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            cv2.imwrite(f"{folder}/{number}.png", draw(number), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        print(f"{count} drawn", flush=True)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found, reading, comparing, peak = pool.submit(search, folder, count).result()
    truth = {(shown(n), n) for n in range(count) if shown(n) != n}
    # No part is shot a third time: each comes from the hundred before its second shot.
    hits = len(truth & set(found))
    return (
        f"| {count:,} | {len(truth)} | {hits / max(1, len(truth)):.3f} | "
        f"{hits / max(1, len(found)):.3f} | {reading:.0f} s | {comparing:.0f} s | {peak:.2f} GB | "
        f"{datetime.date.today()}, {machine()} |"
    )


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="+")
    for count in parser.parse_args().counts:
        line = measure(count)
        print(line, flush=True)
        old = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        lines = [row for row in old if row.startswith("| ") and row[2].isdigit()]
        lines = [row for row in lines if row.split("|")[1] != line.split("|")[1]] + [line]
        lines.sort(key=lambda row: int(row.split("|")[1].replace(",", "")))
        RESULTS.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
