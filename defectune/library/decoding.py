"""Reading images ahead of the network."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from annotations import ImageReadError, read_image_rgb
from inference.base import ImageRgb

AHEAD: Final = 2
"""Images that are decoded while the network looks at those before."""


def decoded(
    paths: Sequence[Path], bit_depth: int | None
) -> Iterator[tuple[Path, ImageRgb | Exception]]:
    """Images in order, a few of them decoded ahead in threads; an error in an image's place."""
    waiting: deque[tuple[Path, Future[ImageRgb]]] = deque()
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode") as threads:
        try:
            for path in paths:
                waiting.append((path, threads.submit(read_image_rgb, path, bit_depth=bit_depth)))
                if len(waiting) > AHEAD:
                    yield _taken(*waiting.popleft())
            while waiting:
                yield _taken(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _taken(path: Path, future: "Future[ImageRgb]") -> tuple[Path, ImageRgb | Exception]:
    try:
        return path, future.result()
    except (ImageReadError, OSError) as error:
        return path, error
