"""The operating window as one page; it fetches nothing and runs no script."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from report.acceptance import percent
from report.html import csp_hash
from report.stress_charts import step_chart
from report.templating import joined_sources, page_environment

PICTURE_SIDE: Final = 200


@dataclass(frozen=True)
class Flipped:
    """An image whose verdict flips, before and after a change.

    Attributes:
        image_id: of the image.
        defect_type: `good` or the class.
        change: kind, value and unit, in words.
        score_before: calibrated, unchanged.
        score_after: calibrated, changed.
        before: uint8 (H, W, 3).
        after: uint8 (H, W, 3).
    """

    image_id: str
    defect_type: str
    change: str
    score_before: float
    score_after: float
    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]

    @property
    def pictures(self) -> tuple[str, str]:
        """Both as small JPEGs in the address itself."""
        return _picture(self.before), _picture(self.after)


def _picture(image_rgb: npt.NDArray[np.uint8]) -> str:
    scale = PICTURE_SIDE / max(image_rgb.shape[:2])
    if scale < 1:
        size = (
            max(1, round(image_rgb.shape[1] * scale)),
            max(1, round(image_rgb.shape[0] * scale)),
        )
        image_rgb = np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def stress_page(title: str, document: Mapping[str, Any], flipped: Sequence[Flipped]) -> bytes:
    """The page of an operating window, HTML.

    Args:
        title: name of the dataset.
        document: content of stress.json.
        flipped: images to show.
    """
    environment = page_environment(percent=percent)
    style = joined_sources(environment, ("report.css", "acceptance.css"))
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for cell in document["cells"]:
        ((name, value),) = cell["changes"].items()
        by_kind.setdefault(name, []).append({"value": value, **cell})
    page = environment.get_template("stress.html.j2").render(
        title=title,
        found=document,
        kinds=[(row, by_kind[row["change"]]) for row in document["window"]],
        charts=[
            step_chart(row, by_kind[row["change"]], document["unchanged"])
            for row in document["window"]
        ],
        flipped=flipped,
        # The file is ours; Markup keeps its quotes as they are.
        style=Markup(style),  # noqa: S704
        style_hash=csp_hash(style),
    )
    return page.encode("utf-8", "backslashreplace")
