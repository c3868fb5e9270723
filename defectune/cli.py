"""The command line: its commands in the order of `--help`, and what stands around them.

Heavy imports stand inside the commands, so that `--help` answers at once.
"""

import io
import sys
import warnings
from typing import Annotated

import typer

from defectune.commands.datasets import check, convert, export
from defectune.commands.machine import demo, doctor
from defectune.commands.results import evaluate, overlay, report
from defectune.commands.shipping import bundle, predict, watch
from defectune.commands.sweeps import sweep
from defectune.commands.training import train
from defectune.console import fail
from defectune.keyboard import INTERRUPTED, Commands, show_version
from defectune.library.environment import quiet_environment
from defectune.library.wording import at_the_line
from defectune.shadowing import require_own_packages

app = typer.Typer(
    name="defectune",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From defect masks to labels, to a fine-tuned detector and segmenter, to a verdict that "
    "can be defended - on one test split.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def before_commands(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    del version
    context.with_resource(at_the_line())


for _command in (
    *(demo, convert, train, evaluate, check, report, overlay),
    *(predict, export, bundle, watch, sweep, doctor),
):
    app.command()(_command)


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
        app()
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
