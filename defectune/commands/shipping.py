"""`predict`, `bundle` and `watch`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from defectune.commands.arguments import DeviceOption
from defectune.console import out

ThreadsOption = Annotated[
    int, typer.Option(min=0, help="That compute one image, of a bundle; 0 is one a core.")
]
ProviderOption = Annotated[
    str,
    typer.Option(help="What computes a bundle's graphs: cpu, cuda, tensorrt or openvino."),
]
HANDOFF_PATIENCE_S = 30.0
"""How long `watch --once` waits for its verdicts to be delivered."""


def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE", help="A run's folder, OUT/NAME, or NAME within OUT; or a bundle."
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders with all that is in them, patterns; - reads a list, a path a "
            "line, from standard input.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="A new or empty folder.")],
    fold: Annotated[int | None, typer.Option(help="Which fold's model; the first.")] = None,
    device: DeviceOption = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(help="Calibrated scores from this on are defective; 0.5 if not given."),
    ] = None,
    operating_point: Annotated[
        bool,
        typer.Option("--operating-point", help="Take the threshold that evaluate chose by costs."),
    ] = False,
    maps: Annotated[
        bool, typer.Option("--maps", help="Also write score maps, as 16-bit PNGs.")
    ] = False,
    overlays: Annotated[
        str, typer.Option(help="Images that get a picture: none, defective or all.")
    ] = "none",
    on: Annotated[
        str, typer.Option(help="Where images are predicted: local, or ray[:ADDRESS].")
    ] = "local",
    threads: ThreadsOption = 0,
    provider: ProviderOption = "cpu",
) -> None:
    """Give verdicts, regions and overlays for new images; a killed call goes on when repeated."""
    from defectune.inputs import listed_images
    from defectune.library.predicting import predict as predict_into
    from defectune.summaries import show_predictions

    if Path("-") in images:
        images = [p for p in images if p != Path("-")] + listed_images(sys.stdin)
    done = predict_into(
        run,
        images,
        output,
        fold=fold,
        device=device,
        threshold=threshold,
        operating_point=operating_point,
        maps=maps,
        overlays=overlays,
        on=on,
        threads=threads,
        provider=provider,
    )
    show_predictions(done)
    raise typer.Exit(1 if done.n_failed else 0)


def bundle(
    first: Annotated[
        str, typer.Argument(metavar="RUN|check", help="A run; or `check`, then FILE and OUT.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")],
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="With check: the converted dataset.")
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            help="first (the lowest finished fold's model, as predict takes it), fold-K, "
            "ensemble (all finished folds' models, their calibrated scores averaged), or refit "
            "(one model that is trained now, on the test images too)."
        ),
    ] = "first",
    format_: Annotated[
        str, typer.Option("--format", help="What runs the graphs: onnx (ONNX Runtime) or openvino.")
    ] = "onnx",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="8-bit numbers, their ranges chosen on training images. Check it after."
        ),
    ] = False,
    operating_point: Annotated[
        bool,
        typer.Option("--operating-point", help="Take the threshold that evaluate chose by costs."),
    ] = False,
) -> None:
    """Make one file that gives the same verdicts without torch; `bundle check` proves it."""
    from defectune.library import bundling
    from defectune.summaries import show_bundle_check

    if dataset is None:
        made = bundling.bundle(
            first, file, models=models, format=format_, int8=int8, operating_point=operating_point
        )
        folds = "refitted" if made.refitted else f"fold {', '.join(map(str, made.folds))}"
        out.print(
            f"The bundle: {made.path} ({folds}, {made.bytes:,} bytes, {made.digest[:12]}…)",
            markup=False,
        )
        return
    if first != "check":
        raise typer.BadParameter("Call `bundle RUN FILE`, or `bundle check FILE OUT`.")
    found = bundling.check_bundle(file, dataset)
    show_bundle_check(found, file)
    raise typer.Exit(1 if found.flips else 0)


def watch(
    bundle_file: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's file.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where images arrive.")],
    output: Annotated[Path, typer.Option("--output", help="Folder of verdicts.jsonl.")],
    once: Annotated[
        bool, typer.Option("--once", help="Stop when every file that is there has a verdict.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.01, help="Seconds between two looks at the folder.")
    ] = 0.5,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds until a file that cannot be read is an error.")
    ] = 5.0,
    webhook: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="POST each verdict there, as JSON; kept while away."),
    ] = None,
    mqtt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            # Brackets would be markup to the help's renderer.
            help="Publish each verdict there: mqtt://HOST/TOPIC, mqtts:// for TLS, with "
            "USER:PASSWORD@ before HOST and :PORT after it where needed. Takes the extra `mqtt`.",
        ),
    ] = None,
    threads: ThreadsOption = 0,
    provider: ProviderOption = "cpu",
) -> None:
    """Give a verdict for every new file of a folder, one JSON line each; goes on after a kill."""
    from deployment import open_bundle
    from deployment.handoff import Handoff, MqttBroker, Receiver, Webhook, require_distinct
    from deployment.watching import VERDICTS_FILE, WatchOptions
    from deployment.watching import watch as follow

    def say(text: str) -> None:
        out.print(text, markup=False)

    receivers: list[Receiver] = [Webhook(url) for url in webhook or ()]
    receivers += [MqttBroker(url) for url in mqtt or ()]
    require_distinct(receivers)
    opened = open_bundle(bundle_file, threads=threads, provider=provider)
    verdicts = output / VERDICTS_FILE
    say(f"Verdicts: {verdicts}")

    def tell(row: dict[str, object]) -> None:
        score = row["score"]
        word = row["verdict"] or row["error"]
        shown = f" {score:.3f}" if isinstance(score, float) else ""
        say(f"{row['file']}: {word}{shown}")

    handoffs: list[Handoff] = []

    def begin() -> None:
        # Once the output is locked: two watches would deliver everything twice.
        handoffs.extend(Handoff(verdicts, receiver, say=say) for receiver in receivers)

    options = WatchOptions(interval, patience, once)
    left, finished = 0, False
    try:
        follow(opened, folder, output, options, told=tell, begun=begin)
        finished = True
    finally:
        until = time.monotonic() + (HANDOFF_PATIENCE_S if finished else 0)
        for handoff in handoffs if not finished else ():
            handoff.stop()
        for handoff in handoffs:
            left += handoff.close(patience_s=max(0.0, until - time.monotonic()))
        if left:
            # Also after Ctrl-C, which is how a watch without --once ends.
            some = "1 delivery waits" if left == 1 else f"{left} deliveries wait"
            say(f"{some} for the next watch with the same --output and addresses.")
    if left:
        raise typer.Exit(1)
