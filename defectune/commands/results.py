"""`evaluate`, `report` and `overlay`."""

from pathlib import Path
from typing import Annotated

import typer

from defectune.commands.arguments import DatasetArgument, RunArgument
from defectune.console import out
from defectune.library.progress import BarReporter


def evaluate(
    dataset: DatasetArgument,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Names or folders; all runs.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Evaluate the images of one fold only.")] = None,
    cost_escape: Annotated[
        float | None, typer.Option(help="Of a defective part called good; with --cost-overkill.")
    ] = None,
    cost_overkill: Annotated[
        float | None, typer.Option(help="Of a good part called defective; with --cost-escape.")
    ] = None,
    max_escape: Annotated[
        float | None, typer.Option(help="Highest share of defective parts that may escape.")
    ] = None,
    max_overkill: Annotated[
        float | None, typer.Option(help="Highest share of good parts to call defective.")
    ] = None,
    defect_rate: Annotated[
        float | None, typer.Option(help="Share of defective parts on your line, for the cost.")
    ] = None,
    external: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Predictions made elsewhere, to become a run."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Of --external's image scores, on their own scale.")
    ] = None,
    region_threshold: Annotated[
        float | None,
        typer.Option(help="Of --external's regions, on their own scale; 0.5 if not given."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every metric, not the main ones alone.")
    ] = False,
) -> None:
    """Evaluate runs on the same test images; writes leaderboard.json and prints it."""
    from defectune.library.evaluating import evaluate as evaluate_dataset
    from defectune.summaries import show_leaderboard

    board = evaluate_dataset(
        dataset,
        runs or [],
        fold=fold,
        cost_escape=cost_escape,
        cost_overkill=cost_overkill,
        max_escape=max_escape,
        max_overkill=max_overkill,
        defect_rate=defect_rate,
        external=external or [],
        threshold=threshold,
        region_threshold=region_threshold,
    )
    show_leaderboard(board, dataset, everything=everything)


def report(
    dataset: DatasetArgument,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Names or folders; all runs.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Show the test images of one fold only.")] = None,
) -> None:
    """Write report/index.html: the table, and truth beside every model's prediction."""
    from defectune.library.evaluating import report as write

    page = write(dataset, runs or [], fold=fold)
    out.print(f"The report: {page}", markup=False)


def overlay(
    run: RunArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]...", help="Ids or beginnings of ids; all test images."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="A new or empty folder.")] = Path(
        "overlays"
    ),
    only: Annotated[str, typer.Option(help="all, or wrong: what is missed or a false alarm.")] = (
        "all"
    ),
) -> None:
    """Draw truth and prediction over a run's test images; small ones are enlarged."""
    from defectune.overlays import write_overlays

    with BarReporter() as reporter:
        written = write_overlays(run, images or [], output, only=only, reporter=reporter)
    out.print(f"{written} overlays in {output}", markup=False)
