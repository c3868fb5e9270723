"""The exception tree of the project.

Every error that a person at the keyboard can cause or mend is a `DefectuneError`. Its message is
one readable paragraph: what was expected, what was found, in which file, what to do. The command
line prints that paragraph and leaves with `exit_status`; only a fault of ours shows a traceback.
"""

import re
from typing import Final

MAX_SHOWN: Final = 300
"""Characters of somebody's input that a message repeats."""
_ENDLESS: Final = re.compile(r"\S{4200,}")
"""Longer than a path: 4,096 bytes on the systems that bound it."""


def shortened(value: object, limit: int = MAX_SHOWN) -> str:
    """A value as text for a message; a long one is cut after its beginning."""
    try:
        text = value if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists
        return f"a {type(value).__name__} too long to show"
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def install_extra(extra: str) -> str:
    """How to install one of the program's extras, for a message: the program is on no index."""
    return (
        f"In the program's folder, `uv sync --extra {extra}` installs it there, and `uv tool "
        f"install '.[{extra}]'` for the command everywhere"
    )


def _bounded(message: str) -> str:
    """A message whose words are cut where they are longer than any path can be."""
    return _ENDLESS.sub(lambda word: f"{word[0][:MAX_SHOWN]}…", message)


class DefectuneError(Exception):
    """Base of all errors that the command line turns into one paragraph.

    Example:
        >>> import defectune as dt
        >>> try:
        ...     dt.load("nowhere")
        ... except dt.DefectuneError as error:
        ...     print(str(error)[:34])
        nowhere is not a converted dataset
    """

    exit_status: int = 1

    def __init__(self, *args: object) -> None:
        # Ids, names and numbers of somebody's file may be megabytes without a blank.
        super().__init__(*(_bounded(one) if isinstance(one, str) else one for one in args))


class UsageError(DefectuneError):
    """The call itself was wrong: an unknown option, an impossible combination."""

    exit_status = 2


class InputError(DefectuneError):
    """A file or folder that was read is not what it should be."""


class LayoutError(InputError):
    """A folder does not have the layout it was taken for."""


class ImageReadError(InputError):
    """An image or mask cannot be decoded: unreadable, truncated, empty or too large."""


class OutputExistsError(DefectuneError):
    """The place to write to already holds something, and nothing is overwritten unasked."""


class ProtocolError(DefectuneError):
    """The split's protocol forbids what was asked for."""


class SplitMismatchError(DefectuneError):
    """Something was made under another split than the one at hand."""


class WeightsNotFoundError(DefectuneError):
    """Pretrained weights are neither on this machine nor reachable."""


class TrainingError(DefectuneError):
    """Training could not go on."""
