"""Where labels of an overlay stand: beside what they name, over no defect, none cut off."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from report.palette import Color

MOST_LABELS: Final = 60
"""More labels than these hide the image; those of the highest scores are written."""
_BLACK: Color = (0, 0, 0)
_STRIP_RGB: Color = (34, 34, 34)
_SEARCH_PIXELS: Final = 500
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its text, its color, and the box x1, y1, x2, y2 of what it names."""

    text: str
    color: Color
    box: Box


def font_of(size: int) -> Font:
    """The font of overlays; `size` in pixels."""
    return ImageFont.load_default(size)


def fitting(text: str, font: Font, width: float) -> str:
    """The text, or as much of its beginning as is not wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…" if text else ""


@dataclass
class Places:
    """What of a canvas is taken.

    Attributes:
        taken: bool (H, W), pixels that no label may cover.
    """

    taken: npt.NDArray[np.bool_]
    _labels: list[Box] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Searched on a smaller grid: a cell is taken where any of its pixels is.
        height, width = self.taken.shape
        self._step = max(1, -(-max(height, width) // _SEARCH_PIXELS))
        rows, columns = -(-height // self._step), -(-width // self._step)
        padded = np.zeros((rows * self._step, columns * self._step), bool)
        padded[:height, :width] = self.taken
        cells = padded.reshape(rows, self._step, columns, self._step).any(axis=(1, 3))
        self._sums = cv2.integral(np.asarray(cells, np.uint8))

    def is_free(self, box: Box) -> bool:
        """True where a label in this box lies on the canvas, on no defect and on no label."""
        x1, y1, x2, y2 = box
        height, width = self.taken.shape
        if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
            return False
        left, top = int(x1 // self._step), int(y1 // self._step)
        right, bottom = int(-(-x2 // self._step)), int(-(-y2 // self._step))
        sums = self._sums
        if sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]:
            return False
        return all(x2 <= a or c <= x1 or y2 <= b or d <= y1 for a, b, c, d in self._labels)

    def take(self, around: Box, width: float, height: float, gap: float) -> Box | None:
        """Take the free place nearest to a box: above, below, beside, then somewhat farther."""
        x1, y1, x2, y2 = around
        most_x, most_y = self.taken.shape[1] - width, self.taken.shape[0] - height
        near = [
            (x1, y1 - height - gap), (x1, y2 + gap), (x2 + gap, y1), (x1 - width - gap, y1),
            (x2 - width, y1 - height - gap), (x2 - width, y2 + gap),
        ]  # fmt: skip
        far = [
            (x, y)
            for ring in range(1, 7)
            for y in (y1 - height * (1 + ring / 2) - gap, y2 + gap + height * ring / 2)
            for x in (x1, x1 - width / 2, x1 + width / 2, x2)
        ]
        # Pushed back onto the canvas: a label is never cut off.
        for x, y in near + far:
            left, top = min(max(0.0, x), most_x), min(max(0.0, y), most_y)
            box = (left, top, left + width, top + height)
            if self.is_free(box):
                self._labels.append(box)
                return box
        return None


def write_labels(
    canvas: npt.NDArray[np.uint8],
    labels: Sequence[Label],
    taken: npt.NDArray[np.bool_],
    size: int,
) -> npt.NDArray[np.uint8]:
    """Write labels onto a canvas, uint8 (H, W, 3).

    Args:
        canvas: left as it is.
        labels: the most important first; those beyond `MOST_LABELS` are counted in words.
        taken: bool (H, W), pixels that no label may cover.
        size: of the letters, in pixels.

    Returns:
        uint8 (H + strip, W, 3): labels for which the image has no free place stand in a strip
        below it, which is there only where it is needed.
    """
    if not labels:
        return canvas
    font, pad = font_of(size), max(2, size // 6)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    places = Places(taken)
    below: list[Label] = []
    high = size + 2 * pad
    for label in labels[:MOST_LABELS]:
        text = fitting(label.text, font, canvas.shape[1] - 2 * pad)
        box = places.take(label.box, font.getlength(text) + 2 * pad, high, pad)
        if box is None:
            below.append(label)
            continue
        draw.rectangle(box, fill=_BLACK)
        middle = (box[1] + box[3]) / 2
        draw.text((box[0] + pad, middle), text, fill=label.color, font=font, anchor="lm")
    left_out = len(labels) - MOST_LABELS
    if left_out > 0:
        below.append(Label(f"and {left_out} more", (255, 255, 255), (0, 0, 0, 0)))
    if not below:
        return np.asarray(picture, np.uint8)
    strip = Image.new("RGB", (canvas.shape[1], high * len(below)), _STRIP_RGB)
    draw = ImageDraw.Draw(strip)
    for number, label in enumerate(below):
        text = fitting(label.text, font, canvas.shape[1] - 2 * pad)
        middle = high * (number + 0.5)
        draw.text((pad, middle), text, fill=label.color, font=font, anchor="lm")
    return np.concatenate((np.asarray(picture, np.uint8), np.asarray(strip, np.uint8)))
