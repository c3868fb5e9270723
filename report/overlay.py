"""Overlays: an image with its truth, a prediction, a heat map and a verdict."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from annotations import Regions, decode_rle, write_png
from annotations.prediction_files import THRESHOLD
from evaluation import RegionMatch
from report.palette import Colour, type_colour_rgb

Rgb = npt.NDArray[np.uint8]
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
_DEFECTIVE_RGB: Colour = (170, 40, 20)
_GOOD_RGB: Colour = (20, 100, 70)
MISSED = "missed"


def line_width(image_hw: tuple[int, int]) -> int:
    """Line width in pixels that is seen on an image of this size."""
    return max(1, round(min(image_hw) / 300))


def draw_overlay(
    image_rgb: Rgb,
    *,
    truth: Regions | None = None,
    prediction: Regions | None = None,
    pixel_scores: npt.NDArray[np.floating[Any]] | None = None,
    score_range: tuple[float, float] = (0.0, 1.0),
    image_score: float | None = None,
    threshold: float = THRESHOLD,
    class_names: Sequence[str] = (),
    match: RegionMatch | None = None,
) -> Rgb:
    """Draw an overlay at the image's own size, with a banner above where there is a score.

    Truth is a dashed black-and-white outline; a prediction is a solid one in the colour of its
    type, with box, type and score: the two differ by line and not by colour alone.

    Args:
        image_rgb: uint8 (H, W, 3).
        truth: regions to outline as truth.
        prediction: scored regions.
        pixel_scores: float (H, W), drawn as a heat map under the outlines.
        score_range: scores that are the ends of the heat map's colours.
        image_score: calibrated score for the verdict's banner.
        threshold: calibrated scores at or above it are defective.
        class_names: by label.
        match: of truth and prediction by the judge's rule; missed defects and false alarms are
            then named so.

    Returns:
        uint8 (H + banner, W, 3).

    Raises:
        ValueError: an image that is not uint8 (H, W, 3), or a map of another size.
    """
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(f"An image must be uint8 (H, W, 3), got {image_rgb.shape}.")
    canvas = image_rgb.copy()
    image_hw = (canvas.shape[0], canvas.shape[1])
    width = line_width(image_hw)
    if pixel_scores is not None:
        if pixel_scores.shape != image_hw:
            raise ValueError(f"The map is {pixel_scores.shape}, the image {image_hw}.")
        canvas = blend_heat_map(canvas, pixel_scores, score_range)
    if prediction is not None:
        _draw_prediction(canvas, prediction, width)
    if truth is not None:
        for contour in _contours_of(truth):
            _dashed(canvas, contour, width)
    picture = Image.fromarray(canvas)
    if prediction is not None:
        alarms = [] if match is None else match.false_alarm.tolist()
        names = [
            f"{'false alarm: ' if number < len(alarms) and alarms[number] else ''}"
            f"{_name(label, class_names)}"
            for number, label in enumerate(prediction.labels.tolist())
        ]
        _write_labels(picture, prediction, names)
    if truth is not None and match is not None:
        missed = np.flatnonzero(~match.found_truth)
        _write_labels(picture, truth[missed], [MISSED] * len(missed), plain=True)
    canvas = np.asarray(picture, np.uint8)
    if image_score is not None:
        canvas = np.concatenate((_banner(image_score, threshold, canvas.shape[1]), canvas))
    return canvas


def blend_heat_map(
    image_rgb: Rgb, pixel_scores: npt.NDArray[np.floating[Any]], score_range: tuple[float, float]
) -> Rgb:
    """Lay a heat map over an image; the higher the score, the less of the image is left."""
    scaled = _scaled(pixel_scores, score_range)
    colours = heat_rgb(pixel_scores, score_range)
    weight = (0.75 * np.sqrt(scaled))[..., None]
    return np.asarray(np.rint(image_rgb * (1 - weight) + colours * weight), np.uint8)


def heat_rgb(pixel_scores: npt.NDArray[np.floating[Any]], score_range: tuple[float, float]) -> Rgb:
    """The colours of a score map, float (H, W), alone: uint8 (H, W, 3)."""
    levels = np.rint(_scaled(pixel_scores, score_range) * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.asarray(colours, np.uint8)


def _scaled(
    pixel_scores: npt.NDArray[np.floating[Any]], score_range: tuple[float, float]
) -> npt.NDArray[np.float32]:
    low, high = score_range
    scaled = np.clip((pixel_scores - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(scaled, np.float32)


def _contours_of(regions: Regions) -> list[npt.NDArray[np.int32]]:
    contours: list[npt.NDArray[np.int32]] = []
    if regions.masks is None:
        for box in regions.boxes_xyxy:
            x1, y1, x2, y2 = (round(float(v)) for v in box)
            corners = [[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]]
            contours.append(np.array(corners, np.int32)[:, None])
        return contours
    for rle in regions.masks:
        mask = decode_rle(rle).view(np.uint8)
        # RETR_CCOMP: holes are outlined too.
        found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        contours += [np.asarray(contour, np.int32) for contour in found]
    return contours


def _draw_prediction(canvas: Rgb, prediction: Regions, width: int) -> None:
    for index, label in enumerate(prediction.labels.tolist()):
        colour = type_colour_rgb(label)
        if prediction.masks is not None:
            inside = decode_rle(prediction.masks[index])
            canvas[inside] = (0.75 * canvas[inside] + 0.25 * np.array(colour)).astype(np.uint8)
            found, _ = cv2.findContours(
                inside.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(canvas, found, -1, colour, width, cv2.LINE_AA)
        x1, y1, x2, y2 = (round(float(v)) for v in prediction.boxes_xyxy[index])
        corner = (max(x1, x2 - 1), max(y1, y2 - 1))
        cv2.rectangle(canvas, (x1, y1), corner, BLACK, width + 2)
        cv2.rectangle(canvas, (x1, y1), corner, colour, width)


def _dashed(canvas: Rgb, contour: npt.NDArray[np.int32], width: int) -> None:
    points = contour[:, 0]
    closed = np.concatenate((points, points[:1]))
    # Corners alone (a box) are walked pixel by pixel, as the outlines of masks are.
    steps = [
        np.linspace(a, b, max(2, int(np.abs(b - a).max()) + 1))[:-1] for a, b in pairwise(closed)
    ]
    path = np.rint(np.concatenate(steps)).astype(np.int32)
    dash = 4 * width + 2
    for start in range(0, len(path), dash):
        piece = path[start : start + dash + 1]
        colour = WHITE if (start // dash) % 2 == 0 else BLACK
        cv2.polylines(canvas, [piece[:, None]], False, colour, width + 1, cv2.LINE_AA)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label][:40] if label < len(class_names) else f"type {label}"


def _write_labels(
    picture: Image.Image, regions: Regions, names: Sequence[str], *, plain: bool = False
) -> None:
    draw = ImageDraw.Draw(picture)
    size = max(9, round(min(picture.size) / 38))
    font = _font(size)
    for index, label in enumerate(regions.labels.tolist()):
        score = "" if regions.scores is None else f" {float(regions.scores[index]):.2f}"
        x1, y1, _, _ = (float(v) for v in regions.boxes_xyxy[index])
        text = f"{names[index]}{score}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = min(max(0.0, x1), max(0.0, picture.width - (right - left) - 4))
        y = y1 - (bottom - top) - 5
        if y < 0:
            y = min(y1 + 2, picture.height - (bottom - top) - 5)
        draw.rectangle((x, y, x + right - left + 4, y + bottom - top + 4), fill=BLACK)
        draw.text(
            (x + 2 - left, y + 2 - top),
            text,
            fill=WHITE if plain else type_colour_rgb(label),
            font=font,
        )


def _short(threshold: float) -> str:
    # Two digits for 0.50; as many as it takes to tell 0.0012 from nothing.
    return f"{threshold:.2f}" if threshold == round(threshold, 2) else f"{threshold:.3g}"


def _banner(image_score: float, threshold: float, width: int) -> Rgb:
    defective = image_score >= threshold
    sign = ">=" if defective else "<"
    word = "DEFECTIVE" if defective else "GOOD"
    size = max(9, min(28, round(width / 26)))
    picture = Image.new("RGB", (width, size + 10), _DEFECTIVE_RGB if defective else _GOOD_RGB)
    text = f"{word}  {image_score:.3f} {sign} {_short(threshold)}"
    ImageDraw.Draw(picture).text((6, 4), text, fill=WHITE, font=_font(size))
    return np.asarray(picture, np.uint8)


def write_overlay(
    path: Path,
    image_rgb: Rgb,
    *,
    truth: Regions | None = None,
    prediction: Regions | None = None,
    pixel_scores: npt.NDArray[np.floating[Any]] | None = None,
    score_range: tuple[float, float] = (0.0, 1.0),
    image_score: float | None = None,
    threshold: float = THRESHOLD,
    class_names: Sequence[str] = (),
    match: RegionMatch | None = None,
) -> None:
    """Write what `draw_overlay` draws as a PNG; same arguments, same errors."""
    picture = draw_overlay(
        image_rgb,
        truth=truth,
        prediction=prediction,
        pixel_scores=pixel_scores,
        score_range=score_range,
        image_score=image_score,
        threshold=threshold,
        class_names=class_names,
        match=match,
    )
    write_png(path, picture, compression=1)
