"""Overlays: an image with its truth, a prediction, a heat map and a verdict."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from annotations import GOOD, Regions, decode_rle
from annotations.prediction_files import THRESHOLD, strips
from annotations.scores import CalibratedScore
from evaluation import RegionMatch
from report.labels import Box, Label, fitting, font_of, write_labels
from report.palette import Color, type_color_rgb

Rgb = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Kind = TypeVar("_Kind", bound=np.generic)
WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
_DEFECTIVE_RGB: Color = (170, 40, 20)
_GOOD_RGB: Color = (20, 100, 70)
MISSED = "missed"
TRUE_BOX = "labeled box"
"""What stands at a dashed line that is a box, and not the outline of a mask."""
_MARGIN_GRAY: Final = 34


LEAST_SIDE: Final = 256
"""Images with a shorter side than this are enlarged on the canvas, pixels becoming squares."""
_LONGEST_ENLARGED: Final = 2048
LEAST_LETTERS: Final = 14
"""Smaller letters than this, in pixels, are not read on a picture shown at its own size."""
_LEAST_WIDTH: Final = 200


def enlargement(image_hw: tuple[int, int]) -> int:
    """How many canvas pixels a side a pixel of an image of this size becomes."""
    wanted = -(-LEAST_SIDE // min(image_hw))
    return max(1, min(wanted, _LONGEST_ENLARGED // max(image_hw)))


def line_width(canvas_hw: tuple[int, int]) -> int:
    """Line width in pixels that is seen on a canvas of this size."""
    return max(1, round(math.sqrt(canvas_hw[0] * canvas_hw[1]) / 400))


def letter_size(canvas_hw: tuple[int, int]) -> int:
    """Height of letters in pixels that are read on a canvas of this size."""
    return max(LEAST_LETTERS, round(math.sqrt(canvas_hw[0] * canvas_hw[1]) / 42))


def draw_overlay(
    image_rgb: Rgb,
    *,
    truth: Regions | None = None,
    prediction: Regions | None = None,
    pixel_scores: npt.NDArray[np.floating[Any]] | None = None,
    score_range: tuple[float, float] = (0.0, 1.0),
    image_score: CalibratedScore | None = None,
    threshold: float = THRESHOLD,
    class_names: Sequence[str] = (),
    match: RegionMatch | None = None,
    name: str = "",
    truth_type: str = "",
) -> Rgb:
    """Draw an overlay, with a banner above where there is a score.

    The banner says the verdict, and below it what is given: what the image is in truth, with the
    words escape or overkill where the verdict is wrong, and the image's name.

    Truth is a thin dashed black-and-white outline outside the mask, so that the defect stays to be
    seen; where only a box is known, it is the dashed box, with its name; a prediction is a solid
    one in the color of its type, with box, type and score: the two differ by line and not by
    color alone. Lines, letters and banner follow the canvas. No label lies over a defect: those
    without a free place stand in a strip below the image.

    The canvas has the image's own size; an image of less than 256 pixels a side is enlarged by a
    whole number, and one too narrow for the banner gets a gray margin at its right.

    Args:
        image_rgb: uint8 (H, W, 3).
        truth: regions to outline as truth.
        prediction: scored regions.
        pixel_scores: float (H, W), drawn as a heat map under the outlines.
        score_range: scores that are the ends of the heat map's colors.
        image_score: calibrated score for the verdict's banner.
        threshold: calibrated scores at or above it are defective.
        class_names: by label.
        match: of truth and prediction by the rule of the evaluation; missed defects and false
            alarms are then named so.
        name: of the image; its end is kept where it is too long.
        truth_type: what the image is in truth, `good` or a defect type; empty if not known.

    Returns:
        uint8 (banner + k H + strip, k W + margin, 3), k being `enlargement((H, W))`.

    Raises:
        ValueError: an image that is not uint8 (H, W, 3), or a map of another size.
    """
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
        raise ValueError(f"An image must be uint8 (H, W, 3), got {image_rgb.shape}.")
    image_hw = (image_rgb.shape[0], image_rgb.shape[1])
    if pixel_scores is None:
        canvas = image_rgb.copy()
    else:
        if pixel_scores.shape != image_hw:
            raise ValueError(f"The map is {pixel_scores.shape}, the image {image_hw}.")
        canvas = blend_heat_map(image_rgb, pixel_scores, score_range)
    scale = enlargement(image_hw)
    canvas = _enlarged(canvas, scale)
    canvas_hw = (canvas.shape[0], canvas.shape[1])
    width = line_width(canvas_hw)
    taken = np.zeros(canvas_hw, bool)
    for regions in (truth, prediction):
        if regions is not None:
            _take(taken, regions, scale)
    if prediction is not None:
        _draw_prediction(canvas, prediction, width, scale)
    if truth is not None:
        _draw_truth(canvas, truth, width, scale)
    labels = _labels(truth, prediction, class_names, match, scale)
    banner = None if image_score is None else _banner_text(image_score, threshold)
    size = letter_size(canvas_hw)
    least = _LEAST_WIDTH if labels else 0
    if banner is not None:
        least = max(least, math.ceil(font_of(size).getlength(banner)) + size)
    if canvas.shape[1] < least:
        margin = ((0, 0), (0, least - canvas.shape[1]))
        canvas = np.pad(canvas, (*margin, (0, 0)), constant_values=_MARGIN_GRAY)
        taken = np.pad(taken, margin)
    canvas = write_labels(canvas, labels, taken, size)
    if banner is not None and image_score is not None:
        color = _DEFECTIVE_RGB if image_score >= threshold else _GOOD_RGB
        told = truth_words(image_score >= threshold, truth_type)
        strip = _banner([banner, *told], name, color, canvas.shape[1], size)
        canvas = np.concatenate((strip, canvas))
    return canvas


def _enlarged(array: npt.NDArray[_Kind], scale: int) -> npt.NDArray[_Kind]:
    """Each pixel as a square; the array itself for a scale of 1."""
    return array if scale == 1 else array.repeat(scale, axis=0).repeat(scale, axis=1)


def _windows(regions: Regions, scale: int) -> Iterator[tuple[tuple[int, int], _Mask]]:
    """Each region's mask on the canvas, cut to what holds it: (left, top) and bool (h, w)."""
    height, width = regions.image_hw
    for number, box in enumerate(regions.boxes_xyxy.tolist()):
        x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
        x2, y2 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
        if regions.masks is None:
            mask: _Mask = np.ones((max(1, y2 - y1), max(1, x2 - x1)), bool)
        else:
            mask = decode_rle(regions.masks[number])[y1:y2, x1:x2]
        yield (x1 * scale, y1 * scale), _enlarged(mask, scale)


