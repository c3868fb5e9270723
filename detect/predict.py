"""Predicting with a trained YOLO detector."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Prediction, Regions
from annotations.run_files import TILES_FILE
from detect.config import DetectConfig
from detect.network import load_detector
from detect.ultralytics_setup import import_ultralytics
from training import fold_folder, resolve_device, stored_config
from training.tiling import cut_tile, merge_boxes, read_tiles, tile_windows, tiled_hw
from training.views import Views, boxes_back, fuse_boxes, view_of

MIN_SCORE = 0.001


class BoxPredictor:
    """A YOLO detector that looks at one image at a time."""

    def __init__(
        self,
        network: Any,
        *,
        image_size: int,
        max_detections: int,
        device: str,
        tiles: int = 1,
        views: Views = 1,
    ) -> None:
        """Take a trained network.

        Args:
            network: ultralytics' module, see `detect.network`.
            image_size: side in pixels that the network looks at.
            max_detections: boxes kept per image.
            device: as torch names it.
            tiles: along an image's longer side.
            views: times that an image is looked at, turned and mirrored.
        """
        self._tiles, self._side, self._views = tiles, image_size, views
        self._max_detections = max_detections
        import_ultralytics()
        from ultralytics.models.yolo.detect import DetectionPredictor

        options = {
            "task": "detect",
            "mode": "predict",
            "batch": 1,
            "rect": True,
            "save": False,
            "imgsz": image_size,
            "conf": MIN_SCORE,
            "iou": 0.6,
            "max_det": max_detections,
            "device": device,
            "verbose": False,
        }
        self._model: Any = DetectionPredictor(overrides=options)
        self._model.setup_model(model=network, verbose=False)

    def predict(self, image_id: str, image_rgb: npt.NDArray[np.uint8]) -> Prediction:
        """Boxes of one image, uint8 (H, W, 3); the image's score is its best box's, 0 without."""
        regions = self._one_view(image_rgb) if self._views == 1 else self._all_views(image_rgb)
        scores = regions.scores
        best = float(scores.max()) if scores is not None and len(scores) else 0.0
        return Prediction(image_id=image_id, image_score=best, regions=regions)

    def _one_view(self, image_rgb: npt.NDArray[np.uint8]) -> Regions:
        return self._whole(image_rgb) if self._tiles == 1 else self._tiled(image_rgb)

    def _all_views(self, image_rgb: npt.NDArray[np.uint8]) -> Regions:
        image_hw = (int(image_rgb.shape[0]), int(image_rgb.shape[1]))
        parts = []
        for number in range(self._views):
            seen = self._one_view(np.ascontiguousarray(view_of(image_rgb, number)))
            boxes = boxes_back(seen.boxes_xyxy, number, image_hw)
            scores = np.zeros(0, np.float32) if seen.scores is None else seen.scores
            parts.append((boxes, seen.labels, scores))
        boxes, labels, scores = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        return self._best(fuse_boxes(_regions(boxes, labels, scores, image_hw), self._views))

    def _best(self, ranked: Regions) -> Regions:
        count = min(len(ranked), self._max_detections)
        return _regions(
            ranked.boxes_xyxy[:count],
            ranked.labels[:count],
            np.zeros(0, np.float32) if ranked.scores is None else ranked.scores[:count],
            ranked.image_hw,
        )

    def _whole(self, image_rgb: npt.NDArray[np.uint8]) -> Regions:
        result = self._model(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
        boxes, labels, scores = _arrays(result[0])
        return _regions(boxes, labels, scores, (image_rgb.shape[0], image_rgb.shape[1]))

    def _tiled(self, image_rgb: npt.NDArray[np.uint8]) -> Regions:
        image_hw = (int(image_rgb.shape[0]), int(image_rgb.shape[1]))
        height, width = tiled_hw(image_hw, self._tiles, self._side)
        shrinks = height <= image_hw[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = np.asarray(cv2.resize(image_rgb, (width, height), interpolation=method), np.uint8)
        windows = tile_windows((height, width), self._side)
        parts = []
        for y, x in windows:
            tile = cut_tile(resized, (y, x), self._side, reflect=True)
            result = self._model(cv2.cvtColor(tile, cv2.COLOR_RGB2BGR))
            boxes, labels, scores = _arrays(result[0])
            parts.append((boxes + np.array([x, y, x, y], np.float32), labels, scores))
        boxes, labels, scores = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        ratio = np.array([image_hw[1] / width, image_hw[0] / height] * 2, np.float32)
        return self._best(merge_boxes(_regions(boxes * ratio, labels, scores, image_hw)))


def _arrays(
    result: Any,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    return (
        result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4),
        result.boxes.cls.cpu().numpy().astype(np.int64),
        result.boxes.conf.cpu().numpy().astype(np.float32),
    )


def _regions(
    boxes_xyxy: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    image_hw: tuple[int, int],
) -> Regions:
    """Boxes cut at the image's edges; those wholly in a tile's mirrored margin are none."""
    height, width = image_hw
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(boxes_xyxy, 0, limits)
    seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return Regions(boxes[seen], None, labels[seen], scores[seen], image_hw)


def load_box_predictor(run: Path, fold: int, *, device: str = "auto") -> BoxPredictor:
    """Open one fold of a finished detector run.

    Raises:
        InputError: not a detector run, or that fold has no weights.
    """
    config = stored_config(run, DetectConfig)
    folder = fold_folder(run, fold)
    return BoxPredictor(
        load_detector(folder),
        image_size=config.image_size,
        max_detections=config.max_detections,
        device=str(resolve_device(device)),
        views=config.views,
        tiles=read_tiles(folder / TILES_FILE),
    )
