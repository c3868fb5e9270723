"""A verdict for every new file in a folder, once each, whatever kills the watch."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from annotations.errors import ImageReadError, InputError, OutputExistsError, shortened
from annotations.images import is_image_path, read_image_rgb, sha256_of
from annotations.locks import hold_lock
from annotations.scores import CalibratedScore
from annotations.scoring.decision import decide
from deployment.bundle import Bundle

VERDICTS_FILE: Final = "verdicts.jsonl"
LOCK_FILE: Final = ".lock"

Key = tuple[str, int, int]
"""A file's path in the folder, bytes, and time of change in nanoseconds: a file that is written
again is a new one."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch.

    Attributes:
        interval_s: seconds between two looks at the folder; a file whose size and time of change
            are the same at both is taken to be whole.
        patience_s: seconds without a change after which a file that cannot be decoded is a row
            with its error, and not one that is still being written.
        once: stop when every file that is there has a row.
    """

    interval_s: float = 0.5
    patience_s: float = 5.0
    once: bool = False


def watch(
    bundle: Bundle,
    folder: Path,
    output: Path,
    options: WatchOptions = WatchOptions(),
    *,
    told: Callable[[dict[str, Any]], None] = lambda _row: None,
    begun: Callable[[], None] = lambda: None,
) -> int:
    """Give a verdict on every new image of a folder and its subfolders.

    Appends one JSON line for each to verdicts.jsonl: file, time, bundle digest, threshold, image
    hash, verdict, score, regions, error. A line is on the disk before the next image is looked at;
    after a kill, files with a line do not get another, and those without do.

    Args:
        bundle: an opened one.
        folder: where images arrive.
        output: folder of verdicts.jsonl.
        options: how to watch.
        told: called with every row.
        begun: called once, when the output is this watch's own.

    Returns:
        Rows written by this call; without `once` it never returns.

    Raises:
        InputError: no such folder, or a verdicts.jsonl that is damaged, or removed meanwhile.
        OutputExistsError: another watch writes to this output.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} to watch.")
    output.mkdir(parents=True, exist_ok=True)
    with hold_lock(
        output / LOCK_FILE,
        lambda who: OutputExistsError(f"Another watch writes to {output}{who}. Stop that first."),
    ):
        path = output / VERDICTS_FILE
        done = _done(path)
        begun()
        seen: dict[Key, float] = {}
        written = 0
        with path.open("a", encoding="utf-8", newline="\n") as file:
            while True:
                waiting = 0
                for key, image in _files(folder, output):
                    if key in done:
                        continue
                    now = time.monotonic()
                    since = seen.setdefault(key, now)
                    row = None
                    if now > since:
                        row = _row(bundle, key, image, now - since >= options.patience_s)
                    if row is None:
                        waiting += 1
                        continue
                    _require_same(file, path)
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                    done.add(key)
                    seen.pop(key, None)
                    written += 1
                    told(row)
                if options.once and not waiting:
                    return written
                time.sleep(options.interval_s)


def _row(bundle: Bundle, key: Key, image: Path, patience_is_over: bool) -> dict[str, Any] | None:
    """The verdict on a file; None while it is still being written."""
    row: dict[str, Any] = {
        "file": key[0],
        "bytes": key[1],
        "mtime_ns": key[2],
        "time": datetime.now(UTC).isoformat(),
        "bundle": bundle.digest,
        "threshold": bundle.threshold,
        "image_sha256": None,
        "verdict": None,
        "score": None,
        "regions": None,
        "error": None,
    }
    try:
        image_rgb = read_image_rgb(image, bit_depth=bundle.bit_depth)
        row["image_sha256"] = sha256_of(image)
    except FileNotFoundError:
        return None
    except (ImageReadError, OSError) as error:
        if not patience_is_over:
            return None
        return row | {"error": _as_text(str(error))}
    if _key(image, key[0]) != key:
        # Written to while it was read.
        return None
    verdict = decide(
        bundle.raw_prediction(image.name, image_rgb),
        bundle.thresholds,
        CalibratedScore(bundle.threshold),
    )
    return row | {
        "verdict": "defective" if verdict.defective else "good",
        "score": verdict.score,
        "regions": None if verdict.regions is None else len(verdict.regions),
    }


def _require_same(file: IO[str], path: Path) -> None:
    """Refuse to write on into a file that was removed: its lines would be lost."""
    try:
        same = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        same = False
    if not same:
        raise InputError(
            f"{path} was removed or replaced while the watch wrote to it. Watch again: every file "
            "without a line in it gets one."
        )


def _as_text(name: str) -> str:
    """A name that is not UTF-8 with its odd bytes as \\udcXX, since no line can hold them."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _key(path: Path, name: str) -> Key | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return name, facts.st_size, facts.st_mtime_ns


def _files(folder: Path, output: Path) -> Iterator[tuple[Key, Path]]:
    left_out = output.absolute()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not is_image_path(path):
            continue
        if path.absolute().is_relative_to(left_out) or not path.is_file():
            continue
        key = _key(path, _as_text(name.as_posix()))
        if key is not None:
            yield key, path


def _done(path: Path) -> set[Key]:
    """Files with a line; a line that a kill left half is cut off."""
    if not path.is_file():
        return set()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        rows = [json.loads(line) for line in whole.decode("utf-8").split("\n") if line]
        return {(str(r["file"]), int(r["bytes"]), int(r["mtime_ns"])) for r in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({shortened(error)}). Move it away, and watch "
            f"again: every file gets a row."
        ) from error