def _take(taken: _Mask, regions: Regions, scale: int) -> None:
    for (left, top), mask in _windows(regions, scale):
        part = taken[top : top + mask.shape[0], left : left + mask.shape[1]]
        part |= mask[: part.shape[0], : part.shape[1]]


def blend_heat_map(
    image_rgb: Rgb, pixel_scores: npt.NDArray[np.floating[Any]], score_range: tuple[float, float]
) -> Rgb:
    """Lay a heat map over an image; the higher the score, the less of the image is left."""
    blended = np.empty_like(image_rgb)
    for rows in strips(image_rgb.shape[0], image_rgb.shape[1]):
        scores = pixel_scores[rows]
        weight = (np.float32(0.75) * np.sqrt(_scaled(scores, score_range)))[..., None]
        colors = heat_rgb(scores, score_range)
        blended[rows] = np.rint(image_rgb[rows] * (1 - weight) + colors * weight)
    return blended


def heat_rgb(pixel_scores: npt.NDArray[np.floating[Any]], score_range: tuple[float, float]) -> Rgb:
    """The colors of a score map, float (H, W), alone: uint8 (H, W, 3)."""
    levels = np.rint(_scaled(pixel_scores, score_range) * 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.asarray(colors, np.uint8)


def _scaled(
    pixel_scores: npt.NDArray[np.floating[Any]], score_range: tuple[float, float]
) -> npt.NDArray[np.float32]:
    low, high = score_range
    scaled = np.clip((pixel_scores - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(scaled, np.float32)


def _draw_prediction(canvas: Rgb, prediction: Regions, width: int, scale: int) -> None:
    colors = [type_color_rgb(label) for label in prediction.labels.tolist()]
    if prediction.masks is not None:
        windows = _windows(prediction, scale)
        for color, ((left, top), mask) in zip(colors, windows, strict=True):
            part = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
            part[mask] = (0.75 * part[mask] + 0.25 * np.array(color)).astype(np.uint8)
            found, _ = cv2.findContours(
                mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top)
            )
            cv2.drawContours(canvas, found, -1, color, width)
    for color, box in zip(colors, prediction.boxes_xyxy.tolist(), strict=True):
        x1, y1, x2, y2 = (round(v * scale) for v in box)
        corner = (max(x1, x2 - 1), max(y1, y2 - 1))
        cv2.rectangle(canvas, (x1, y1), corner, BLACK, width + 2)
        cv2.rectangle(canvas, (x1, y1), corner, color, width)


def _draw_truth(canvas: Rgb, truth: Regions, width: int, scale: int) -> None:
    """Outline masks from outside; no pixel of a true region is changed but at the canvas' edge."""
    before = canvas.copy()
    inside = np.zeros(canvas.shape[:2], bool)
    _take(inside, truth, scale)
    reach = width // 2 + 1
    last = (canvas.shape[1] - 1, canvas.shape[0] - 1)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    for (left, top), mask in _windows(truth, scale):
        padded = np.pad(mask.view(np.uint8), reach)
        grown = cv2.dilate(padded, kernel)
        # RETR_CCOMP: holes are outlined too.
        found, _ = cv2.findContours(
            grown, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left - reach, top - reach)
        )
        for contour in found:
            # A region at the edge has no outside there: its outline runs along the edge.
            _dashed(canvas, np.clip(contour[:, 0], 0, last), width)
    inside[:width] = inside[-width:] = False
    inside[:, :width] = inside[:, -width:] = False
    canvas[inside] = before[inside]


def _dashed(canvas: Rgb, path: npt.NDArray[Any], width: int) -> None:
    """A closed line in dashes of black and white along points int (n, 2), a pixel apart."""
    dash = 4 * width + 2
    closed = np.concatenate((path, path[:1])).astype(np.int32)
    for color, first in ((WHITE, 0), (BLACK, dash)):
        pieces = [closed[at : at + dash + 1, None] for at in range(first, len(path), 2 * dash)]
        cv2.polylines(canvas, pieces, False, color, width)


def _name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label][:40] if label < len(class_names) else f"type {label}"


