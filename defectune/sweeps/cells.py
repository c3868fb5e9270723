"""Cells: one training and its evaluation each, with stable names, order and keys."""

import difflib
import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from annotations import InputError, UsageError, load_dataset
from annotations.errors import shortened
from annotations.files import MAX_NAME_BYTES
from annotations.images import sha256_of
from defectune.sweeps.grid import MAX_CELLS, Grid, Model

_ROOM: Final = 60
"""Bytes that temporary names and endings add to a cell's."""


@dataclass(frozen=True)
class Cell:
    """One call of `dt.train` and `dt.evaluate`.

    Attributes:
        name: of its files and its run, unique in the grid.
        dataset: the dataset's name.
        model: the line of the table.
        family: detect, segment or classify.
        settings: the family's configuration, with the seed.
        fold: of the split.
        seed: of everything random.
        split_digest: of the dataset's split.
        threads: that it computes with.
        tested: whether test images are evaluated; a search looks at validation images alone.
        version: of the program, with the digest of its code.
        key: SHA-256 over split, settings, fold, threads and the program's version.
    """

    name: str
    dataset: str
    model: str
    family: str
    settings: Mapping[str, Any]
    fold: int
    seed: int
    split_digest: str
    threads: int
    version: str
    tested: bool = True
    key: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", _key(self))


def _key(cell: Cell) -> str:
    said: list[Any] = [
        cell.split_digest, cell.family, dict(cell.settings), cell.fold, cell.version, cell.tested,
        cell.threads,
    ]  # fmt: skip
    weights = Path(str(cell.settings.get("weights", "")))
    # A file of weights may change under its name.
    if weights.suffix and weights.is_file():
        said.append(sha256_of(weights))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def cells_of(grid: Grid, models: Sequence[Model], datasets: Mapping[str, Path]) -> list[Cell]:
    """All cells: dataset by dataset, model by model, fold by fold, seed by seed.

    Raises:
        InputError: a fold that a split does not have, two cells of one name, or too many.
        DefectuneError: a dataset that cannot be read.
    """
    from defectune.program import program_version

    cells: list[Cell] = []
    for dataset, root in datasets.items():
        split = load_dataset(root).split
        folds = range(len(split.folds)) if grid.folds == "all" else grid.folds
        for fold in folds:
            if fold >= len(split.folds):
                raise InputError(
                    f"The grid asks for fold {fold}, and {root} has {len(split.folds)}, from 0."
                )
        if len(cells) + len(models) * len(folds) * len(grid.seeds) > MAX_CELLS:
            raise InputError(f"The grid has more than {MAX_CELLS:,} cells. Divide it.")
        cells += [
            Cell(
                name=f"{dataset}--{model.name}--fold-{fold}--seed-{seed}",
                dataset=dataset,
                model=model.name,
                family=model.family,
                settings={**model.settings, "seed": seed},
                fold=fold,
                seed=seed,
                split_digest=split.digest,
                threads=grid.resources.cpus,
                version=program_version(),
            )
            for model in models
            for fold in folds
            for seed in grid.seeds
        ]
    _require_distinct(cells)
    return cells


def _require_distinct(cells: Sequence[Cell]) -> None:
    seen: set[str] = set()
    for cell in cells:
        # Some systems tell no capital letters apart.
        if cell.name.lower() in seen:
            raise InputError(f"Two cells are called {cell.name}. Rename a run or a dataset.")
        if len(cell.name) > MAX_NAME_BYTES - _ROOM:
            raise InputError(f"The cell's name {shortened(cell.name, 80)} is too long. Shorten it.")
        seen.add(cell.name.lower())


def select_cells(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Cells whose names match one of the patterns (`bottle--*`), all where there is none.

    Raises:
        UsageError: a pattern that matches no cell; near names are given.
    """
    if not only:
        return list(cells)
    for pattern in only:
        if not any(fnmatch.fnmatchcase(cell.name, pattern) for cell in cells):
            near = difflib.get_close_matches(
                pattern[:200], [c.name for c in cells], n=3, cutoff=0.4
            )
            hint = f"near ones: {', '.join(near)}" if near else f"the first is {cells[0].name}"
            raise UsageError(
                f"--only {shortened(pattern, 80)!r} matches none of the {len(cells)} cells; {hint}."
                " A pattern takes * and ?."
            )
    return [c for c in cells if any(fnmatch.fnmatchcase(c.name, pattern) for pattern in only)]
