"""Small pictures for the page."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from annotations.files import write_bytes_atomic


def write_jpeg(path: Path, picture: npt.NDArray[np.uint8], limit: int, quality: int) -> None:
    """Write an RGB picture, uint8 (H, W, 3), made smaller to at most `limit` pixels a side."""
    scale = limit / max(picture.shape[:2])
    if scale < 1:
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    write_bytes_atomic(path, data.tobytes())
