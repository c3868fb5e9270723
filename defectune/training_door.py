"""`train FAMILY`: the library's `train`, with a family's own settings as options."""

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

from cyclopts import App

from defectune.door import Command, Entry, app_of, command_app, description_of, entries_of
from defectune.library.options import Option

if TYPE_CHECKING:
    from training.configs import FamilyConfig
    from training.registry import Family

SETTINGS: Final = "settings"
"""The parameter of `train` that takes any setting; `--set` at the line."""
MODEL_GROUP: Final = (
    "model",
    "method",
    "architecture",
    "weights",
    "from_run",
    "image_size",
    "recipe",
)
UNNAMED: Final = ("from_run", "epochs", "image_size", "seed", "device", "fold", "seeds", "name")
"""Options of `train OUT`, which all families have."""
OUTPUT_GROUP: Final = ("fold", "seeds", "name")


def train_app(command: Command, words: Sequence[str]) -> App:
    """The app of `train`, with a command for each family.

    Args:
        command: `train` in the table.
        words: what was typed, without options; only the family that it names is loaded.

    Raises:
        UsageError: it names no family.
    """
    app = command_app(command, loaded=False)
    if list(words[:1]) != [command.name]:
        return app
    from training.registry import families, family_named

    if words[1:] and words[1] not in families() and Path(words[1]).is_dir():
        return _unnamed_app(command)
    if words[1:]:
        family_named(words[1])
    for family in families().values():
        loaded = list(words[1:2]) == [family.name]
        app.command(_family_app(command, family) if loaded else App(family.name, family.summary))
    return app


def _unnamed_app(command: Command) -> App:
    """`train OUT`, which chooses a family by the labels."""
    train, show = resolve_name(command.function), resolve_name(command.show)
    own = {entry.name: entry for entry in entries_of(train)}
    return app_of(
        command.name,
        [own["dataset"], *(_regrouped(own[name]) for name in UNNAMED)],
        [],
        train,
        show,
        description=description_of(train),
        examples=command.examples,
    )


def family_entries(command: Command, family: "Family") -> list[Entry]:
    """Arguments and options of `train FAMILY`: those of `train`, and the family's settings."""
    own = {entry.name: entry for entry in entries_of(resolve_name(command.function))}
    kinds = family.config_classes()
    fields = [name for kind in _default_first(family) for name in kind.model_fields]
    names = [name for name in dict.fromkeys(fields) if name != "method" or len(kinds) > 1]
    settings = [_setting(family, name, kinds) for name in names]
    options = [_regrouped(own[name]) for name in ("recipe", "from_run", *OUTPUT_GROUP)]
    more = Entry(
        SETTINGS, inspect.Parameter.KEYWORD_ONLY, Sequence[str], (), own[SETTINGS].text,
        Option("Training", "KEY=VALUE", name="--set"),
    )  # fmt: skip
    return [own["dataset"], *sorted([*settings, more, *options], key=_order)]


def _family_app(command: Command, family: "Family") -> App:
    train, show = resolve_name(command.function), resolve_name(command.show)
    kinds = family.config_classes()
    fields = {name for kind in kinds.values() for name in kind.model_fields}
    mixed = {name for name in fields if _is_mixed(family, name)}

    def call(*, dataset: Any, settings: Sequence[str], **given: Any) -> Any:
        from annotations import UsageError
        from training.configs import parse_override

        chosen = {key: value for key, value in given.items() if value not in (None, [], ())}
        for key in mixed & chosen.keys():
            _, chosen[key] = parse_override(f"{key}={chosen[key]}")
        for key, value in map(parse_override, settings):
            _require_setting(key, kinds)
            if key == "seed" and chosen.get("seed", value) != value:
                raise UsageError(
                    f"The seed is given twice: --seed {chosen['seed']} and --set seed={value}. "
                    "Give it as --seed alone."
                )
            chosen[key] = value
        return train(dataset, family.name, **chosen)

    return app_of(
        f"{command.name} {family.name}",
        family_entries(command, family),
        [],
        call,
        show,
        description=family.summary,
        examples=family.examples,
    )


