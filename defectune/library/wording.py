"""Options in a message, as one says them in Python."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, get_args, get_origin

_AT_THE_LINE: ContextVar[bool] = ContextVar("at the command line", default=False)
_COMMAND: Final = re.compile(r"(`[^`\s-][^`]*\s[^`]*`)")
"""A command to be typed, which stays one."""
_ARGUMENT: Final = re.compile(r"`([^`\s]+)`")
# Elsewhere than at the end of its clause, a word may be prose.
_OPTION: Final = re.compile(
    r"(?<![\w-])--(?P<name>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?![\w-])"
    r"(?:[ =](?P<value>"
    r"\"[^\"]*\"|'[^']*'"  # quoted
    r"|[\w:/-]+=[\w#:/.,=-]*\w"  # OLD=NEW
    r"|-?\d+(?:\.\d+)?(?![\w.]*\w)"  # a number
    r"|[A-Z]+(?![\w])"  # a stand-in, such as CLASS
    r"|(?!or\b|and\b)[a-z][\w:/-]*(?=[.,;:)]|$)"  # a word that ends its clause
    r"))?"
)
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?|N")


@contextmanager
def at_the_line() -> Iterator[None]:
    """Within this, messages are for somebody who typed a command."""
    before = _AT_THE_LINE.set(True)
    try:
        yield
    finally:
        _AT_THE_LINE.reset(before)


def as_called(text: str, signature: inspect.Signature) -> str:
    """A message in the words of the one who called: as it is at the line, else `in_python`."""
    return text if _AT_THE_LINE.get() else in_python(text, signature)


def in_python(text: str, signature: inspect.Signature) -> str:
    """Turn the options in a message into arguments of a function.

    Args:
        text: one message. Commands in backticks stay as they are, and so do options that the
            function does not have.
        signature: of the function.

    Examples:
        >>> def read(workers: int = 1, layout: str = "auto", find: bool = True): ...
        >>> in_python("Use --workers 1, --layout coco or --no-find.", inspect.signature(read))
        "Use workers=1, layout='coco' or find=False."
    """
    parts = _COMMAND.split(text)
    parts[::2] = [_OPTION.sub(_replacement(signature), part) for part in parts[::2]]
    return "".join(parts)


def in_flags(text: str, names: Mapping[str, str]) -> str:
    """Turn the arguments that a docstring names in backticks into options.

    Args:
        text: of a docstring.
        names: of every parameter, as it is typed.

    Examples:
        >>> in_flags("Done unless `group_by` is given.", {"group_by": "--group-by"})
        'Done unless --group-by is given.'
    """
    return _ARGUMENT.sub(lambda match: names.get(match[1], match[1]), text)


def _replacement(signature: inspect.Signature) -> Callable[["re.Match[str]"], str]:
    parameters = signature.parameters
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def replace(match: "re.Match[str]") -> str:
        name, value = match["name"].replace("-", "_"), match["value"]
        switched = name in parameters or not name.startswith("no_")
        name = name if switched else name.removeprefix("no_")
        if name == "set" and name not in parameters and takes_more:
            key, sign, given = (value or "").partition("=")
            return f"{key}={_literal(given, None)}" if sign else "a keyword"
        if name not in parameters and not takes_more:
            return match[0]
        hint = parameters[name].annotation if name in parameters else None
        if bool in (hint, *get_args(hint)) and str not in (hint, *get_args(hint)):
            # What follows a switch is no value of it.
            end = "" if value is None else match[0][match.end("name") - match.start() :]
            return f"{name}={switched}{end}"
        return name if value is None else f"{name}={_literal(value, hint)}"

    return replace


def _literal(value: str, hint: Any) -> str:
    value = value if value[:1] not in "\"'" or len(value) < 2 else value[1:-1]
    kinds = {get_origin(part) or part for part in (hint, *get_args(hint))}
    if Mapping in kinds and str not in kinds:
        old, sign, new = value.partition("=")
        return repr({old: new}) if sign else value
    if _NUMBER.fullmatch(value):
        return value
    return repr([value]) if get_origin(hint) is Sequence else repr(value)
