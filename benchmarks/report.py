"""The report of many images: how long it takes to build, to open, to filter and to scroll.

    uv run --group peers python -m benchmarks.report --images 5000 --runs 3 --side 128

Images are drawn, with regions and maps of every run; half of them are defective. Chromium opens
the report from disk. Peak memory is that of the whole process, drawing and predictions included;
frames are 300 steps of scrolling by 400 pixels, without a graphics card.
"""

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from annotations import (
    Dataset,
    FoldThresholds,
    Prediction,
    PredictionWriter,
    Regions,
    Sample,
    make_split,
    mask_to_regions,
    read_predictions,
    write_png,
)
from annotations.images import sha256_of
from evaluation import evaluate_runs
from report import write_report

READY = "document.documentElement.dataset.ready === 'yes'"
WATCH = """new MutationObserver(() => { globalThis.readyAt ??= performance.now(); })
  .observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready"] });"""
FILTERS = {
    "filter: wrong": "state.part = 'wrong'",
    "filter: missed": "state.part = ''; state.region = 'missed'",
    "text": "state.region = ''; state.q = '99'",
    "order: by name": "state.q = ''; state.order = 'name'",
    "order: worst first": "state.order = 'worst'",
    "threshold": "state.t = 0.31",
}
SCROLL = """async () => {
  const times = [];
  let last = performance.now();
  for (let n = 0; n < 300; n += 1) {
    scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
  }
  return times.slice(5);
}"""


def drawn(folder: Path, n_images: int, side: int) -> Dataset:
    """Images with one scratch each in the defective half."""
    rng = np.random.default_rng(0)
    samples, truths = [], {}
    for number in range(n_images):
        kind = "scratch" if number % 2 else "good"
        path = folder / "images" / f"{number:05d}.png"
        image = cv2.resize(rng.integers(90, 160, (16, 16, 3), dtype=np.uint8), (side, side))
        mask = np.zeros((side, side), np.uint8)
        if kind == "scratch":
            ends = [tuple(map(int, rng.integers(0, side, 2))) for _ in range(2)]
            cv2.line(mask, ends[0], ends[1], 1, 4)
        image[mask > 0] = 30
        write_png(path, image, compression=1)
        name = f"{kind}/{number:05d}"
        samples.append(Sample(name, path, None, kind, (side, side), sha256_of(path), name, "test"))
        found = mask_to_regions(mask > 0)
        truths[name] = found if len(found) else Regions.empty((side, side))
    samples.sort(key=lambda sample: sample.image_id)
    return Dataset(folder, ("scratch",), tuple(samples), truths, make_split(samples, folds=2))


def predicted(dataset: Dataset, name: str, seed: int) -> Path:
    """A run whose maps are the truth, blurred and shaken; a tenth of the images is wrong."""
    rng = np.random.default_rng(seed)
    run = dataset.root / "runs" / name
    for number, fold in enumerate(dataset.split.folds):
        thresholds = FoldThresholds(0.5, "odds", 0.5, "test")
        about = {"family": "segment", "model": "drawn"}
        with PredictionWriter(run, dataset, number, thresholds, about) as writer:
            for image_id in fold.test:
                mask = dataset.truths[image_id].union_mask().astype(np.float32)
                if rng.random() < 0.1:
                    mask = np.zeros_like(mask)
                    cv2.circle(mask, (20, 30), 6, 1, -1)
                scores = cv2.GaussianBlur(mask, (0, 0), 2)
                regions = mask_to_regions(scores > 0.4, pixel_scores=scores)
                writer.write(Prediction(image_id, float(min(1, scores.max())), regions, scores))
    return run


def opened(page_file: Path) -> dict[str, float]:
    """Milliseconds of what a person waits for."""
    told: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page: Any = browser.new_page(viewport={"width": 1400, "height": 900})
        page.add_init_script(WATCH)
        page.goto(page_file.as_uri())
        # Not by Playwright's own wait: the page's policy refuses text that is evaluated in it.
        while not page.evaluate(READY):
            page.wait_for_timeout(20)
        page.wait_for_timeout(500)
        told["first paint"] = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        told["usable"] = page.evaluate("globalThis.readyAt")
        for name, change in FILTERS.items():
            told[name] = page.evaluate(
                f"() => {{ const from = performance.now(); {change}; update(); "
                "document.body.offsetHeight; return performance.now() - from; }"
            )
        frames = np.array(page.evaluate(SCROLL))
        told["frame, median"] = float(np.median(frames))
        told["frame, 95 %"] = float(np.percentile(frames, 95))
        browser.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = drawn(Path(folder), options.images, options.side)
        runs = [predicted(dataset, f"run-{n}", n) for n in range(options.runs)]
        board = evaluate_runs(dataset, runs[:1]).to_json()
        stored = [read_predictions(run, dataset) for run in runs]
        began = time.perf_counter()
        page = write_report(dataset, stored, board, dataset.root / "report")
        built = time.perf_counter() - began
        size = sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{options.images} images of {options.side} pixels, {options.runs} runs\n")
        print("| what | measured |\n|---|---|")
        print(f"| build | {built:.0f} s |")
        print(f"| peak memory, drawing and evaluating included | {peak:.0f} MiB |")
        print(f"| size a 1,000 images | {size / 1e6 / options.images * 1000:.1f} MB |")
        for name, value in opened(page).items():
            print(f"| {name} | {value:.0f} ms |")


if __name__ == "__main__":
    main()
