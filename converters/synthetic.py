"""Draws a small bottle-like category with exact masks, for the demo and the tests.

One looks down into a bottle: a bright ring (the rim) around a dark inside, on a light table.
Three kinds of defect: a large piece broken out of the rim, small chips, and contamination inside.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations import GOOD, UsageError, write_png
from annotations.files import folder_moved_into_place
from annotations.regions import BoolMask

DEFECT_TYPES: Final = ("broken_large", "broken_small", "contamination")
Image = npt.NDArray[np.uint8]


Floats = npt.NDArray[np.float32]


def _rgb(red: float, green: float, blue: float) -> Floats:
    return np.array([red, green, blue], np.float32)


_TINTS: Final = (_rgb(196, 180, 140), _rgb(150, 156, 150), _rgb(120, 40, 34))


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """What to draw.

    Attributes:
        n_train_good: good images for training.
        n_test_good: good images for the test.
        n_per_type: defective test images of each type.
        image_hw: height and width in pixels, at least 48 each.
        seed: another seed, another category; the same one, the same bytes.
        category: name of the folder.

    Raises:
        UsageError: a size below 48, a negative number, or a name with a path in it.
    """

    n_train_good: int = 24
    n_test_good: int = 8
    n_per_type: int = 8
    image_hw: tuple[int, int] = (192, 192)
    seed: int = 0
    category: str = "drawn_bottle"

    def __post_init__(self) -> None:
        if min(self.image_hw) < 48:
            raise UsageError(f"Drawn images need at least 48 pixels a side, got {self.image_hw}.")
        if min(self.n_train_good, self.n_test_good, self.n_per_type, self.seed) < 0:
            raise UsageError("Numbers of images and the seed cannot be negative.")
        if self.category != Path(self.category).name or not self.category:
            raise UsageError(f"The category {self.category!r} must be a plain folder name.")


def draw_category(dest: str | Path, config: SyntheticConfig = SyntheticConfig()) -> Path:
    """Draw a category in MVTec layout.

    Args:
        dest: folder that gets a folder `config.category`.
        config: what to draw.

    Returns:
        The category's folder.

    Raises:
        OutputExistsError: it exists and holds something.
    """
    target = Path(dest) / config.category
    hint = "Choose another folder, or remove that one yourself."
    plan = [("train", GOOD, config.n_train_good), ("test", GOOD, config.n_test_good)]
    plan += [("test", name, config.n_per_type) for name in DEFECT_TYPES]
    with folder_moved_into_place(target, hint=hint) as folder:
        for side, defect_type, count in plan:
            (folder / side / defect_type).mkdir(parents=True)
            for index in range(count):
                # Every image has a generator of its own: adding one changes no other.
                name = zlib.crc32(f"{side}/{defect_type}".encode())
                rng = np.random.default_rng([config.seed, name, index])
                kind = None if defect_type == GOOD else defect_type
                image_rgb, mask = draw_image(rng, config.image_hw, kind)
                write_png(folder / side / defect_type / f"{index:03d}.png", image_rgb)
                if kind is not None:
                    path = folder / "ground_truth" / defect_type / f"{index:03d}_mask.png"
                    write_png(path, mask.astype(np.uint8) * 255)
    return target


def draw_image(
    rng: np.random.Generator, image_hw: tuple[int, int], defect_type: str | None
) -> tuple[Image, BoolMask]:
    """Draw one image.

    Args:
        rng: of everything random.
        image_hw: height and width in pixels.
        defect_type: one of `DEFECT_TYPES`, or None for a good image.

    Returns:
        RGB uint8 (H, W, 3) and bool (H, W). The mask holds exactly the pixels that the defect
        changed: outside of it the image is the good one that the same generator draws.
    """
    scene = _Scene(rng, image_hw)
    clean = scene.render(rng)
    if defect_type is None:
        return clean, np.zeros(image_hw, np.bool_)
    shape, colors = _DRAWERS[defect_type](scene, rng)
    image = np.where(shape[..., None], colors, clean).astype(np.uint8)
    return image, (image != clean).any(axis=2)


class _Scene:
    """Geometry of one image: where the bottle stands, and polar coordinates around it."""

    def __init__(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> None:
        height, width = image_hw
        self.image_hw = image_hw
        self.unit = min(height, width) / 2
        self.center_y = height / 2 + rng.normal(0, 0.012) * self.unit
        self.center_x = width / 2 + rng.normal(0, 0.012) * self.unit
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        dy, dx = rows - np.float32(self.center_y), columns - np.float32(self.center_x)
        self.radius = np.hypot(dy, dx) / np.float32(self.unit)
        self.angle = np.arctan2(dy, dx)
        self.outer = 0.86 + rng.normal(0, 0.006)
        self.inner = 0.60 + rng.normal(0, 0.006)

    def noise(self, rng: np.random.Generator, grain: float) -> npt.NDArray[np.float32]:
        """Smooth noise float32 (H, W), mean 0 and standard deviation 1; `grain` in pixels."""
        field = rng.standard_normal(self.image_hw, dtype=np.float32)
        smooth = cv2.GaussianBlur(field, (0, 0), grain)
        return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)

    def render(self, rng: np.random.Generator) -> Image:
        """The bottle without a defect: uint8 (H, W, 3)."""
        soft = np.float32(1.5 / self.unit)

        def edge(limit: float) -> npt.NDArray[np.float32]:
            inside = np.clip((limit - self.radius) / soft + 0.5, 0, 1)
            return np.asarray(inside, np.float32)[..., None]

        light = 1 + 0.05 * np.cos(self.angle - rng.uniform(-np.pi, np.pi)) * self.radius
        table = _rgb(228, 226, 222)
        glass = _rgb(112, 66, 34)
        dark = _rgb(26, 17, 13)
        image = np.ones((*self.image_hw, 3), np.float32) * table
        ring_place = (self.radius - self.inner) / (self.outer - self.inner)
        bump = np.exp(-(((ring_place - 0.42) / 0.2) ** 2)) + 0.45 * np.exp(
            -(((ring_place - 0.85) / 0.07) ** 2)
        )
        start = rng.uniform(-np.pi, np.pi)
        sweep = 0.75 + 0.25 * np.cos(2 * (self.angle - start)) + 0.05 * np.cos(5 * self.angle)
        gloss = (bump * sweep)[..., None] * _rgb(128, 120, 104)
        texture = self.noise(rng, 2.0)[..., None] * 2.0
        rim = glass + gloss + texture
        image = image * (1 - edge(self.outer)) + rim * edge(self.outer)
        depth = np.clip(self.radius / self.inner, 0, 1)[..., None]
        bottom = dark + _rgb(30, 18, 8) * depth**6
        bottom = bottom + _rgb(36, 30, 24) * np.exp(-((self.radius[..., None] / 0.16) ** 2))
        image = image * (1 - edge(self.inner)) + bottom * edge(self.inner)
        image = image * light[..., None] * rng.uniform(0.96, 1.04)
        grain = rng.standard_normal((*self.image_hw, 3), dtype=np.float32) * 2.2
        return np.asarray(np.clip(np.rint(image + grain), 0, 255), np.uint8)

    def blob(
        self, rng: np.random.Generator, *, radius: float, angle: float, size: float, rough: float
    ) -> BoolMask:
        """An irregular patch around a place in polar coordinates: bool (H, W)."""
        y = self.center_y + radius * self.unit * np.sin(angle)
        x = self.center_x + radius * self.unit * np.cos(angle)
        height, width = self.image_hw
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        stretch = rng.uniform(0.75, 1.3)
        turn = rng.uniform(0, np.pi)
        dy, dx = rows - np.float32(y), columns - np.float32(x)
        along = (dx * np.cos(turn) + dy * np.sin(turn)) * stretch
        across = (-dx * np.sin(turn) + dy * np.cos(turn)) / stretch
        wobble = self.noise(rng, max(1.5, size * self.unit * 0.3)) * rough
        return np.asarray(np.hypot(along, across) < size * self.unit * (1 + wobble), np.bool_)


Drawn = tuple[BoolMask, npt.NDArray[np.float32]]


def _fracture(scene: _Scene, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    gray = 150 + 45 * scene.noise(rng, 2.5) + 25 * scene.noise(rng, 0.8)
    colors = gray[..., None] * _rgb(1.0, 0.96, 0.9)
    return np.asarray(np.clip(np.rint(colors), 0, 255), np.float32)


def _broken_large(scene: _Scene, rng: np.random.Generator) -> Drawn:
    middle = (scene.inner + scene.outer) / 2
    angle = rng.uniform(-np.pi, np.pi)
    shape = scene.blob(rng, radius=middle, angle=angle, size=rng.uniform(0.2, 0.3), rough=0.22)
    return shape & (scene.radius < scene.outer), _fracture(scene, rng)


def _broken_small(scene: _Scene, rng: np.random.Generator) -> Drawn:
    shape = np.zeros(scene.image_hw, np.bool_)
    angle = rng.uniform(-np.pi, np.pi)
    for _ in range(2 if rng.random() < 0.35 else 1):
        place = rng.uniform(scene.inner + 0.05, scene.outer - 0.05)
        shape |= scene.blob(rng, radius=place, angle=angle, size=rng.uniform(0.06, 0.1), rough=0.25)
        angle += rng.uniform(1.0, 2.5)
    return shape & (scene.radius < scene.outer), _fracture(scene, rng)


def _contamination(scene: _Scene, rng: np.random.Generator) -> Drawn:
    angle = rng.uniform(-np.pi, np.pi)
    place = rng.uniform(0.1, scene.inner - 0.2)
    size = rng.uniform(0.08, 0.16)
    shape = scene.blob(rng, radius=place, angle=angle, size=size, rough=0.3)
    if rng.random() < 0.3:
        # A flake with a hole in it: holes are part of the truth.
        shape &= ~scene.blob(rng, radius=place, angle=angle, size=size * 0.4, rough=0.2)
    tint = _TINTS[int(rng.integers(len(_TINTS)))]
    colors = tint + 14 * scene.noise(rng, 1.5)[..., None]
    return shape & (scene.radius < scene.inner), np.asarray(
        np.clip(np.rint(colors), 0, 255), np.float32
    )


_DRAWERS: Final[dict[str, Any]] = {
    "broken_large": _broken_large,
    "broken_small": _broken_small,
    "contamination": _contamination,
}
