"""The methods by name: whatever `Method` a file of `anomaly` or `supervised` defines."""

import importlib
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
            for value in vars(importlib.import_module(module.name)).values():
                if (
                    inspect.isclass(value)
                    and issubclass(value, Method)
                    and not inspect.isabstract(value)
                ):
                    found[value.name] = value
    return dict(sorted(found.items()))


def method_named(name: str) -> type[Method[Any]]:
    """One method.

    Raises:
        UsageError: there is none of this name; the message names near ones.
    """
    return all_methods()[config_class(name).model_fields["method"].default]
