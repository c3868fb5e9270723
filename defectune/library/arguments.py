"""Arguments of the public functions: checked against their own annotations, and normalized."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import (
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from annotations import Dataset, DefectuneError, UsageError, load_dataset
from annotations.errors import shortened
from defectune.library.options import documentation, expanded, option_of
from defectune.library.wording import as_called

P = ParamSpec("P")
R = TypeVar("R")

Place = str | PathLike[str]
"""A file or a folder."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the annotations of a function, before it begins.

    Messages name options as the command line has them; of an error that leaves the function, they
    are turned into its arguments, unless the command line called it.

    Raises:
        UsageError: from the wrapped function; says what was expected and what was found.
    """
    whole = expanded(inspect.signature(function))
    hints = {name: option_of(parameter.annotation) for name, parameter in whole.parameters.items()}
    signature = whole.replace(
        parameters=[p.replace(annotation=hints[p.name][0]) for p in whole.parameters.values()]
    )

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            parameter, least = signature.parameters[name], hints[name][1].least
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            if not _fits(value, parameter.annotation):
                raise UsageError(
                    f"{function.__name__}() takes {_words(parameter.annotation)} as {name!r}, got "
                    f"{shortened(repr(value), 80)} ({type(value).__name__})."
                )
            if least is not None and isinstance(value, int | float) and not value >= least:
                text = f"--{name.replace('_', '-')} needs at least {least:g}, got {value}."
                raise UsageError(as_called(text, signature))
        try:
            return function(*args, **kwargs)
        except DefectuneError as error:
            if len(error.args) == 1 and isinstance(error.args[0], str):
                error.args = (as_called(error.args[0], signature),)
            raise

    # Shown by help() and editors, without what only the command line needs.
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__doc__ = documentation(function)
    return call


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    # Names in quotes stand for types that are too heavy to import for a check.
    if hint in (Any, inspect.Parameter.empty) or isinstance(hint, str):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(one, parts[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if hint in (int, float):
        number = Integral if hint is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, types.NoneType if hint is None else origin or hint)


def _words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is Sequence:
        return f"a list of {_words(parts[0])}"
    if origin is Mapping:
        return "a mapping"
    if (origin or hint) is PathLike:
        return "Path"
    return "None" if hint in (None, types.NoneType) else str((origin or hint).__name__)


def several(value: Any) -> Sequence[Any]:
    """A list or tuple as it is, anything else as the only member of one."""
    return value if isinstance(value, list | tuple) else [value]


def as_path(place: Place, *, what: str) -> Path:
    """A path of text or of a Path.

    Raises:
        UsageError: an empty text, or one that no file system can hold.
    """
    text = str(place)
    if not text.strip() or "\0" in text:
        raise UsageError(f"The {what} should be a path, got {shortened(repr(text), 80)}.")
    return Path(place)


def as_dataset(dataset: Dataset | Place) -> Dataset:
    """A dataset that is loaded, or the one in a folder.

    Raises:
        InputError: not a converted dataset, or a damaged one.
        UsageError: an empty path.
    """
    if isinstance(dataset, Dataset):
        return dataset
    return load_dataset(as_path(dataset, what="dataset"))