def _labels(
    truth: Regions | None,
    prediction: Regions | None,
    class_names: Sequence[str],
    match: RegionMatch | None,
    scale: int,
) -> list[Label]:
    """Labels, missed defects first, then predictions by score."""
    labels: list[Label] = []
    if truth is not None and match is not None:
        missed = truth.boxes_xyxy[np.flatnonzero(~match.found_truth)]
        labels = [Label(MISSED, WHITE, _scaled_box(box, scale)) for box in missed.tolist()]
    if truth is not None and truth.masks is None:
        found = np.ones(len(truth), bool) if match is None else match.found_truth
        for box in truth.boxes_xyxy[found].tolist():
            labels.append(Label(TRUE_BOX, WHITE, _scaled_box(box, scale)))
    if prediction is None:
        return labels
    scores = prediction.scores
    order = range(len(prediction)) if scores is None else np.argsort(-scores, kind="stable")
    for number in map(int, order):
        kind = int(prediction.labels[number])
        is_alarm = match is not None and bool(match.false_alarm[number])
        score = "" if scores is None else f" {float(scores[number]):.2f}"
        text = f"{'false alarm: ' if is_alarm else ''}{_name(kind, class_names)}{score}"
        box = _scaled_box(prediction.boxes_xyxy[number].tolist(), scale)
        labels.append(Label(text, type_color_rgb(kind), box))
    return labels


def _scaled_box(box: Sequence[float], scale: int) -> Box:
    x1, y1, x2, y2 = (value * scale for value in box)
    return x1, y1, x2, y2


def _short(threshold: float) -> str:
    # Two digits for 0.50; as many as it takes to tell 0.0012 from nothing.
    return f"{threshold:.2f}" if threshold == round(threshold, 2) else f"{threshold:.3g}"


def _banner_text(image_score: float, threshold: float) -> str:
    word, sign = ("DEFECTIVE", ">=") if image_score >= threshold else ("GOOD", "<")
    return f"{word}  {image_score:.3f} {sign} {_short(threshold)}"


def truth_words(called: bool, truth_type: str) -> list[str]:
    """What the banner says below the verdict, as lines; none where the truth is not known."""
    if not truth_type:
        return []
    bad = truth_type != GOOD
    word = "correct" if called == bad else "ESCAPE" if bad else "OVERKILL"
    return [f"{word}, truth: {truth_type}"]


def _banner(lines: Sequence[str], name: str, color: Color, width: int, size: int) -> Rgb:
    high, font = round(1.6 * size), font_of(size)
    texts = [fitting(line, font, width - size) for line in lines]
    if name:
        # Of a long name the end tells images apart.
        texts.append(fitting(name[::-1], font, width - size)[::-1])
    picture = Image.new("RGB", (width, high * len(texts)), color)
    draw = ImageDraw.Draw(picture)
    for number, text in enumerate(texts):
        place = (size / 2, high * number + 0.8 * size)
        draw.text(place, text, fill=WHITE, font=font, anchor="lm")
    return np.asarray(picture, np.uint8)
