"""`train`."""

from typing import Annotated

import typer

from defectune.commands.arguments import DatasetArgument
from defectune.console import out
from defectune.keyboard import Family, parse_family
from defectune.library.progress import BarReporter


def train(
    family: Annotated[
        Family,
        typer.Argument(
            help="What to train.", parser=parse_family, metavar="detect|segment|classify"
        ),
    ],
    dataset: DatasetArgument,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="few-defects (the default), plain, fast, segment's hybrid, or a YAML file."
        ),
    ] = None,
    fold: Annotated[str, typer.Option(help="A fold's number from 0, or all.")] = "all",
    model: Annotated[
        str | None,
        typer.Option(
            help="detect: yolo11n.pt, yolo-lite0 …; segment: an encoder; classify: a network."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="classify: pretrained, finetuned, patch-memory, autoencoder, gan or supervised."
        ),
    ] = None,
    oversample: Annotated[
        str | None,
        typer.Option(help="classify, supervised: none, repeat, injection or deepsmote."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="auto (the default), none or a file.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Train this many runs, from --seed on.")
    ] = 1,
    device: Annotated[str | None, typer.Option(help="auto (the default), cpu, or cuda:0.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; the family's if not given.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, key=value.")
    ] = None,
) -> None:
    """Fine-tune on the folds of the split, and predict each fold's test images."""
    from defectune.families import train_seeds

    with BarReporter() as reporter:
        runs = train_seeds(
            family.value,
            dataset,
            seed=seed,
            seeds=seeds,
            fold=fold,
            name=name,
            reporter=reporter,
            model=model,
            recipe=recipe,
            overrides=set_ or [],
            values={
                "weights": weights,
                **({} if method is None else {"method": method}),
                **({} if oversample is None else {"oversample": oversample}),
                "epochs": epochs,
                "image_size": image_size,
                "device": device,
            },
        )
    for run in runs:
        out.print(f"The run: {run}", markup=False)
