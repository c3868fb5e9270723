"""The command line: what stands around the commands of `commands.py`.

A command's module is imported only where the command is asked for, so that `--help` answers at
once.
"""

import io
import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from defectune.commands import COMMANDS
from defectune.console import fail
from defectune.door import command_app
from defectune.keyboard import INTERRUPTED, KEPT
from defectune.library.environment import quiet_environment
from defectune.library.wording import at_the_line
from defectune.shadowing import require_own_packages

HELP = (
    "From defect masks to labels, to a fine-tuned detector and segmenter, to a verdict that can "
    "be defended - on one test split."
)


def app(tokens: Sequence[str]) -> int:
    """Run a command.

    Args:
        tokens: as typed after the program's name.

    Returns:
        The exit status.

    Raises:
        DefectuneError: as the command's library function raises it.
        SystemExit: a wrong call, or Ctrl-C, with one paragraph on standard error.
    """
    tokens = list(tokens)
    words = [token for token in tokens if not token.startswith("-")]
    try:
        with at_the_line():
            result = _root(words)(tokens)
    except CycloptsError as error:
        fail(_in_words(error, words), status=2)
    except KeyboardInterrupt:
        _interrupted(words)
    except SystemExit as error:
        # Lightning takes Ctrl-C for itself, and leaves without a word.
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        _interrupted(words)
    return result if isinstance(result, int) else 0


def _root(words: Sequence[str]) -> App:
    """The app with all commands; only what the words name is loaded."""
    root = App(
        name="defectune",
        help=HELP,
        help_flags=("--help", "-h"),
        version=_version,
        help_format="plaintext",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    made: dict[str, App] = {}
    for command in COMMANDS:
        above, _, _ = command.name.rpartition(" ")
        typed = words[: len(command.name.split())] == command.name.split()
        if above and not typed and words[:1] != [above]:
            continue
        if command.name == "train":
            from defectune.training_door import train_app

            made["train"] = train_app(command, words)
        else:
            made[command.name] = command_app(command, loaded=typed)
        # The help keeps the order of the table.
        made[command.name].sort_key = len(made)
        (made[above] if above else root).command(made[command.name])
    return root


def _version() -> str:
    from importlib.metadata import version

    return f"defectune {version('defectune')}"


def _in_words(error: CycloptsError, words: Sequence[str]) -> str:
    """A wrong call in one paragraph, and where its help is."""
    text = " ".join(str(error).split())
    names = [command.name for command in COMMANDS]
    named = next((n for n in names[::-1] if list(words)[: len(n.split())] == n.split()), "")
    # Of several sources the last path is OUT, which the parser misses as one SRC too few.
    text = text.replace("parameter SRC requires an argument", "takes SRC and OUT: one is missing")
    return f"{text} `defectune {named + ' ' if named else ''}--help` says what can be typed."


def _interrupted(words: Sequence[str]) -> None:
    kept = KEPT.get(words[0] if words else "")
    fail(f"Interrupted. {kept}" if kept else INTERRUPTED, status=130)


def main() -> None:
    """Run the command line; an error of the user's is one paragraph and an exit status."""
    quiet_environment()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no `…` gets a question mark, and not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore")
    try:
        require_own_packages()
    except ImportError as error:
        fail(str(error), status=1)
    try:
        status = app(sys.argv[1:])
    except KeyboardInterrupt:
        fail(INTERRUPTED, status=130)
    except Exception as error:
        # Imported here, since `--help` has no use for it.
        from annotations.errors import DefectuneError

        if isinstance(error, DefectuneError):
            fail(str(error), status=error.exit_status)
        if isinstance(error, OSError):
            fail(
                f"The system refused: {error.strerror or error} "
                f"({error.filename or 'no file named'}). Check the space on the disk and the "
                "rights on the folder.",
                status=1,
            )
        raise
    raise SystemExit(status)
