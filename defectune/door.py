"""Commands made of library functions: their signatures, types, defaults and docstrings.

cyclopts builds a command from a signature and parses what is typed. This module says how a
parameter of ours looks at the line: what is positional, what a type becomes, where its help is.
"""

import ast
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from cyclopts import App, Group, Parameter

from defectune.library.options import Option, expanded, option_of, shared_by
from defectune.library.wording import in_flags

NOT_AT_THE_LINE: Final = ("progress",)
"""Parameters that only Python has."""
Arguments = Mapping[str, Any]
Show = Callable[..., int | None]


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        name: as it is typed; `bundle check` stands below `bundle`.
        function: the library function that it is, as `module:name`.
        show: prints what that returns, and gives the exit status (None is 0), as `module:name`.
            Called with the result, the arguments by name, and its own keyword arguments, which
            are options of the command as well.
        examples: calls to show in the help.
    """

    name: str
    function: str
    show: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One argument or option of a command.

    Attributes:
        name: of the parameter.
        kind: of the parameter, as `inspect` has it.
        hint: its type.
        default: its default, or `inspect.Parameter.empty`.
        text: what the help says of it.
        option: how it looks at the line.
    """

    name: str
    kind: Any
    hint: Any
    default: Any
    text: str
    option: Option

    @property
    def flag(self) -> str:
        """The option as typed, such as `--min-area`; empty for a positional argument."""
        if self.kind is not inspect.Parameter.KEYWORD_ONLY and not self.option.named:
            return ""
        return self.option.name or f"--{self.name.replace('_', '-')}"

    @property
    def heading(self) -> str:
        """The heading in the help that an option stands under."""
        return self.option.group or "Options"

    @property
    def metavar(self) -> str:
        """The stand-in of a positional argument, or of an option's value; empty for the type's."""
        return self.option.metavar or ("" if self.flag else self.name.upper())


