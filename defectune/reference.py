"""The reference page of the commands, made of the same signatures and docstrings as `--help`.

`python -m defectune.reference FILE` writes it.
"""

import inspect
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from pkgutil import resolve_name

from defectune.commands import COMMANDS
from defectune.door import Entry, description_of, entries_of, line_type
from defectune.library.wording import in_flags
from defectune.training_door import family_entries

HEADER = (
    "# Commands\n\n<!-- Written by scripts/reference from the docstrings of the functions. -->\n\n"
    "What `defectune COMMAND --help` says, on one page. `defectune --version` shows the version.\n"
    "Exit status: 0 on success, 1 when the work failed, 2 for a wrong call, 130 after Ctrl-C.\n"
)


def commands_page() -> str:
    """The page, in Markdown."""
    from training.registry import families

    parts = [HEADER]
    for command in COMMANDS:
        function = resolve_name(command.function)
        if command.name == "train":
            parts.append(_section(command.name, description_of(function), [], ()))
            for family in families().values():
                name = f"{command.name} {family.name}"
                entries = family_entries(command, family)
                parts.append(_section(name, family.summary, entries, family.examples))
            continue
        entries = [*entries_of(function), *entries_of(resolve_name(command.show), named=True)]
        parts.append(_section(command.name, description_of(function), entries, command.examples))
    return "\n".join(parts)


def _section(name: str, description: str, entries: Sequence[Entry], examples: Sequence[str]) -> str:
    names = {entry.name: entry.flag or entry.metavar for entry in entries}
    lines = [f"## {name}", "", in_flags(description, names), ""]
    if examples:
        lines += ["```", *examples, "```", ""]
    for heading, group in groupby(_in_groups(entries), key=_heading):
        lines += [f"| {heading} | |", "|---|---|"]
        for entry in group:
            text = in_flags(entry.text, names).replace("|", "\\|")
            lines.append(f"| {_typed(entry)} | {text}{_default(entry)} |")
        lines.append("")
    return "\n".join(lines)


def _heading(entry: Entry) -> str:
    return entry.heading if entry.flag else "Arguments"


def _in_groups(entries: Sequence[Entry]) -> Iterator[Entry]:
    for heading in dict.fromkeys(map(_heading, entries)):
        yield from (entry for entry in entries if _heading(entry) == heading)


def _typed(entry: Entry) -> str:
    kind = line_type(entry.hint)
    switch = bool in (kind, *getattr(kind, "__args__", ()))
    if switch:
        off = entry.default is not False
        return f"`{entry.flag}`" + (f", `--no-{entry.flag[2:]}`" if off else "")
    value = entry.option.metavar or entry.name.upper()
    text = f"{entry.flag} {value}" if entry.flag else entry.metavar
    return "`" + text.replace("|", "\\|") + "`"


def _default(entry: Entry) -> str:
    if isinstance(entry.default, bool) or entry.default in (None, (), inspect.Parameter.empty):
        return ""
    return f" [default: {entry.default}]"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(commands_page(), encoding="utf-8")
