"""What is new in a folder, at a cost that does not grow with what has been there for long."""

import hashlib
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from annotations.images import is_image_path

AT_ONCE: Final = 2000
"""Files that have been judged whose facts are looked at again at each poll, in turn."""
RELIST_EVERY: Final = 64
"""Polls after which a folder is listed again although its time of change says nothing: network
drives tell it late."""
MOST_REMEMBERED: Final = 1_000_000
"""Files that are gone from the folder and still known, the latest; some 250 MB."""
_COARSE_NS: Final = 2_000_000_000
"""Times of change are whole or even seconds on some drives: within it a listing may be stale."""


class Facts(NamedTuple):
    """What the system says of a file: whatever is written to it changes one of them."""

    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def facts_of(path: Path) -> Facts | None:
    """Of a regular file or a link to one; None where there is none, or it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Facts(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def as_text(name: str) -> str:
    """A name that is not UTF-8 with its odd bytes as \\udcXX, since no line can hold them."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(slots=True)
class _Listing:
    """A folder as it was last listed."""

    mtime_ns: int
    listed_ns: int
    poll: int
    files: frozenset[str]
    folders: tuple[str, ...]


@dataclass
class FolderView:
    """A folder and its subfolders; names are paths in it with slashes.

    Attributes:
        folder: the folder.
        left_out: a folder in it that is not looked into, absolute.
    """

    folder: Path
    left_out: Path
    _listings: dict[str, _Listing] = field(default_factory=dict)
    _settled: dict[str, Facts] = field(default_factory=dict)
    _polls: int = 0
    _turn: int = 0

    def settle(self, name: str, facts: Facts) -> None:
        """Take a file for judged as it is; it comes again when its facts change."""
        self._settled[name] = facts

    def changed(self) -> Iterator[tuple[str, Path, Facts]]:
        """Files that are not settled, or no longer what they were when they were settled.

        A new name is found at the next call. New content under a settled name is found within
        `n / AT_ONCE` calls, n being the number of files.
        """
        self._polls += 1
        names = self._names()
        for gone in self._settled.keys() - names:
            del self._settled[gone]
        known = list(self._settled)
        turn = {known[(self._turn + n) % len(known)] for n in range(min(AT_ONCE, len(known)))}
        self._turn = (self._turn + len(turn)) % max(1, len(known))
        for name in sorted(turn | (names - self._settled.keys())):
            path = self.folder / name
            facts = facts_of(path)
            if facts is not None and self._settled.get(name) != facts:
                yield name, path, facts

    def is_here(self, name: str) -> bool:
        """Whether a file is still in the folder."""
        return name in self._settled or os.path.lexists(self.folder / name)

    def _names(self) -> set[str]:
        """All files with an image's name; folders that cannot be listed hold none."""
        found: dict[str, _Listing] = {}
        names: set[str] = set()
        todo = [""]
        while todo:
            place = todo.pop()
            listing = self._listing(place)
            if listing is None:
                continue
            found[place] = listing
            names.update(listing.files)
            todo.extend(listing.folders)
        self._listings = found
        return names

    def _listing(self, place: str) -> _Listing | None:
        path = self.folder / place
        before = self._listings.get(place)
        try:
            changed = path.stat().st_mtime_ns
            if (
                before is not None
                and before.mtime_ns == changed
                and before.listed_ns - changed > _COARSE_NS
                and self._polls - before.poll < RELIST_EVERY
            ):
                return before
            now = time.time_ns()
            files, folders = [], []
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = f"{place}/{entry.name}" if place else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if self.left_out != (self.folder / name).absolute():
                            folders.append(name)
                    elif is_image_path(Path(entry.name)):
                        files.append(name)
        except OSError:
            # Gone, or not to be read: other programs make and remove folders as they like.
            return None
        return _Listing(changed, now, self._polls, frozenset(files), tuple(folders))


class _Judged(NamedTuple):
    size_and_time: int
    identity: int | None
    digest: int | None


class Memory:
    """Which files have a verdict, as they were when they got it: three numbers each."""

    def __init__(self, is_here: Callable[[str], bool]) -> None:
        """Take who knows what is still in the folder: that is never forgotten."""
        self._judged: dict[int, tuple[str, _Judged]] = {}
        self._is_here = is_here
        self._most = MOST_REMEMBERED

    def __len__(self) -> int:
        return len(self._judged)

    def add(self, row: "dict[str, object]") -> None:
        """Remember a line of verdicts.jsonl.

        Raises:
            KeyError, TypeError, ValueError: it is no such line.
        """
        name = str(row["file"])
        inode, changed = row.get("inode"), row.get("ctime_ns")
        digest = row["image_sha256"] if row.get("image_sha256") is not None else None
        judged = _Judged(
            _number(int(str(row["bytes"])), int(str(row["mtime_ns"]))),
            None if inode is None else _number(int(str(changed)), int(str(inode))),
            None if digest is None else int(str(digest)[:16], 16),
        )
        key = _number(name)
        self._judged.pop(key, None)
        self._judged[key] = (name, judged)
        if len(self._judged) > self._most:
            self._forget()

    def _forget(self) -> None:
        """Let go of the oldest that are no longer in the folder."""
        spare = max(1, MOST_REMEMBERED // 10)
        gone = (key for key, (name, _) in self._judged.items() if not self._is_here(name))
        forgotten = list(itertools.islice(gone, spare))
        for key in forgotten:
            del self._judged[key]
        # Where nearly all are there, they are looked through again only when there are many more.
        few = len(forgotten) < spare
        self._most = max(MOST_REMEMBERED, len(self._judged) + spare) if few else MOST_REMEMBERED

    def knows(self, name: str, facts: Facts, digest: Callable[[], str]) -> bool:
        """Whether a file has a verdict as it is.

        Args:
            name: of the file.
            facts: of it.
            digest: its SHA-256, asked for where size and time of change are those of the verdict
                and the file itself is another: it was moved, or overwritten within one tick.
        """
        _, judged = self._judged.get(_number(name), ("", None))
        if judged is None or judged.size_and_time != _number(facts.bytes, facts.mtime_ns):
            return False
        same = judged.identity in (None, _number(facts.ctime_ns, facts.inode))
        return same or judged.digest == int(digest()[:16], 16)


def _number(*values: object) -> int:
    """64 bits of a digest."""
    text = "\0".join(map(str, values)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