def summary(reference: str) -> str:
    """The first paragraph of a function's docstring, read without importing its module.

    Args:
        reference: the function, as `module:name`.
    """
    module, _, name = reference.partition(":")
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    texts = [
        ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    return " ".join(texts[-1].partition("\n\n")[0].split())


def _source(module: str) -> Path:
    # Of the package alone: finding a submodule would import all packages above it.
    package, *rest = module.split(".")
    spec = find_spec(package)
    folder = Path(str(spec.origin)).parent if spec is not None else Path()
    return folder.joinpath(*rest).with_suffix(".py")


def entries_of(function: Callable[..., Any], *, named: bool = False) -> Iterator[Entry]:
    """The arguments and options of a function, in its order.

    Args:
        function: with a docstring that explains every parameter under Args.
        named: leave out what can be given by position.

    Raises:
        KeyError: a parameter that the docstring does not explain.
    """
    plain = inspect.unwrap(function)
    signature = inspect.signature(plain)
    texts = argument_texts(plain)
    for parameter in signature.parameters.values():
        shared = shared_by(parameter)
        texts |= argument_texts(shared) if shared is not None else {}
    for parameter in expanded(signature).parameters.values():
        by_position = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if parameter.name in NOT_AT_THE_LINE or (named and by_position):
            continue
        hint, option = option_of(parameter.annotation)
        text = texts[parameter.name]
        yield Entry(parameter.name, parameter.kind, hint, parameter.default, text, option)


def argument_texts(function: Callable[..., Any] | type) -> dict[str, str]:
    """What a docstring says of each parameter under Args, or Attributes, on one line each."""
    from docstring_parser import parse
    from docstring_parser.common import DocstringStyle

    found = parse(inspect.getdoc(function) or "", style=DocstringStyle.GOOGLE).params
    return {one.arg_name: " ".join((one.description or "").split()) for one in found}


def command_app(command: Command, *, loaded: bool) -> App:
    """The command for cyclopts.

    Args:
        command: one of the table.
        loaded: with its options, which imports its module; else with its name and summary alone.
    """
    if not loaded:
        return _app(command.name.split()[-1], summary(command.function))
    function, show = resolve_name(command.function), resolve_name(command.show)
    return app_of(
        command.name,
        list(entries_of(function)),
        list(entries_of(show, named=True)),
        function,
        show,
        description=description_of(function),
        examples=command.examples,
    )


def app_of(
    name: str,
    entries: Sequence[Entry],
    shown: Sequence[Entry],
    function: Callable[..., Any],
    show: Show,
    *,
    description: str,
    examples: Sequence[str] = (),
) -> App:
    """An app of cyclopts that calls a function and shows its result; it returns a status.

    Args:
        name: of the command, with those above it.
        entries: arguments and options of the function.
        shown: options of `show`.
        function: called with the entries by name.
        show: see `Command.show`.
        description: for the help.
        examples: for the help.
    """
    everything = [*entries, *shown]
    names = {entry.name: entry.flag or entry.metavar for entry in everything}

    def call(*args: Any, **options: Any) -> int:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = dict(bound.arguments)
        own = {entry.name: given.pop(entry.name) for entry in shown}
        return show(function(**given), given, **own) or 0

    # Headings stand in the order in which they first occur.
    groups = dict.fromkeys(entry.heading for entry in everything if entry.flag)
    order = {heading: Group(heading, sort_key=number) for number, heading in enumerate(groups)}
    parameters = [_parameter(entry, names, order.get(entry.heading)) for entry in everything]
    parameters.sort(key=lambda one: one.kind)
    signature = inspect.Signature(parameters)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {}
    app = _app(name.split()[-1], in_flags(description, names), examples)
    app.default(call)
    return app


def _app(name: str, description: str, examples: Sequence[str] = ()) -> App:
    epilogue = "\n".join(["Examples:", *(f"  {line}" for line in examples)]) if examples else None
    return App(
        name=name,
        help=description,
        help_epilogue=epilogue,
        help_flags=("--help", "-h"),
        version_flags=(),
        help_format="plaintext",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )


def description_of(function: Callable[..., Any]) -> str:
    """What the help says above the options: the docstring up to its first section."""
    from docstring_parser import parse

    parsed = parse(inspect.getdoc(function) or "")
    parts = [parsed.short_description or "", parsed.long_description or ""]
    return "\n\n".join(" ".join(part.split()) for part in parts if part)


def _parameter(entry: Entry, names: Mapping[str, str], group: Group | None) -> inspect.Parameter:
    kind, flag = line_type(entry.hint), entry.flag
    repeated = list[str] in (kind, *get_args(kind))
    switch = bool in (kind, *get_args(kind))
    looks = Parameter(
        name=flag or entry.metavar,
        group=group or "Arguments",
        help=in_flags(entry.text, names),
        # A switch that is off needs no way to switch it off.
        negative=f"--no-{flag[2:]}" if switch and entry.default is not False else (),
        negative_iterable=(),
        show_default=not repeated and entry.default is not None and entry.default is not False,
        allow_leading_hyphen=entry.option.lone_dash,
        metavar=entry.metavar or None,
    )
    return inspect.Parameter(
        entry.name,
        inspect.Parameter.KEYWORD_ONLY if flag else inspect.Parameter.POSITIONAL_ONLY,
        default=entry.default,
        annotation=Annotated[kind, looks],
    )


def line_type(hint: Any) -> Any:
    """What is typed for a value of a type: a truth value, a number, a choice, text, or several.

    Examples:
        >>> from collections.abc import Sequence
        >>> line_type(int | None), line_type(str | Sequence[str]), line_type(float)
        (int | None, list[str], <class 'float'>)
    """
    union = get_origin(hint) in (Union, types.UnionType)
    kinds = [one for one in (get_args(hint) if union else (hint,)) if one is not types.NoneType]
    origins = {get_origin(one) or one for one in kinds}
    optional = union and types.NoneType in get_args(hint)
    if Sequence in origins:
        return list[str] | None if optional else list[str]
    kind: Any = str
    if len(kinds) == 1 and (kinds[0] in (bool, int, float) or get_origin(kinds[0]) is Literal):
        kind = kinds[0]
    return kind | None if optional else kind
