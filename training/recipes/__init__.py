"""Recipes: named settings of a family, in files that explain every value."""

import difflib
from pathlib import Path
from typing import Any, Final

from annotations import InputError, UsageError
from annotations.errors import shortened
from annotations.yaml_files import read_yaml

RECIPES_FOLDER: Final = Path(__file__).resolve().parent
DEFAULT_RECIPE: Final = "few-defects"
MAX_BYTES: Final = 100_000


def recipe_names(family: str) -> list[str]:
    """Names of the recipes of a family, sorted; empty for a family without any."""
    return sorted(path.stem for path in (RECIPES_FOLDER / family).glob("*.yaml"))


def read_recipe(family: str, recipe: str) -> dict[str, Any]:
    """Read a recipe.

    Args:
        family: detect, segment or classify.
        recipe: its name, or the path of a YAML file of your own.

    Returns:
        Settings; they are checked when a configuration is built from them.

    Raises:
        UsageError: there is no such recipe; near ones are named.
        InputError: the file is not a mapping in YAML.
    """
    names = recipe_names(family)
    path = RECIPES_FOLDER / family / f"{recipe}.yaml"
    if recipe not in names:
        path = Path(recipe)
        if path.suffix not in (".yaml", ".yml") or not _is_file(path):
            near = difflib.get_close_matches(recipe, names, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(
                f"There is no recipe {shortened(recipe)!r} for {family}.{hint} Known: "
                f"{', '.join(names)}; or give the path of a .yaml file."
            )
    values = read_yaml(path, what="recipe", max_bytes=MAX_BYTES)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"The recipe {path} should hold settings as `key: value`.")
    return values


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no system can hold
        return False
