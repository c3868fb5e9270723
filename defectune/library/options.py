"""What the command line shows of a library function's parameter; without heavy imports."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Unpack, get_args, get_origin


@dataclass(frozen=True)
class Option:
    """What the command line shows of a parameter, beside its type, default and docstring.

    Attributes:
        group: heading in the help.
        metavar: stand-in for the value, such as FOLDER.
        name: where the parameter's own name would hide a builtin: `--format`.
        named: an option at the line (`--output FOLDER`), though Python takes it by position too.
        least: smallest value of a number.
        default: of an option that several functions share (see `expanded`).
        lone_dash: a single `-` is a value and not the beginning of an option.
    """

    group: str = ""
    metavar: str = ""
    name: str = ""
    named: bool = False
    least: float | None = None
    lone_dash: bool = False
    default: Any = None


NO_OPTION: Final = Option()


def option_of(hint: Any) -> tuple[Any, Option]:
    """The type of a parameter without its metadata, and the `Option` in that."""
    if get_origin(hint) is not Annotated:
        return hint, NO_OPTION
    kind, *rest = get_args(hint)
    return kind, next((one for one in rest if isinstance(one, Option)), NO_OPTION)


def defaults_of(shared: type) -> dict[str, Any]:
    """Defaults of shared options by name.

    Args:
        shared: a `TypedDict` of `Annotated` types, each with an `Option`.
    """
    return {name: option_of(hint)[1].default for name, hint in shared.__annotations__.items()}


def shared_by(parameter: inspect.Parameter) -> type | None:
    """The options that a parameter stands for: `**name: Unpack[OPTIONS]`; None for any other."""
    if parameter.kind is parameter.VAR_KEYWORD and get_origin(parameter.annotation) is Unpack:
        kind: type = get_args(parameter.annotation)[0]
        return kind
    return None


def expanded(signature: inspect.Signature) -> inspect.Signature:
    """A signature with each of the options that it shares as a parameter of its own.

    They stand in front of the first own option under a heading that they have, too, so that the
    help has one order of headings for all functions that share them.
    """
    own = [p for p in signature.parameters.values() if shared_by(p) is None]
    for parameter in signature.parameters.values():
        shared = shared_by(parameter)
        if shared is None:
            continue
        made = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=shared.__annotations__[name],
            )
            for name, default in defaults_of(shared).items()
        ]
        headings = {option_of(one.annotation)[1].group for one in made}
        at = next(
            (n for n, one in enumerate(own) if option_of(one.annotation)[1].group in headings),
            len(own),
        )
        own[at:at] = made
    return signature.replace(parameters=own)


def documentation(function: Callable[..., Any]) -> str | None:
    """A docstring in which the options that a function shares stand one by one, for `help()`."""
    text = inspect.getdoc(function)
    for parameter in inspect.signature(function).parameters.values():
        shared = shared_by(parameter)
        if shared is None or text is None:
            continue
        listed = (inspect.getdoc(shared) or "").partition("Attributes:\n")[2].rstrip()
        before, line, after = text.partition(f"\n    {parameter.name}: ")
        if line:
            text = f"{before}\n{listed}\n{after.partition(chr(10))[2]}"
    return text
