"""A verdict for every new file in a folder, once each, whatever kills the watch."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from annotations.cameras import camera_hint
from annotations.errors import ImageReadError, InputError, OutputExistsError, shortened
from annotations.images import read_image_rgb, sha256_of
from annotations.locks import LOCK_FILE, hold_lock
from annotations.scores import CalibratedScore
from deployment.bundle import Bundle
from deployment.seen import Facts, FolderView, Memory, as_text, facts_of
from inference.decision import decide

VERDICTS_FILE: Final = "verdicts.jsonl"


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
    on_row: Callable[[dict[str, Any]], None] = lambda _row: None,
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
        on_row: called with every row.
        begun: called once, when the output is this watch's own.

    Returns:
        Rows written by this call; without `once` it never returns.

    Raises:
        InputError: no such folder, an output that holds it, or a verdicts.jsonl that is damaged, or
            removed meanwhile.
        OutputExistsError: another watch writes to this output.
    """
    if not folder.is_dir():
        raise InputError(camera_hint(folder) or f"There is no folder {folder} to watch.")
    _require_beside(folder, output)
    output.mkdir(parents=True, exist_ok=True)
    with hold_lock(
        output / LOCK_FILE,
        lambda who: OutputExistsError(f"Another watch writes to {output}{who}. Stop that first."),
    ):
        path = output / VERDICTS_FILE
        view = FolderView(folder, output.absolute())
        memory = _remembered(path, view)
        begun()
        written = 0
        waiting: dict[str, tuple[Facts, float]] = {}
        with path.open("a", encoding="utf-8", newline="\n") as file:
            while True:
                before, waiting = waiting, {}
                for name, image, facts in view.changed():
                    text = as_text(name)
                    if _knows(memory, text, facts, image):
                        view.settle(name, facts)
                        continue
                    now = time.monotonic()
                    known, since = before.get(name, (None, now))
                    row = None
                    if known == facts and now > since:
                        row = _row(bundle, text, facts, image, now - since >= options.patience_s)
                    if row is None:
                        waiting[name] = (facts, since if known == facts else now)
                        continue
                    _require_same(file, path)
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                    memory.add(row)
                    view.settle(name, facts)
                    written += 1
                    on_row(row)
                if options.once and not waiting:
                    return written
                time.sleep(options.interval_s)


def _require_beside(folder: Path, output: Path) -> None:
    """Refuse an output that holds the watched folder: nothing in an output is judged."""
    if folder.resolve().is_relative_to(output.resolve()):
        where = "is" if folder.resolve() == output.resolve() else "lies above"
        raise InputError(
            f"The output {output} {where} the watched folder {folder}. What lies in an output is "
            "no new image, so that nothing would be judged. Choose a folder beside it, such as "
            f"{folder.resolve().parent / 'verdicts'}."
        )


def _knows(memory: Memory, name: str, facts: Facts, image: Path) -> bool:
    try:
        return memory.knows(name, facts, lambda: sha256_of(image))
    except OSError:
        return False


def _row(
    bundle: Bundle, name: str, facts: Facts, image: Path, patience_is_over: bool
) -> dict[str, Any] | None:
    """The verdict on a file; None while it is still being written."""
    row: dict[str, Any] = {
        "file": name,
        **facts._asdict(),
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
        row["image_sha256"] = sha256_of(image)
        image_rgb = read_image_rgb(image, bit_depth=bundle.bit_depth)
        if facts_of(image) != facts:
            # Written to while it was read.
            return None
        verdict = decide(
            bundle.raw_prediction(image.name, image_rgb),
            bundle.thresholds,
            CalibratedScore(bundle.threshold),
        )
    except FileNotFoundError:
        return None
    except (ImageReadError, OSError) as error:
        return row | {"error": as_text(str(error))} if patience_is_over else None
    except Exception as error:
        # One file, whatever it is, must not end the watch: those after it would get no verdict.
        words = f"The image {image} gets no verdict ({type(error).__name__}: {shortened(error)})."
        return row | {"error": as_text(words)} if patience_is_over else None
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


def _remembered(path: Path, view: FolderView) -> Memory:
    """Files with a line; a line that a kill left half is cut off."""
    memory = Memory(view.is_here)
    if not path.is_file():
        return memory
    whole = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                memory.add(json.loads(line))
                whole += len(line)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({shortened(error)}). Move it away, and watch "
            f"again: every file gets a row."
        ) from error
    if whole < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(whole)
    return memory
