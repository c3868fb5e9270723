"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DatasetArgument = Annotated[Path, typer.Argument(metavar="OUT", help="A converted dataset.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, OUT/NAME, or NAME within OUT.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, or cuda:0.")]
