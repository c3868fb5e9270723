"""What does an update cost, against converting everything again?

    uv run --frozen python benchmarks/growth.py [--images 1000 3000] [--share 0.1]

Larger sizes take long; on an idle machine:

    uv run --frozen python benchmarks/growth.py --images 10000 50000

Drawn images of 96 x 96; the dataset is converted from all but the last two batches, which are then
added one after the other. Both searches for images of one part are on; the conversion keeps the
textures that it compares, so that updates read new images only. Cells are kept in results/growth/,
one a size, so that a longer run goes on. Writes results/growth.md.
"""

import argparse
import datetime
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.bottle import machine
from converters import ConvertOptions, convert
from converters.synthetic import SyntheticConfig, draw_category
from converters.update_options import UpdateOptions
from converters.updating import update

RESULTS = Path(__file__).parent / "results" / "growth.md"
CELLS = RESULTS.with_suffix("")
SIDE = 96
TYPES = 3


def drawn(folder: Path, images: int, seed: int) -> Path:
    """Draw about so many images: half for training, good and defective ones for the test."""
    per_type = max(1, images // (4 * TYPES))
    good = max(1, images // 4)
    config = SyntheticConfig(
        n_train_good=max(1, images - good - per_type * TYPES),
        n_test_good=good,
        n_per_type=per_type,
        image_hw=(SIDE, SIDE),
        seed=seed,
    )
    return draw_category(folder, config)


def seconds_of(folder: Path, images: int, share: float) -> dict[str, float]:
    """Seconds of a conversion of all, and of two updates."""
    batch = max(4, round(images * share))
    first, second = (drawn(folder / f"batch-{n}", batch, n) for n in (1, 2))
    base = drawn(folder / "base", images - 2 * batch, 0)
    # The very images that the updates end with, linked.
    whole = folder / "whole"
    for number, part in enumerate((base, first, second)):
        for path in sorted(part.rglob("*.png")):
            place = whole / path.parent.relative_to(part) / f"{number}-{path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
    times = {"images": float(images), "new": float(batch)}
    options = UpdateOptions(convert=ConvertOptions(workers=1, find_groups=True))
    begun, used = time.perf_counter(), time.process_time()
    convert(whole, folder / "all", ConvertOptions(workers=1, find_groups=True))
    times["convert_all_s"] = time.perf_counter() - begun
    times["convert_all_cpu_s"] = time.process_time() - used
    convert(base, folder / "out", ConvertOptions(workers=1, find_groups=True))
    for name, source in (("first", first), ("second", second)):
        begun, used = time.perf_counter(), time.process_time()
        # Of thousands of drawn images, smooth as they are, some agree by chance. Converting all
        # joins the same ones.
        done = update(
            folder / "out",
            source,
            UpdateOptions(convert=options.convert, prefix=name, leave_out=True),
        )
        times[f"{name}_update_s"] = time.perf_counter() - begun
        times[f"{name}_update_cpu_s"] = time.process_time() - used
        if not done.changed:
            raise RuntimeError(f"The {name} update added nothing.")
    # What else ran at the time counts: seconds are of the clock on the wall.
    times["load"] = os.getloadavg()[1]
    return times


def main() -> None:
    """Measure the sizes that have no cell yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1000])
    parser.add_argument("--share", type=float, default=0.1)
    asked = parser.parse_args()
    CELLS.mkdir(parents=True, exist_ok=True)
    for images in asked.images:
        cell = CELLS / f"{images}-{asked.share:g}.json"
        if not cell.is_file():
            with tempfile.TemporaryDirectory() as folder:
                found = seconds_of(Path(folder), images, asked.share)
            cell.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    cells = sorted(CELLS.glob("*.json"), key=lambda path: int(path.stem.split("-")[0]))
    sizes = [cell.stem.split("-")[0] for cell in cells]
    lines = [
        "# What an update costs",
        "",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}, "
        f"{os.cpu_count()} cores. Drawn images of {SIDE}², one worker, with the search for images "
        "of one part. Seconds of all cores' work, and of the clock in brackets. Load is the mean "
        "number of processes that ran or waited for a core in the last five minutes: with more "
        "than there are cores, the clock says little. The goal is at most 1.2 times the share of "
        "new images, plus 2 s. Made by",
        "",
        f"    uv run --frozen python benchmarks/growth.py --images {' '.join(sizes)}",
        "",
        "| images | new | converting all | first update | second update | goal | load |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        row = json.loads(cell.read_text(encoding="utf-8"))
        goal = 1.2 * row["new"] / row["images"] * row["convert_all_cpu_s"] + 2
        found = [
            f"{row[f'{name}_cpu_s']:.1f} s ({row[f'{name}_s']:.1f} s)"
            for name in ("convert_all", "first_update", "second_update")
        ]
        lines.append(
            f"| {row['images']:.0f} | {row['new']:.0f} | {' | '.join(found)} | {goal:.1f} s | "
            f"{row['load']:.1f} |"
        )
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
