"""Names of a package that are imported when they are first used.

A package that names its contents so can be asked what it is (its `register.py`, its settings)
without importing the framework that its networks need.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: its name.
        homes: module by public name.

    Example:
        >>> __getattr__, __dir__ = lazy_names("json", {"JSONDecoder": "json.decoder"})
        >>> __getattr__("JSONDecoder").__name__
        'JSONDecoder'
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
