"""The methods by name: whatever `Method` a file of `anomaly` or `supervised` defines."""

import importlib
import importlib.util
import inspect
import pkgutil
from functools import cache
from typing import Any

from classify import anomaly, supervised
from classify.config import config_class
from classify.method import Method


@cache
def all_methods() -> dict[str, type[Method[Any]]]:
    """Every method by name."""
    found: dict[str, type[Method[Any]]] = {}
    for package in (anomaly, supervised):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            found |= _defined_in(module.name)
    return dict(sorted(found.items()))


def method_named(name: str) -> type[Method[Any]]:
    """One method.

    Raises:
        UsageError: there is none of this name; the message names near ones.
    """
    wanted: str = config_class(name).model_fields["method"].default
    # Of a file of its name, that file alone: another's libraries take seconds to load.
    for package in (anomaly, supervised):
        own = f"{package.__name__}.{wanted.replace('-', '_')}"
        found = _defined_in(own) if importlib.util.find_spec(own) is not None else {}
        if wanted in found:
            return found[wanted]
    return all_methods()[wanted]


def _defined_in(module: str) -> dict[str, type[Method[Any]]]:
    return {
        value.name: value
        for value in vars(importlib.import_module(module)).values()
        if inspect.isclass(value) and issubclass(value, Method) and not inspect.isabstract(value)
    }
