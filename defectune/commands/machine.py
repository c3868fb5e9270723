"""`demo` and `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from defectune.console import out
from defectune.library.progress import BarReporter


def demo(
    output: Annotated[
        Path, typer.Option("--output", help="Folder to make; a new or empty one.")
    ] = Path("defectune-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn images and of training.")] = 0,
) -> None:
    """Do the whole job on a small category that is drawn on the spot."""
    from defectune.demo import run_demo

    with BarReporter() as reporter:
        report = run_demo(output, seed=seed, reporter=reporter)
    out.print(f"The report: {report}", markup=False)


def doctor() -> None:
    """Say what works on this machine, and what to do about what doesn't."""
    from defectune.doctor import examine

    raise typer.Exit(0 if examine() else 1)
