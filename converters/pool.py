"""Reading many images, in as many processes as there are cores, in their order."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Final

import cv2

from annotations import InputError, UsageError
from annotations.workers import Worker, WorkerEnded, can_start
from converters.facts import ImageFacts
from converters.layouts.source import SourceImage
from converters.read_options import ReadOptions
from converters.reading import read_one

CHUNK: Final = 16
MIN_IMAGES_FOR_POOL: Final = 200
"""Below that, starting processes takes longer than reading."""

Chunk = list[SourceImage]
Read = ImageFacts | InputError
Pool = Callable[[Iterator[Chunk], ReadOptions], Iterator[list[Read]]]
"""Reads chunks by `read_chunk`, wherever it likes, and gives what came of them in their order."""


def read_all(
    images: Sequence[SourceImage],
    options: ReadOptions,
    *,
    workers: int | None = 1,
    pool: Pool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[ImageFacts]:
    """Read all images, in their order whatever the number of processes.

    Args:
        images: as a layout found them.
        options: what to do with the truth.
        workers: processes; 1 reads in this one; None takes one per core where there are at least
            `MIN_IMAGES_FOR_POOL` images. At most a few chunks of images are under way at a time.
        pool: reads in place of processes of this machine; `workers` is then without effect.
        progress: called with images done and images in all.

    Yields:
        Facts, one for every image.

    Raises:
        UsageError: less than one worker.
        InputError: of the first image, in order, that has a fault.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers needs at least 1, got {workers}.")
    if workers is None:
        workers = usable_cores() if len(images) >= MIN_IMAGES_FOR_POOL else 1
    if pool is not None:
        facts = _facts(pool(_chunks(images, CHUNK), options.pickled()))
    elif workers == 1 or len(images) < 2:
        facts = (read_one(image, options) for image in images)
    else:
        facts = _read_in_pool(images, options.pickled(), workers)
    for number, one in enumerate(facts, start=1):
        if progress is not None:
            progress(number, len(images))
        yield one


def usable_cores() -> int:
    """Cores that this process may use."""
    # What this process may use can be less than what the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_chunk(images: Chunk, options: ReadOptions) -> list[Read]:
    """Facts of images, up to the first that has a fault; the error stands in its place."""
    result: list[Read] = []
    for image in images:
        try:
            result.append(read_one(image, options))
        except InputError as error:
            result.append(error)
            break
    return result


def _chunks(images: Sequence[SourceImage], size: int) -> Iterator[Chunk]:
    return (list(images[i : i + size]) for i in range(0, len(images), size))


def _facts(chunks: Iterable[list[Read]]) -> Iterator[ImageFacts]:
    for chunk in chunks:
        for one in chunk:
            if isinstance(one, InputError):
                raise one
            yield one


def _read_in_worker(images: Chunk, options: ReadOptions) -> list[Read]:
    cv2.setNumThreads(1)
    return read_chunk(images, options)


def _read_in_pool(
    images: Sequence[SourceImage], options: ReadOptions, workers: int
) -> Iterator[ImageFacts]:
    size = max(1, min(CHUNK, -(-len(images) // workers)))
    chunks = _chunks(images, size)
    # A frozen program has no interpreter to start. Its threads wait for each other where Python
    # itself computes, so that they are slower than processes, and as right.
    processes = [Worker() for _ in range(workers)] if can_start() else []
    idle: SimpleQueue[Worker] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def read(chunk: Chunk) -> list[Read]:
        if not processes:
            return read_chunk(chunk, options)
        process = idle.get()
        try:
            return process.call(_read_in_worker, chunk, options)
        finally:
            idle.put(process)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    waiting: deque[Future[list[Read]]] = deque()
    try:
        for chunk in itertools.islice(chunks, 4 * workers):
            waiting.append(pool.submit(read, chunk))
        while waiting:
            done = waiting.popleft().result()
            for chunk in itertools.islice(chunks, 1):
                waiting.append(pool.submit(read, chunk))
            yield from _facts([done])
    except WorkerEnded as error:
        raise InputError(
            "A reading process was ended by the system, most likely for want of memory. Use fewer "
            "(--workers 1)."
        ) from error
    finally:
        for future in waiting:
            future.cancel()
        for process in processes:
            process.end()
        pool.shutdown(wait=True, cancel_futures=True)