def _require_setting(key: str, kinds: Mapping[str, "type[FamilyConfig]"]) -> None:
    """Refuse what `train` knows and no configuration, such as `--set fold=1`."""
    from annotations import UsageError

    if key in ("dataset", "family", "progress", "recipe", "from_run", *OUTPUT_GROUP) and not any(
        key in kind.model_fields for kind in kinds.values()
    ):
        raise UsageError(f"Unknown setting {key!r}: it is no setting of a model.")


def _default_first(family: "Family") -> "list[type[FamilyConfig]]":
    kinds = family.config_classes()
    first = family.config_class(None)
    return [first, *(kind for kind in kinds.values() if kind is not first)]


def _setting(family: "Family", name: str, kinds: Mapping[str, "type[FamilyConfig]"]) -> Entry:
    """An option for a field of a family's configurations."""
    field = next(k.model_fields[name] for k in _default_first(family) if name in k.model_fields)
    having = [method for method, kind in kinds.items() if name in kind.model_fields]
    text = " ".join((field.description or "").split())
    hint: Any
    if name == "method":
        text = "; ".join(
            f"{method}: {_sentence(kind.model_fields[name].description)}"
            for method, kind in kinds.items()
        )
        text, hint = f"What is learned, and how. {text}.", str
    else:
        hint = line_hint(field.annotation)
        if len(having) < len(kinds):
            text = f"{text} Only for {listed(having)}."
    if default := _default(family, name, having):
        text += f" [default: {default}]"
    line_name = "model" if name == family.model_key else name
    return _regrouped(
        Entry(
            line_name, inspect.Parameter.KEYWORD_ONLY, hint | None, None, text, Option("Training")
        )
    )


def _is_mixed(family: "Family", name: str) -> bool:
    """Whether a setting takes a number or a word, as `tiles` does."""
    kinds = [kind for kind in _default_first(family) if name in kind.model_fields]
    hints = [kind.model_fields[name].annotation for kind in kinds]
    return line_hint(hints[0]) is str and hints[0] not in (str, str | None)


def listed(words: Sequence[str]) -> str:
    """Words as a sentence has them.

    Examples:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split()).rstrip(".")


def _default(family: "Family", name: str, having: Sequence[str]) -> str:
    """What a setting is where it is not given, by method where they differ."""
    from training.recipes import read_recipe

    if name == "method":
        return family.default_method
    by_text: dict[str, list[str]] = {}
    for method in having:
        recipe = family.method_named(method).recipe
        settings = {} if recipe is None else read_recipe(family.name, recipe)
        value = settings.get(name, family.config_class(method).model_fields[name].default)
        by_text.setdefault(_as_typed(value), []).append(method)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{text} ({', '.join(methods)})" for text, methods in by_text.items())


def _as_typed(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def line_hint(hint: Any) -> Any:
    """What is typed for a setting: a number, a choice, a switch, several texts, or text.

    Examples:
        >>> line_hint(Literal["auto"] | int), line_hint(float | None), line_hint(tuple[str, ...])
        (<class 'str'>, <class 'float'>, collections.abc.Sequence[str])
    """
    if get_origin(hint) is Annotated:
        return line_hint(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return Sequence[str]
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [one for one in get_args(hint) if one is not types.NoneType]
        return line_hint(kinds[0]) if len(kinds) == 1 else str
    if hint in (bool, int, float) or get_origin(hint) is Literal:
        return hint
    return str


def _regrouped(entry: Entry) -> Entry:
    group = "Training"
    group = "Model" if entry.name in MODEL_GROUP else group
    group = "Output" if entry.name in OUTPUT_GROUP else group
    option = replace(entry.option, group=group)
    return Entry(entry.name, entry.kind, entry.hint, entry.default, entry.text, option)


def _order(entry: Entry) -> tuple[int, int]:
    groups = (MODEL_GROUP, (), OUTPUT_GROUP)
    number = ("Model", "Training", "Output").index(entry.option.group)
    known = groups[number]
    return number, known.index(entry.name) if entry.name in known else 0
