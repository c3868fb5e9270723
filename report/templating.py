"""How the three pages are made of their templates."""

from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment(**filters: Callable[..., Any]) -> Environment:
    """Jinja2 with our templates, which escapes all text and refuses a name that is missing."""
    environment = Environment(
        loader=PackageLoader("report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment


def joined_sources(environment: Environment, names: Sequence[str]) -> str:
    """Style sheets or scripts one after the other, as they stand.

    Raises:
        ValueError: an environment without templates.
    """
    loader = environment.loader
    if loader is None:
        raise ValueError("The report's templates are missing; install the program again.")
    return "".join(loader.get_source(environment, name)[0] for name in names)
