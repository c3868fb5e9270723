"""Draw a set of thin cracks: 1 to 4 pixels wide on images of 500 × 1,240, with exact masks.

    uv run --frozen python -m benchmarks.thin_cracks FOLDER [--seed 0]

FOLDER is MVTec's layout: 60 good images to train on, 60 good and 60 cracked ones to test. Cracks
are random walks a little darker than a rough surface; scratches of the same contrast that are
wide, straight and soft are part of a good surface.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

IMAGE_HW = (500, 1240)
COUNTS = {("train", "good"): 60, ("test", "good"): 60, ("test", "crack"): 60}
Gray = npt.NDArray[np.float32]


def surface(rng: np.random.Generator) -> Gray:
    """A rough surface float32 (h, w), 0 to 255, with soft straight scratches."""
    height, width = IMAGE_HW
    image = np.full(IMAGE_HW, rng.uniform(110, 150), np.float32)
    for cells, strength in ((6, 10.0), (40, 5.0), (200, 5.0)):
        coarse = rng.normal(0, strength, (cells, cells * width // height)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 6.0, IMAGE_HW).astype(np.float32)
    for _ in range(int(rng.integers(0, 4))):
        mark = np.zeros(IMAGE_HW, np.float32)
        start, end = rng.uniform(0, 1, (2, 2)) * (width, height)
        cv2.line(mark, _point(start), _point(end), 1.0, int(rng.integers(6, 14)))
        image += cv2.GaussianBlur(mark, (0, 0), 5) * float(rng.uniform(-25, 25))
    return image


def crack(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A mask uint8 (h, w) of one crack, 0 or 255: a walk of 100 to 400 pixels, 1 to 4 wide."""
    height, width = IMAGE_HW
    mask = np.zeros(IMAGE_HW, np.uint8)
    place = np.array([rng.uniform(60, width - 60), rng.uniform(60, height - 60)])
    heading, thick = rng.uniform(0, 2 * np.pi), int(rng.integers(1, 5))
    for _ in range(int(rng.integers(10, 40))):
        heading += rng.normal(0, 0.4)
        step = 10 * np.array([np.cos(heading), np.sin(heading)])
        there = np.clip(place + step, 2, (width - 3, height - 3))
        cv2.line(mask, _point(place), _point(there), 255, thick)
        place = there
    return mask


def _point(xy: npt.NDArray[np.float64]) -> tuple[int, int]:
    return int(xy[0]), int(xy[1])


def draw(folder: Path, seed: int) -> None:
    """Draw all images and masks."""
    for (split, kind), count in COUNTS.items():
        for number in range(count):
            rng = np.random.default_rng([seed, split == "test", kind == "crack", number])
            image = surface(rng)
            if kind == "crack":
                masks = [crack(rng) for _ in range(int(rng.integers(1, 3)))]
                mask = np.bitwise_or.reduce(masks)
                soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.7)
                image -= soft * float(rng.uniform(30, 70))
                _write(folder / "ground_truth" / kind / f"{number:03d}_mask.png", mask)
            gray = np.clip(image, 0, 255).astype(np.uint8)
            _write(folder / split / kind / f"{number:03d}.png", gray)


def _write(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw(options.folder, options.seed)


if __name__ == "__main__":
    main()
