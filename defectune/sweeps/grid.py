"""The grid file: what is trained on what, checked whole before anything runs."""

import difflib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotations import InputError
from annotations.dataset import COCO_ALL
from annotations.errors import DefectuneError, shortened
from annotations.yaml_files import read_yaml

MAX_CELLS: Final = 100_000
_OF_THE_GRID: Final = {"seed": "seeds", "fold": "folds"}
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Resources(_Strict):
    """What one cell takes; the same for all, so that results do not hang on how many run."""

    cpus: int = Field(default=1, ge=1, le=1024)
    """Threads of a cell. Sums of floating point hang on it, so it is set and not guessed."""
    gpus: float = Field(default=0, ge=0, le=64)
    """GPUs of a cell; 0.5 lets two share one."""
    memory_gb: float = Field(default=2, gt=0, le=4096)
    """Memory of a cell, in GB (1e9 bytes)."""


class Grid(_Strict):
    """What GRID.yaml holds."""

    datasets: list[str] = Field(min_length=1, max_length=10_000)
    """Converted datasets, or folders of them; relative to the grid's own folder."""
    runs: list[dict[str, Any]] = Field(min_length=1, max_length=10_000)
    """One a line of the table: family, name, recipe and settings; a list of values is tried
    value by value."""
    folds: Literal["all"] | list[Annotated[int, Field(ge=0)]] = "all"
    """Folds of each dataset's split."""
    seeds: list[Annotated[int, Field(ge=0, lt=1 << 32)]] = Field(
        default=[0], min_length=1, max_length=1000
    )
    """Seeds of all random numbers, a training each."""
    metrics: list[str] = Field(default=["image_auroc", "balanced_accuracy"], min_length=1)
    """One table each, by the names of leaderboard.json; the first one decides."""
    resources: Resources = Resources()
    search: dict[str, Any] = {}
    """For --search N: a setting each, with a list of values, or `low` and `high` with `log: true`
    or a `step`."""


@dataclass(frozen=True)
class Model:
    """A line of the table.

    Attributes:
        name: plain, unique in the grid.
        family: detect, segment or classify.
        settings: the family's whole configuration, without what is the default.
    """

    name: str
    family: str
    settings: Mapping[str, Any]


def read_grid(path: Path) -> Grid:
    """Read and check a grid file.

    Raises:
        InputError: not YAML, unknown keys or values (near ones are named), or a bad value.
    """
    value = read_yaml(path, what="a grid of a sweep")
    return parse_grid(value, source=str(path))


