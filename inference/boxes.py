"""A YOLO detector around its network: letterbox, non-maximum suppression, tiles and views.

Letterbox and suppression are those of ultralytics' own prediction with `rect=True`, to the last
rounding, so that a detector trained there is looked through as it was validated.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt

from annotations.prediction import Prediction
from annotations.regions import Regions
from annotations.scores import RawScore
from inference.base import Arrays, Batch, ImageRgb, Network, Scorer
from inference.tiling import cut_tile, merge_boxes, tile_windows, tiled_hw
from inference.views import boxes_back, fuse_boxes, view_of

MIN_SCORE: Final = 0.001
SAME_IOU: Final = 0.6
"""Of two boxes of one type that overlap by more, the lower score goes."""
STRIDE: Final = 32
GRAY: Final = 114
MOST_CANDIDATES: Final = 30_000
_CLASS_OFFSET: Final = 7680
"""Pixels that boxes are moved by class, so that one pass serves all classes."""

Boxes = npt.NDArray[np.float32]


class Found(NamedTuple):
    """Boxes float32 (n, 4), labels int64 (n,), scores float32 (n,)."""

    boxes_xyxy: Boxes
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


class Letterbox(NamedTuple):
    """How an image was put into the network's frame: pixels of the resized image, and margins."""

    height: int
    width: int
    top: int
    left: int


