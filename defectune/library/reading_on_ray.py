"""The reading of a conversion on Ray: a task a chunk; all else stays with the caller."""

import socket
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from annotations import InputError, UsageError
from converters.archive import is_zip
from converters.pool import Chunk, Pool, Read, read_chunk
from converters.read_options import ReadOptions
from defectune.library.environment import use_threads
from defectune.ray_tasks import Needs, enter, ray_tasks, shared, unseen

_OTHERS = "all that it links to"


def ray_pool(source: Path, address: str) -> Pool:
    """A pool that reads on Ray.

    Args:
        source: that every node must see under the same path.
        address: see `ray_tasks.require_answer`.

    Raises:
        UsageError: a .zip, which is unpacked on this machine alone.
    """
    if is_zip(source):
        raise UsageError(
            f"{source} is unpacked on this machine alone, where nodes of Ray do not see it. Unpack "
            "it yourself and give the folder, or use --on local."
        )
    return partial(_read, source, address)


def _read(
    source: Path, address: str, chunks: Iterator[Chunk], options: ReadOptions
) -> Iterator[list[Read]]:
    waiting: deque[Chunk] = deque()

    def calls() -> Iterator[tuple[Path, Path, Chunk, ReadOptions]]:
        here = Path.cwd()
        for chunk in chunks:
            waiting.append(chunk)
            yield here, source, chunk, options

    with ray_tasks(_read_there, Needs(what="a reading task"), address) as tasks:
        for node, found in tasks.in_order(calls()):
            chunk = waiting.popleft()
            if found and isinstance(found[-1], InputError):
                _require_same_fault(found[-1], chunk[len(found) - 1 : len(found)], options, node)
            yield found


def _read_there(
    here: Path, source: Path, chunk: Chunk, options: ReadOptions
) -> tuple[str, list[Read]]:
    use_threads(1)
    enter(here)
    if (why := unseen(source, _OTHERS)) is not None:
        raise InputError(why)
    return socket.gethostname(), read_chunk(chunk, options)


def _require_same_fault(fault: InputError, image: Chunk, options: ReadOptions, node: str) -> None:
    """Refuse a fault that only a node finds: files that it does not see, or others than here."""
    if not isinstance(read_chunk(image, options)[-1], InputError):
        raise InputError(
            f"The node {node} cannot read what can be read here: {fault} {shared(_OTHERS)}"
        )
