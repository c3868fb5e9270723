"""An update of a dataset on disk: written beside, then moved into place, file by file.

All that changes is written into a hidden folder of the dataset. Renaming that folder is the moment
at which the update counts. From then on it is moved into place; a call that was killed in between
is finished by the next one, and nobody reads the dataset until then.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from annotations.files import read_json, remove_tree, write_json_atomic, write_text_atomic
from annotations.locks import refuse_link
from annotations.version_files import READY_FOLDER

_PART_FOLDER: Final = ".update-part"
_DONE_FOLDER: Final = ".update-done"
_FILES: Final = "files"
_JOURNAL: Final = "journal.json"
_MOVED: Final = "moved"
UPDATE_LOCK: Final = ".update.lock"


@dataclass(slots=True)
class Journal:
    """What an update does besides putting files into place; all paths relative to the dataset.

    Attributes:
        moves: (from, to, `move` or `copy`) of images that are set aside, or come back, in this
            order; they come before new files are put into place.
        removes: files that go away; none that the update writes.
    """

    moves: list[tuple[str, str, str]] = field(default_factory=list)
    removes: list[str] = field(default_factory=list)

    def sets_aside(self, source: str, target: str) -> None:
        """Move an image to where it is kept, before others come back under its name."""
        self.moves.insert(0, (source, target, "move"))

    def brings_back(self, source: str, target: str) -> None:
        """Move an image from where it is kept; several of the same bytes are copied but for one."""
        place = next((n for n, move in enumerate(self.moves) if move[0] == source), None)
        if place is not None:
            self.moves.insert(place, (source, target, "copy"))
        else:
            self.moves.append((source, target, "move"))


def begin(root: Path) -> Path:
    """Make the folder to write changed files into, as they shall stand in the dataset.

    What killed calls left is removed. The caller holds the lock.
    """
    for name in (_PART_FOLDER, _DONE_FOLDER):
        remove_tree(root / name)
    folder = root / _PART_FOLDER / _FILES
    folder.mkdir(parents=True)
    return folder


def abandon(root: Path) -> None:
    """Remove what was written, where it does not count yet."""
    remove_tree(root / _PART_FOLDER)


def finish(root: Path, journal: Journal) -> None:
    """Make what was written count, and move it into place."""
    write_json_atomic(
        root / _PART_FOLDER / _JOURNAL, {"moves": journal.moves, "removes": journal.removes}
    )
    (root / _PART_FOLDER).replace(root / READY_FOLDER)
    roll_forward(root)


def roll_forward(root: Path) -> bool:
    """Move a complete update into place, wherever a killed call stopped.

    Returns:
        False where there is none.
    """
    ready = root / READY_FOLDER
    if not ready.exists():
        return False
    refuse_link(ready)
    journal: Any = read_json(ready / _JOURNAL, what="the journal of an update")
    marker = ready / _MOVED
    done = int(marker.read_text(encoding="ascii")) if marker.is_file() else 0
    for number, (source, target, how) in enumerate(journal["moves"][done:], start=done + 1):
        _move(root / source, root / target, copy=how == "copy")
        write_text_atomic(marker, str(number))
    files = ready / _FILES
    for name in journal["removes"]:
        (root / name).unlink(missing_ok=True)
    for name in staged_files(files):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (files / name).replace(target)
    ready.replace(root / _DONE_FOLDER)
    remove_tree(root / _DONE_FOLDER)
    return True


def _move(source: Path, target: Path, *, copy: bool) -> None:
    # A link may lead nowhere by now: it is moved as it is.
    if not os.path.lexists(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        beside = target.with_name(f".{target.name}.copy")
        beside.unlink(missing_ok=True)
        shutil.copy2(source, beside, follow_symlinks=False)
        beside.replace(target)
    else:
        source.replace(target)


def _staged(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield Path(place, name).relative_to(folder).as_posix()


def staged_files(folder: Path) -> Sequence[str]:
    """Names of the files that were written so far, relative to the dataset."""
    return sorted(_staged(folder))
