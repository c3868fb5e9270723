"""Bounding the threads of NumPy's linear algebra and of OpenCV while an image is computed.

ONNX Runtime is told its number of threads when a graph is loaded; the product of patches with a
memory, and resizing, take all cores for themselves unless they are told, too. Both numbers belong
to the process (in newer OpenBLAS to the calling thread): they are lent, and every caller gives them
back when its image is done, or leaves them to those that are still at work.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

_lock = threading.Lock()
_asked: list[int] = []
_before: list[tuple[Any, int]] = []


@contextmanager
def at_most_threads(count: int) -> Iterator[None]:
    """Bound threads for a while; of several at once, the smallest bound holds.

    Args:
        count: threads; 0 bounds nothing.
    """
    if not count:
        yield
        return
    with _lock:
        _asked.append(count)
        if not _before:
            _before.extend((one, one.num_threads) for one in (*_libraries(), _OpenCv()))
        _bound()
    try:
        yield
    finally:
        with _lock:
            _asked.remove(count)
            _bound()
            if not _asked:
                _before.clear()


def _bound() -> None:
    """Set every library to the smallest of what is asked and what it had."""
    for library, had in _before:
        library.set_num_threads(min([had, *_asked]))


@functools.cache
def _libraries() -> tuple[Any, ...]:
    """NumPy's linear algebra and its like, found once: looking for them takes milliseconds."""
    import threadpoolctl

    return tuple(threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers)


class _OpenCv:
    """OpenCV as threadpoolctl shows a library."""

    @property
    def num_threads(self) -> int:
        return cv2.getNumThreads()

    def set_num_threads(self, count: int) -> None:
        cv2.setNumThreads(count)
