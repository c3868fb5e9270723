"""`defectune sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from defectune.console import out, show_table, show_text


def sweep(
    grid: Annotated[
        Path, typer.Argument(metavar="GRID.yaml", help="Datasets, runs, folds, seeds, metrics.")
    ],
    output: Annotated[Path, typer.Option("--output", help="A new folder, or this sweep's.")],
    on: Annotated[str, typer.Option(help="Where cells run: local, or ray[:ADDRESS].")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time; as many as fit.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Further tries of a cell that fails.")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Cells whose names match, such as 'bottle--*'."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where a sweep was begun.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many cells and how long; do nothing.")
    ] = False,
    search: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Search the grid's `search` settings by N trials."),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="mlflow[:URI]",
            help="Track cells in MLflow too: in OUTPUT/mlflow.db, or http://… or sqlite:///….",
        ),
    ] = None,
) -> None:
    """Train and evaluate a grid of dataset × model × fold × seed; ends in one table."""
    from defectune.library.sweeping import sweep as run
    from defectune.sweeps.search import SEARCH_FILE
    from defectune.sweeps.table import table_texts

    done = run(
        grid,
        output,
        on=on,
        workers=workers,
        retries=retries,
        only=only or [],
        resume=resume,
        dry_run=dry_run,
        search=search,
        track=track,
    )
    if done.search is not None:
        for line in done.search.lines():
            show_text(line)
        out.print(f"The trials: {output / SEARCH_FILE}", markup=False)
        raise typer.Exit(0 if done.search.best is not None else 1)
    if done.n_done:
        for table in done.tables:
            show_table(table_texts(table), title=table.metric)
            for line in table.words:
                show_text(line)
    out.print(f"{done.n_done} of {done.n_cells} cells done.", markup=False)
    if done.page is not None:
        out.print(f"The table: {done.page}", markup=False)
    raise typer.Exit(1 if done.failed else 0)
