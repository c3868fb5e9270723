"""Layers that the viewer stacks over an image: truth, masks and boxes as SVG, the heat map."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from annotations import Regions, decode_rle
from annotations.files import write_text_atomic
from report.overlay import heat_rgb
from report.palette import type_colour_rgb
from report.pictures import write_jpeg

HEAT_PIXELS: Final = 512
MOST_REGIONS: Final = 500
"""Regions drawn in a layer; the highest-scoring ones where there are more."""
_THIN: Final = 'vector-effect="non-scaling-stroke"'


def outline_path(mask: npt.NDArray[np.bool_]) -> str:
    """Outlines of a mask, bool (H, W), as an SVG path that fills by the even-odd rule.

    Points are pixels' middles, so that outlines run half a pixel inside the mask's edge.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for contour in found:
        points = " ".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in contour[:, 0].tolist())
        parts.append(f"M{points}Z")
    return "".join(parts)


def truth_svg(truth: Regions) -> str:
    """True regions as dashed black-and-white outlines."""
    paths = [outline_path(mask) for mask in _masks(truth)]
    body = "".join(
        f'<path d="{path}" stroke="#fff" stroke-width="3"/>'
        f'<path d="{path}" stroke="#000" stroke-width="3" stroke-dasharray="6 6"/>'
        for path in paths
    )
    return _svg(truth.image_hw, f'<g fill="none">{body}</g>')


def masks_svg(found: Regions) -> str:
    """Found masks, filled in the colour of their type."""
    body = "".join(
        f'<path d="{outline_path(mask)}" fill="{_hex(label)}" fill-opacity="0.45" '
        f'stroke="{_hex(label)}" stroke-width="2"/>'
        for mask, label in zip(_masks(found), found.labels.tolist(), strict=False)
    )
    return _svg(found.image_hw, f'<g fill-rule="evenodd">{body}</g>')


def boxes_svg(found: Regions, class_names: Sequence[str]) -> str:
    """Found boxes with type and score."""
    size = max(8.0, min(found.image_hw) / 40)
    body = []
    scores = found.scores if found.scores is not None else np.zeros(len(found))
    for (x1, y1, x2, y2), label, score in zip(
        found.boxes_xyxy.tolist(), found.labels.tolist(), scores.tolist(), strict=True
    ):
        colour = _hex(label)
        text = escape(f"{class_names[label]} {score:.2f}")
        body.append(
            f'<rect x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}" fill="none" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x1:g}" y="{max(size, y1 - size / 4):g}" font-size="{size:g}" '
            f'fill="{colour}" stroke="#000" stroke-width="3" paint-order="stroke" '
            f'font-family="sans-serif">{text}</text>'
        )
    return _svg(found.image_hw, "".join(body))


def write_layers(
    folder: Path,
    name: str,
    *,
    found: Regions | None,
    class_names: Sequence[str],
    pixel_scores: npt.NDArray[np.floating[Any]] | None = None,
    score_range: tuple[float, float] = (0.0, 1.0),
) -> dict[str, str]:
    """Write a prediction's layers.

    Args:
        folder: of the report.
        name: of the files, without extension.
        found: regions that count as found, or None.
        class_names: by label.
        pixel_scores: float (H, W), or None.
        score_range: scores at the ends of the heat map's colours.

    Returns:
        File by layer (`masks`, `boxes`, `heat`), relative to the folder; what there is.
    """
    made: dict[str, str] = {}
    if found is not None:
        kept = _highest(found)
        if kept.masks is not None and len(kept):
            made["masks"] = f"layers/{name}-masks.svg"
            write_text_atomic(folder / made["masks"], masks_svg(kept))
        made["boxes"] = f"layers/{name}-boxes.svg"
        write_text_atomic(folder / made["boxes"], boxes_svg(kept, class_names))
    if pixel_scores is not None:
        made["heat"] = f"layers/{name}-heat.jpg"
        write_jpeg(folder / made["heat"], heat_rgb(pixel_scores, score_range), HEAT_PIXELS, 85)
    return made


def _highest(found: Regions) -> Regions:
    if len(found) <= MOST_REGIONS or found.scores is None:
        return found
    places = np.sort(np.argsort(-found.scores, kind="stable")[:MOST_REGIONS])
    return found[places]


def _masks(regions: Regions) -> list[npt.NDArray[np.bool_]]:
    return [] if regions.masks is None else [decode_rle(rle) for rle in regions.masks]


def _hex(label: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*type_colour_rgb(label))


def _svg(image_hw: tuple[int, int], body: str) -> str:
    height, width = image_hw
    # Lines keep their width on the screen however far one zooms in.
    body = body.replace("<path ", f"<path {_THIN} ").replace("<rect ", f"<rect {_THIN} ")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{body}</svg>'
    )