def parse_grid(value: Any, *, source: str) -> Grid:
    """Check a grid that is at hand as plain values.

    Args:
        value: of the YAML file.
        source: where it stands, for messages.

    Raises:
        InputError: see `read_grid`.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{source} should hold `key: value` with datasets and runs.")
    _require_known(value, list(Grid.model_fields), what="key", source=source)
    resources = value.get("resources")
    if isinstance(resources, Mapping):
        fields = list(Resources.model_fields)
        _require_known(resources, fields, what="key of resources", source=source)
    try:
        grid = Grid.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{source}: {shortened(place)} = {shortened(first['input'], 80)} is not possible: "
            f"{shortened(first['msg'])}."
        ) from error
    from evaluation import METRIC_NAMES

    _require_known(grid.metrics, METRIC_NAMES, what="metric", source=source)
    for what, values in (
        ("datasets", grid.datasets), ("seeds", grid.seeds), ("folds", grid.folds),
        ("metrics", grid.metrics),
    ):  # fmt: skip
        if values != "all" and (len(set(values)) != len(values) or not values):
            raise InputError(f"{source}: {what} should be one or more, each once.")
    return grid


def _require_known(
    given: Sequence[str] | Mapping[str, Any], known: Sequence[str], *, what: str, source: str
) -> None:
    for key in given:
        if not isinstance(key, str) or key not in known:
            near = difflib.get_close_matches(str(key)[:80], known, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise InputError(
                f"{source}: unknown {what} {shortened(repr(key), 80)}.{hint} Known: "
                f"{', '.join(known)}."
            )


def models_of(grid: Grid, *, source: str) -> list[Model]:
    """The lines of the table, in the grid's order; every setting is checked.

    Raises:
        InputError: an unknown family, recipe, setting or value, or two of one name.
    """
    made: list[Model] = []
    for number, entry in enumerate(grid.runs, start=1):
        made += _models(entry, f"{source}, run {number}")
    for model in made:
        if sum(model.name == other.name for other in made) > 1:
            raise InputError(
                f"{source}: two runs are called {model.name!r}. Give each a `name` of its own."
            )
    return made


def _models(entry: Mapping[str, Any], source: str) -> list[Model]:
    from defectune.families import choose_config
    from training.registry import families

    family = entry.get("family")
    known = families()
    if not isinstance(family, str) or family not in known:
        near = difflib.get_close_matches(str(family)[:80], known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"{source}: family should be {', '.join(known)}, got "
            f"{shortened(repr(family), 80)}.{hint}"
        )
    for key, instead in _OF_THE_GRID.items():
        if key in entry:
            raise InputError(f"{source}: `{key}` stands in the grid's own `{instead}`.")
    given = {key: value for key, value in entry.items() if key not in ("name", "family")}
    varied = [key for key, value in given.items() if isinstance(value, list)]
    choices = [given[key] if key in varied else [given[key]] for key in given]
    if any(not values for values in choices):
        raise InputError(f"{source}: a list of values is empty.")
    if math.prod(len(values) for values in choices) > MAX_CELLS:
        raise InputError(f"{source}: more than {MAX_CELLS:,} combinations of values.")
    made = []
    for combination in itertools.product(*choices):
        chosen = dict(zip(given, combination, strict=True))
        recipe = chosen.pop("recipe", None)
        # `model` is every family's word for its network, as in `dt.train`.
        key = known[family].model_key
        model = chosen.pop("model", None)
        model = chosen.pop(key, model)
        try:
            config, default = choose_config(
                family,
                recipe=None if recipe is None else str(recipe),
                model=None if model is None else str(model),
                values=chosen,
            )
        except DefectuneError as error:
            raise InputError(f"{source}: {shortened(error, 600)}") from error
        name = str(entry["name"]) if "name" in entry else default
        values = dict(zip(given, combination, strict=True))
        # What the default name says already is not said again.
        said = () if "name" in entry else ("method", "model", "recipe", "oversample")
        tail = [f"{k}-{values[k]}" for k in varied if k not in said or str(values[k]) not in name]
        settings = config.model_dump(mode="json", exclude={"seed"})
        made.append(Model(plain_name("-".join([name, *tail]), source), family, settings))
    return made


def plain_name(text: str, source: str) -> str:
    """A name for files and tables: letters, digits, `.`, `_` and `-`; others become `-`.

    Raises:
        InputError: nothing is left, or it is longer than 80 characters.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    if not _PLAIN.fullmatch(name):
        raise InputError(
            f"{source}: the name {shortened(repr(text), 80)} should begin with a letter or digit "
            "and have at most 80 characters. Give a `name`."
        )
    return name


def dataset_folders(grid: Grid, base: Path, *, source: str) -> dict[str, Path]:
    """The datasets by name, in the grid's order; those of a parent by name.

    Raises:
        InputError: a folder that is neither a dataset nor holds any, or two of one name.
    """
    found: dict[str, Path] = {}
    for text in grid.datasets:
        if not text.strip() or "\0" in text:
            raise InputError(f"{source}: a dataset should be a path, got {text!r}.")
        root = base / text
        folders = [root] if (root / COCO_ALL).is_file() else sorted(_inside(root))
        if not folders:
            raise InputError(
                f"{source}: {root} is no converted dataset, and holds none. Make one with "
                "`defectune convert SRC OUT`."
            )
        for folder in folders:
            name = plain_name(folder.resolve().name, source)
            if name in found:
                raise InputError(
                    f"{source}: two datasets are called {name!r}: {found[name]} and {folder}. "
                    "Rename one's folder."
                )
            found[name] = folder.resolve()
    return found


def _inside(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in root.iterdir() if (path / COCO_ALL).is_file()]