def letterboxed(image_rgb: ImageRgb, size: int) -> tuple[ImageRgb, Letterbox]:
    """Resize to fit a square of `size`, aspect kept, and pad both sides to multiples of 32.

    Args:
        image_rgb: uint8 (H, W, 3).
        size: pixels, a multiple of 32.

    Returns:
        uint8 (h, w, 3) with h and w at most `size`, and where the image lies in it.
    """
    high, wide = image_rgb.shape[:2]
    ratio = min(size / high, size / wide)
    width, height = max(round(wide * ratio), 1), max(round(high * ratio), 1)
    spare_y, spare_x = (size - height) % STRIDE / 2, (size - width) % STRIDE / 2
    top, bottom = round(spare_y - 0.1), round(spare_y + 0.1)
    left, right = round(spare_x - 0.1), round(spare_x + 0.1)
    resized = image_rgb
    if (wide, high) != (width, height):
        resized = np.asarray(
            cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    framed = cv2.copyMakeBorder(
        resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(GRAY, GRAY, GRAY)
    )
    return np.asarray(framed, np.uint8), Letterbox(height, width, top, left)


def suppressed(answer: npt.NDArray[np.float32], max_detections: int) -> Found:
    """Non-maximum suppression of a network's answer.

    Args:
        answer: float32 (4 + classes, n), rows of center x, center y, width, height, then a
            probability a class; or (n, 6) of a network that suppresses by itself: x1, y1, x2, y2,
            score, class.
        max_detections: at most so many are kept, highest scores first.
    """
    if answer.shape[-1] == 6:
        kept = answer[answer[:, 4] > MIN_SCORE][:max_detections]
        return Found(kept[:, :4], kept[:, 5].astype(np.int64), kept[:, 4])
    chances = answer[4:]
    labels = chances.argmax(axis=0)
    scores = chances.max(axis=0)
    places = np.flatnonzero(scores > MIN_SCORE)
    order = places[np.argsort(-scores[places], kind="stable")][:MOST_CANDIDATES]
    x, y, half_width, half_height = answer[0], answer[1], answer[2] / 2, answer[3] / 2
    boxes = np.stack((x - half_width, y - half_height, x + half_width, y + half_height), axis=1)
    boxes, labels, scores = boxes[order], labels[order].astype(np.int64), scores[order]
    moved = boxes + labels[:, None].astype(np.float32) * np.float32(_CLASS_OFFSET)
    areas = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    left = np.arange(len(moved))
    chosen: list[int] = []
    while len(left) and len(chosen) < max_detections:
        first, rest = int(left[0]), left[1:]
        chosen.append(first)
        sides = np.minimum(moved[first, 2:], moved[rest, 2:])
        sides -= np.maximum(moved[first, :2], moved[rest, :2])
        common = np.maximum(sides, 0).prod(axis=1)
        union = areas[first] + areas[rest] - common
        left = rest[common <= SAME_IOU * union]
    return Found(boxes[chosen], labels[chosen], scores[chosen])


def clipped_regions(found: Found, image_hw: tuple[int, int]) -> Regions:
    """Boxes cut at the image's edges; those wholly in a tile's mirrored margin are none."""
    height, width = image_hw
    boxes = np.clip(found.boxes_xyxy, 0, np.array([width, height, width, height], np.float32))
    seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Regions(boxes[seen], None, found.labels[seen], found.scores[seen], image_hw)


class BoxScorer(Scorer):
    """A YOLO detector that looks at one image at a time.

    The network answers float32 (1, 3, h, w) in [0, 1], sides multiples of 32, as `suppressed`
    takes it.
    """

    kind = "boxes"
    free_sides = True

    def __init__(
        self, network: Network, *, image_size: int, max_detections: int, tiles: int, views: int
    ) -> None:
        """Take a network and all that decides.

        Args:
            network: see the class.
            image_size: side in pixels that the network looks at, a multiple of 32.
            max_detections: boxes kept per image.
            tiles: along an image's longer side.
            views: copies of an image for test-time augmentation, turned and mirrored.
        """
        self.network, self._side, self._most = network, image_size, max_detections
        self._tiles, self._views = tiles, views

    @property
    def example_hw(self) -> tuple[int, int]:
        """The square."""
        return self._side, self._side

    def recipe(self) -> dict[str, Any]:
        """Settings."""
        return {
            "image_size": self._side,
            "max_detections": self._most,
            "tiles": self._tiles,
            "views": self._views,
            "min_score": MIN_SCORE,
            "suppression_iou": SAME_IOU,
        }

    @classmethod
    def build(cls, recipe: Mapping[str, Any], arrays: Arrays, network: Network) -> Self:
        """Make it again."""
        del arrays
        if recipe["min_score"] != MIN_SCORE or recipe["suppression_iou"] != SAME_IOU:
            raise ValueError("boxes are suppressed by other numbers than this version's")
        return cls(
            network,
            image_size=int(recipe["image_size"]),
            max_detections=int(recipe["max_detections"]),
            tiles=int(recipe["tiles"]),
            views=int(recipe["views"]),
        )

    def predict(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """Boxes of one image, uint8 (H, W, 3); the image's score is its best box's, 0 without."""
        regions = self._one_view(image_rgb) if self._views == 1 else self._all_views(image_rgb)
        scores = regions.scores
        best = float(scores.max()) if scores is not None and len(scores) else 0.0
        return Prediction(image_id=image_id, image_score=RawScore(best), regions=regions)

    def _one_view(self, image_rgb: ImageRgb) -> Regions:
        return self._whole(image_rgb) if self._tiles == 1 else self._tiled(image_rgb)

    def _all_views(self, image_rgb: ImageRgb) -> Regions:
        image_hw = (int(image_rgb.shape[0]), int(image_rgb.shape[1]))
        parts = []
        for number in range(self._views):
            seen = self._one_view(np.ascontiguousarray(view_of(image_rgb, number)))
            boxes = boxes_back(seen.boxes_xyxy, number, image_hw)
            scores = np.zeros(0, np.float32) if seen.scores is None else seen.scores
            parts.append(Found(boxes, seen.labels, scores))
        return self._best(fuse_boxes(clipped_regions(_joined(parts), image_hw), self._views))

    def _best(self, ranked: Regions) -> Regions:
        return ranked[np.arange(min(len(ranked), self._most))]

    def _find(self, image_rgb: ImageRgb) -> Found:
        framed, box = letterboxed(image_rgb, self._side)
        batch: Batch = np.ascontiguousarray(framed.transpose(2, 0, 1))[None].astype(np.float32)
        batch /= np.float32(255)
        found = suppressed(self.network(batch)[0][0], self._most)
        high, wide = image_rgb.shape[:2]
        margin = np.array([box.left, box.top] * 2, np.float32)
        gain = np.array([box.width / wide, box.height / high] * 2, np.float32)
        boxes = (found.boxes_xyxy - margin) / gain
        limits = np.array([wide, high, wide, high], np.float32)
        return found._replace(boxes_xyxy=np.clip(boxes, 0, limits))

    def _whole(self, image_rgb: ImageRgb) -> Regions:
        return clipped_regions(self._find(image_rgb), (image_rgb.shape[0], image_rgb.shape[1]))

    def _tiled(self, image_rgb: ImageRgb) -> Regions:
        image_hw = (int(image_rgb.shape[0]), int(image_rgb.shape[1]))
        height, width = tiled_hw(image_hw, self._tiles, self._side)
        shrinks = height <= image_hw[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = np.asarray(cv2.resize(image_rgb, (width, height), interpolation=method), np.uint8)
        parts = []
        for y, x in tile_windows((height, width), self._side):
            found = self._find(cut_tile(resized, (y, x), self._side, reflect=True))
            moved = found.boxes_xyxy + np.array([x, y, x, y], np.float32)
            parts.append(found._replace(boxes_xyxy=moved))
        joined = _joined(parts)
        ratio = np.array([image_hw[1] / width, image_hw[0] / height] * 2, np.float32)
        joined = joined._replace(boxes_xyxy=joined.boxes_xyxy * ratio)
        return self._best(merge_boxes(clipped_regions(joined, image_hw)))


def _joined(parts: list[Found]) -> Found:
    boxes, labels, scores = (np.concatenate(rows) for rows in zip(*parts, strict=True))
    return Found(boxes, labels, scores)
