"""Handing a watch's verdicts to other programs.

verdicts.jsonl is the outbox. Beside it stands, for every receiver, how far it has been delivered,
so that a receiver that is away gets everything once it is back, and a watch that was killed goes
on. A verdict is delivered at least once: a kill between a delivery and its note repeats that one,
and its `id` tells.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from annotations.errors import InputError, shortened
from annotations.files import read_json, write_json_atomic
from deployment.receivers import TIMEOUT_S, DeliveryError, Receiver, RefusedError, error_words

REFUSALS: Final = 5
"""Times that a receiver may refuse a verdict before it is put aside."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Note:
    """How many bytes of the outbox were delivered, and what the last line of them was."""

    path: Path

    def read(self, outbox: Path) -> int:
        if not self.path.is_file():
            return 0
        value = read_json(self.path, what="the note of what was delivered")
        if not isinstance(value, dict) or not _belongs(value, outbox):
            raise InputError(
                f"{self.path} does not belong to {outbox}. Remove it to deliver all verdicts again."
            )
        return int(value["delivered_bytes"])

    def write(self, receiver: str, done: int, line: bytes) -> None:
        last = hashlib.sha256(line).hexdigest()
        value = {"receiver": receiver, "delivered_bytes": done, "last_line_bytes": len(line)}
        write_json_atomic(self.path, value | {"last_line_sha256": last})


def _belongs(note: dict[str, Any], outbox: Path) -> bool:
    done, length = note.get("delivered_bytes"), note.get("last_line_bytes")
    if type(done) is not int or type(length) is not int or not 0 < length <= done:
        return False
    if not outbox.is_file() or outbox.stat().st_size < done:
        return False
    with outbox.open("rb") as file:
        file.seek(done - length)
        return hashlib.sha256(file.read(length)).hexdigest() == note.get("last_line_sha256")


class Handoff:
    """Delivers the lines of an outbox, in their order, in a thread of its own."""

    def __init__(
        self, outbox: Path, receiver: Receiver, *, say: Callable[[str], None] = lambda _text: None
    ) -> None:
        """Begin to deliver what is there and what comes.

        Args:
            outbox: verdicts.jsonl; may not be there yet.
            receiver: where the lines go.
            say: told when the receiver is away, and when it is back.

        Raises:
            InputError: the note beside the outbox belongs to another one.
        """
        digest = hashlib.sha256(receiver.name.encode()).hexdigest()[:8]
        self._note = _Note(outbox.with_name(f".delivered-{digest}.json"))
        self._outbox, self._receiver, self._say = outbox, receiver, say
        self._done = self._note.read(outbox)
        self._stop = threading.Event()
        self._aside = outbox.with_name(f"undelivered-{digest}.jsonl")
        self._refusals = self._n_aside = 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="handoff", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Verdicts that are not delivered yet."""
        if not self._outbox.is_file():
            return 0
        with self._outbox.open("rb") as file:
            file.seek(self._done)
            return sum(line.endswith(b"\n") for line in file)

    def stop(self) -> None:
        """Ask it to stop after the verdict that is being delivered; returns at once."""
        self._stop.set()

    def close(self, *, patience_s: float = 0.0) -> int:
        """Wait so long for the outbox to empty, then stop; the verdicts that are left, counted."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until and self._next_line() is not None:
            self._stop.wait(_POLL_S)
        self._stop.set()
        self._thread.join(timeout=2 * TIMEOUT_S)
        self._receiver.close()
        return self.waiting

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                if not self._deliver():
                    self._stop.wait(_POLL_S)
                    continue
            # The thread must not end: nothing would be delivered, and nobody be told.
            except (DeliveryError, OSError, ValueError, KeyError, TypeError) as error:
                before, self.problem = self.problem, error_words(error)
                if before is None:
                    self._say(f"{self.problem}. Verdicts are kept, and delivered when it is back.")
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            if self.problem is not None:
                self._say(f"{self._receiver.name} is back.")
            self.problem, pause = None, FIRST_PAUSE_S

    def _deliver(self) -> bool:
        """Deliver the next line; False where there is none."""
        line = self._next_line()
        if line is None:
            if self._outbox.is_file() and self._outbox.stat().st_size < self._done:
                self._say(
                    f"{self._outbox} is shorter than what was delivered to {self._receiver.name}: "
                    "what it holds now is delivered from its first line."
                )
                self._done = 0
            return False
        try:
            self._receiver.send(_payload(line))
            self._n_aside = 0
        except RefusedError as error:
            self._refusals += 1
            if self._refusals < REFUSALS:
                raise
            self._put_aside(line, error)
        self._refusals = 0
        self._done += len(line)
        self._note.write(self._receiver.name, self._done, line)
        return True

    def _put_aside(self, line: bytes, error: RefusedError) -> None:
        """Keep a verdict that is refused again and again, and go on with the next one."""
        row = json.loads(_payload(line)) | {"refused": str(error), "receiver": self._receiver.name}
        with self._aside.open("ab") as file:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if not self._n_aside:
            # Once for a row of them.
            self._say(
                f"{shortened(error)}, {REFUSALS} times for {row['file']}: it takes the verdict for "
                f"wrong. Given up, and kept in {self._aside}; the next ones are delivered."
            )
        self._n_aside += 1

    def _next_line(self) -> bytes | None:
        if not self._outbox.is_file():
            return None
        with self._outbox.open("rb") as file:
            file.seek(self._done)
            line = file.readline()
        return line if line.endswith(b"\n") else None


def _payload(line: bytes) -> bytes:
    """A verdict with its id: the same for the same file as it was, under the same bundle."""
    row = json.loads(line)
    facts = [row["bundle"], row["file"], row["bytes"], row["mtime_ns"]]
    # Lines of earlier versions have neither, and keep their ids.
    facts += [row[key] for key in ("ctime_ns", "inode") if key in row]
    key = json.dumps(facts)
    row["id"] = hashlib.sha256(key.encode()).hexdigest()
    return json.dumps(row, ensure_ascii=False).encode()
