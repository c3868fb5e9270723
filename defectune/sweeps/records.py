"""A sweep's folder: what is done, what failed, and the datasets as the cells see them.

sweep.json          marker: format, split digests by dataset
cells/NAME.json     a finished cell's result, whole or not there
failures/NAME.json  a failed cell's error and tries; gone once it succeeds
data/DATASET/       links to the dataset's files, and runs of its own: the dataset itself
                    gets no run, and no leaderboard is written
table.*             the table; index.html is the page
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from annotations import InputError, OutputExistsError, SplitMismatchError
from annotations.files import read_json, remove_dead_files, write_json_atomic
from annotations.run_files import LEADERBOARD_FILE, REPORT_FOLDER, RUNS_FOLDER
from defectune.sweeps.cells import Cell

FORMAT: Final = "defectune-sweep-1"
SWEEP_FILE: Final = "sweep.json"
LOCK_FILE: Final = "sweep.lock"
CELLS_FOLDER: Final = "cells"
FAILURES_FOLDER: Final = "failures"
DATA_FOLDER: Final = "data"
_OWN: Final = frozenset({str(RUNS_FOLDER), LEADERBOARD_FILE, REPORT_FOLDER})

Result = Mapping[str, Any]


def open_sweep(
    output: Path, datasets: Mapping[str, Path], cells: Sequence[Cell], *, resume: bool
) -> None:
    """Make a sweep's folder, or go on in one of the same splits.

    Raises:
        OutputExistsError: `output` holds something else, or `resume` is False and it was begun.
        SplitMismatchError: a dataset has another split than when the sweep was begun.
        InputError: a damaged sweep.json, or links cannot be made here.
    """
    digests = {cell.dataset: cell.split_digest for cell in cells}
    marker = output / SWEEP_FILE
    if marker.is_file():
        if not resume:
            raise OutputExistsError(f"{output} holds a sweep. Choose another --output.")
        digests = _digests_before(marker) | _checked(output, _digests_before(marker), digests)
    elif output.exists() and any(p.name != LOCK_FILE for p in _entries(output)):
        raise OutputExistsError(
            f"{output} holds something that is not a sweep; it is left as it is. Choose another "
            "--output."
        )
    for folder in (output, output / CELLS_FOLDER, output / FAILURES_FOLDER):
        folder.mkdir(parents=True, exist_ok=True)
        remove_dead_files(folder)
    write_json_atomic(marker, {"format": FORMAT, "datasets": digests})
    for name, root in datasets.items():
        link_dataset(root, output / DATA_FOLDER / name)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file. Choose another --output.")
    return list(folder.iterdir())


def _digests_before(marker: Path) -> dict[str, str]:
    value = read_json(marker, what="the marker of a sweep")
    try:
        if value["format"] != FORMAT:
            raise ValueError("another format")
        return {str(name): str(digest) for name, digest in value["datasets"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{marker} is no marker of a sweep. Choose another --output.") from error


def _checked(output: Path, before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            raise SplitMismatchError(
                f"The sweep in {output} was begun with {name} under the split "
                f"{before[name][:12]}…, and it has {digest[:12]}… now: cells of both do not stand "
                "in one table. Choose another --output, or restore the dataset."
            )
    return dict(now)


def link_dataset(root: Path, view: Path, *, without: Sequence[str] = ()) -> None:
    """Make a folder of links to a dataset's files, so that runs stand beside it and not in it.

    Args:
        root: the dataset.
        view: the folder; links that are there already stay.
        without: further names that get no link.

    Raises:
        InputError: something else is in a link's way, or the file system takes none.
    """
    view.mkdir(parents=True, exist_ok=True)
    for path in root.iterdir():
        if path.name in {*_OWN, *without} or path.name.startswith("."):
            continue
        link = view / path.name
        if link.is_symlink() and link.readlink() != path:
            link.unlink()
        if not link.is_symlink():
            try:
                link.symlink_to(path, target_is_directory=path.is_dir())
            except FileExistsError as error:
                raise InputError(f"{link} is in the way. Remove it and go on.") from error
            except OSError as error:
                raise InputError(
                    f"{view} takes no links ({error.strerror}). Put --output on a file system "
                    "that does; on Windows, allow links in the developer settings."
                ) from error


def view_of(output: Path, cell: Cell) -> Path:
    """The dataset as the cell sees it."""
    return output / DATA_FOLDER / cell.dataset


def result_path(output: Path, cell: Cell) -> Path:
    """Where a cell's result stands once it has one."""
    return output / CELLS_FOLDER / f"{cell.name}.json"


def write_result(output: Path, cell: Cell, result: Result) -> None:
    """Keep a finished cell's result, whole or not at all."""
    said = {k: v for k, v in asdict(cell).items() if k not in ("settings",)}
    write_json_atomic(
        result_path(output, cell),
        {"format": FORMAT, **said, "settings": dict(cell.settings), **result},
    )
    with contextlib.suppress(OSError):
        (output / FAILURES_FOLDER / f"{cell.name}.json").unlink(missing_ok=True)


def write_failure(output: Path, cell: Cell, error: str, trace: str, tries: int) -> None:
    """Keep why a cell failed; on a full disk, the message on the screen has to do."""
    with contextlib.suppress(OSError):
        write_json_atomic(
            output / FAILURES_FOLDER / f"{cell.name}.json",
            {"name": cell.name, "key": cell.key, "error": error, "tries": tries, "trace": trace},
        )


def read_results(output: Path, cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """Results of the cells that are done, by name.

    Raises:
        InputError: a damaged result.
        OutputExistsError: one of other settings, or of another version of the program.
    """
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        path = result_path(output, cell)
        if not path.is_file():
            continue
        value = read_json(path, what="a cell's result")
        try:
            key, before = value["key"], value["version"]
            numbers = [float(value["seconds"]), float(value["peak_gb"])]
            if not isinstance(value["metrics"], dict) or min(numbers) < 0:
                raise ValueError("no metrics or negative numbers")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is damaged. Remove it, and the cell is done again."
            ) from error
        if key != cell.key:
            other = "with other settings"
            if before != cell.version:
                other = (
                    f"by version {str(before)[:40]!r} of the program, and this is {cell.version!r}"
                )
            elif value.get("threads") != cell.threads:
                other = f"with {value.get('threads')} threads, and this call takes {cell.threads}"
            raise OutputExistsError(
                f"{path} was made {other}: the two do not stand in one table. Choose another "
                "--output, or rename the run in the grid."
            )
        found[cell.name] = value
    return found


def seconds_left(
    cells: Sequence[Cell], results: Mapping[str, Result], workers: int
) -> float | None:
    """How long cells that are not done may take, from those that are; None where none is.

    A cell takes the mean of its model's done cells, else the mean of all.
    """
    if not results:
        return None
    taken: dict[str, list[float]] = {}
    for result in results.values():
        taken.setdefault(str(result["model"]), []).append(float(result["seconds"]))
    every = [s for seconds in taken.values() for s in seconds]
    total = 0.0
    for cell in cells:
        if cell.name not in results:
            known = taken.get(cell.model, every)
            total += sum(known) / len(known)
    return total / workers
