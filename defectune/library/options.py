"""What the command line shows of a library function's parameter; without heavy imports."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin


@dataclass(frozen=True)
class Option:
    """What the command line shows of a parameter, beside its type, default and docstring.

    Attributes:
        group: heading in the help.
        metavar: stand-in for the value, such as FOLDER.
        name: where the parameter's own name would hide a builtin: `--format`.
        named: an option at the line (`--output FOLDER`), though Python takes it by position too.
        least: smallest value of a number.
        lone_dash: a single `-` is a value and not the beginning of an option.
    """

    group: str = ""
    metavar: str = ""
    name: str = ""
    named: bool = False
    least: float | None = None
    lone_dash: bool = False


NO_OPTION: Final = Option()


def option_of(hint: Any) -> tuple[Any, Option]:
    """The type of a parameter without its metadata, and the `Option` in that."""
    if get_origin(hint) is not Annotated:
        return hint, NO_OPTION
    kind, *rest = get_args(hint)
    return kind, next((one for one in rest if isinstance(one, Option)), NO_OPTION)
