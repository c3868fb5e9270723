"""The methods by name. Whatever `Method` a file of this folder defines is one of them."""

import difflib
import importlib
import inspect
import pkgutil
from functools import cache

from annotations import UsageError
from classify.config import DISTANCES
from classify.methods.base import Method


@cache
def all_methods() -> dict[str, type[Method]]:
    """Every method by name."""
    found: dict[str, type[Method]] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if (
                inspect.isclass(value)
                and issubclass(value, Method)
                and not inspect.isabstract(value)
            ):
                found[value.name] = value
    return dict(sorted(found.items()))


def method_named(name: str) -> type[Method]:
    """One method.

    Raises:
        UsageError: there is none of this name; near ones are told.
    """
    known = all_methods()
    if name not in known:
        near = difflib.get_close_matches(name, [*known, *DISTANCES], n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(
            f"Unknown method {name!r}.{hint} Known: {', '.join(known)}; {' and '.join(DISTANCES)} "
            "are pretrained with that distance."
        )
    return known[name]


__all__ = ["Method", "all_methods", "method_named"]
