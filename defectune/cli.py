"""The commands. Heavy imports stand inside them, so that `--help` answers at once."""

import io
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from defectune.console import fail, out
from defectune.keyboard import INTERRUPTED, Commands, Family, parse_family, show_version
from defectune.library.environment import quiet_environment
from defectune.library.progress import BarReporter
from defectune.shadowing import require_own_packages
from defectune.sweep_command import sweep

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


DatasetArgument = Annotated[Path, typer.Argument(metavar="OUT", help="A converted dataset.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, OUT/NAME, or NAME within OUT.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, or cuda:0.")]


@app.callback()
def before_commands(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    del version


@app.command()
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


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder of one dataset, a label file, or a .zip.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    layout: Annotated[
        str,
        typer.Option(
            help="auto, mvtec (also AD 2, LOCO, MPDD, BTAD), visa, real-iad, dagm, deeppcb, coco, "
            "yolo, voc, labelme, cvat, label-studio, supervisely, rle-table, class-masks, pairs."
        ),
    ] = "auto",
    protocol: Annotated[
        str,
        typer.Option(
            help="auto (the source's own division where its training side has defects, else "
            "kfold), kfold, holdout, few-shot, leave-one-type-out or official."
        ),
    ] = "auto",
    folds: Annotated[int | None, typer.Option(help="For kfold; 5.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    group_by: Annotated[
        str | None,
        typer.Option(help="Regular expression on the path; its match names the physical part."),
    ] = None,
    find_groups: Annotated[
        bool | None,
        typer.Option(
            "--find-groups/--no-find-groups",
            help="Find photographs of one part by texture; done unless --group-by is given.",
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="For few-shot: defective training images; 10.")
    ] = None,
    shots_per_type: Annotated[
        bool, typer.Option("--shots-per-type", help="So many of each type, and not in all.")
    ] = False,
    shots_of: Annotated[
        str | None, typer.Option(help="For few-shot: train on this type only, test on the others.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="A split of your own, in JSON, in place of a protocol.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help='For pairs: a pattern such as "{class}/{name}.jpg".')
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help='For pairs: a pattern such as "{class}/{name}_mask.png".')
    ] = None,
    good: Annotated[
        list[str] | None, typer.Option(help="A class name that means good; several times.")
    ] = None,
    no_mask_is_good: Annotated[
        bool, typer.Option("--no-mask-is-good", help="An image without mask or label is good.")
    ] = False,
    crowd_is_defect: Annotated[
        bool,
        typer.Option("--crowd-is-defect", help="iscrowd and difficult regions are defects."),
    ] = False,
    classes: Annotated[
        list[str] | None, typer.Option(help="Names of class numbers in order; several times.")
    ] = None,
    mask_threshold: Annotated[
        int | None, typer.Option(help="Mask values from this on are inside; half of the range.")
    ] = None,
    mask_values: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE=CLASS,…",
            help="What mask values or colours mean: 1=crack,2=dent,255=ignore, #ff0000=crack.",
        ),
    ] = None,
    invert_masks: Annotated[
        bool | None,
        typer.Option("--invert-masks/--no-invert-masks", help="Dark is inside; asked for."),
    ] = None,
    bit_depth: Annotated[
        int | None, typer.Option(help="Of 16-bit images' values, 8 to 16; what the set uses.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Larger images are refused; 178 million.")
    ] = None,
    min_area: Annotated[int, typer.Option(help="Smaller regions are removed, and counted.")] = 0,
    merge_distance: Annotated[
        float, typer.Option(help="Regions of a class nearer than this become one.")
    ] = 0.0,
    one_class: Annotated[str | None, typer.Option(help="One name for all defects.")] = None,
    map_class: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="Rename a class; `good` drops it.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A class that is neither defect nor background.")
    ] = None,
    good_test_share: Annotated[
        float,
        typer.Option(help="Share of good images to test on, where the source has no test side."),
    ] = 0.3,
    workers: Annotated[int | None, typer.Option(help="Reading processes; one a core.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images in place of linking.")] = False,
    allow_leftovers: Annotated[
        bool,
        typer.Option("--allow-leftovers", help="Convert, though images or labels are left over."),
    ] = False,
) -> None:
    """Convert images and ground-truth masks to COCO, YOLO, class masks and a frozen split."""
    from defectune.library import conversion
    from defectune.summaries import show_conversion

    options = conversion.options_of(
        layout=layout,
        protocol=protocol,
        folds=folds,
        seed=seed,
        group_by=group_by,
        find_groups=find_groups,
        shots=(shots, shots_per_type, shots_of),
        split_file=split,
        find={
            "images": images,
            "masks": masks,
            "good": tuple(good or ()),
            "no_mask_is_good": no_mask_is_good,
            "classes": tuple(classes or ()),
            "crowd_is_defect": crowd_is_defect,
        },
        read={
            "mask_threshold": mask_threshold,
            "min_area": min_area,
            "merge_distance": merge_distance,
            "one_class": one_class,
            "map_class": conversion.parse_class_map(map_class or []),
            "ignore": tuple(ignore or ()),
            "mask_values": conversion.parse_mask_values(mask_values),
            "invert_masks": invert_masks,
            "bit_depth": bit_depth,
            **({} if max_pixels is None else {"max_pixels": max_pixels}),
        },
        good_test_share=good_test_share,
        workers=workers,
        copy_images=copy,
        allow_leftovers=allow_leftovers,
    )
    with BarReporter() as reporter:
        report = conversion.convert_with_report(source, output, options, reporter=reporter)
    show_conversion(report, output)


@app.command()
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


@app.command()
def evaluate(
    dataset: DatasetArgument,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Names or folders; all runs.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Judge the images of one fold only.")] = None,
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
        float, typer.Option(help="Of --external's regions, on their own scale.")
    ] = 0.5,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every figure, not the main ones alone.")
    ] = False,
) -> None:
    """Judge runs on the same test images; writes leaderboard.json and prints it."""
    from defectune.library.judging import evaluate as judge
    from defectune.summaries import show_leaderboard

    board = judge(
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


@app.command()
def check(
    dataset: Annotated[
        Path, typer.Argument(metavar="OUT", help="A converted dataset, or a run, OUT/runs/NAME.")
    ],
    reshots: Annotated[
        bool, typer.Option(help="Also look for photographs of one part on two sides.")
    ] = True,
) -> None:
    """Prove a converted dataset, or a run, again: files, labels, and that no part leaks."""
    from defectune.library.datasets import check as prove
    from defectune.summaries import show_check

    result = prove(dataset, reshots=reshots)
    show_check(result, dataset)
    raise typer.Exit(1 if result.problems else 0)


@app.command()
def report(
    dataset: DatasetArgument,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Names or folders; all runs.")
    ] = None,
) -> None:
    """Write report/index.html: the table, and truth beside every model's prediction."""
    from defectune.library.judging import report as write

    page = write(dataset, runs or [])
    out.print(f"The report: {page}", markup=False)


@app.command()
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


@app.command()
def predict(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE", help="A run's folder, OUT/NAME, or NAME within OUT; or a bundle."
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES...", help="Files, or folders with all that is in them."),
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
) -> None:
    """Give verdicts, regions and overlays for new images; a killed call goes on when repeated."""
    from defectune.library.predicting import predict as predict_into
    from defectune.summaries import show_predictions

    done = predict_into(
        run,
        images,
        output,
        fold=fold,
        device=device,
        threshold=threshold,
        operating_point=operating_point,
        maps=maps,
    )
    show_predictions(done)
    raise typer.Exit(1 if done.n_failed else 0)


@app.command()
def export(
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    format_: Annotated[
        str,
        typer.Option("--format", help="coco, coco-polygons, yolo, yolo-seg, voc or masks."),
    ] = "coco",
) -> None:
    """Write a converted dataset in another format, and measure what that cannot hold."""
    from defectune.library.datasets import export as write
    from defectune.summaries import show_export

    show_export(write(dataset, output, format_), dataset, output)


@app.command()
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
            help="first (the lowest finished fold's model, as predict takes it), fold-K, or "
            "ensemble (all finished folds' models, their calibrated scores averaged)."
        ),
    ] = "first",
) -> None:
    """Make one file that gives the same verdicts without torch; `bundle check` proves it."""
    from defectune.library import bundling
    from defectune.summaries import show_bundle_check

    if dataset is None:
        made = bundling.bundle(first, file, models=models)
        folds = ", ".join(map(str, made.folds))
        out.print(
            f"The bundle: {made.path} (fold {folds}, {made.bytes:,} bytes, {made.digest[:12]}…)",
            markup=False,
        )
        return
    if first != "check":
        raise typer.BadParameter("Call `bundle RUN FILE`, or `bundle check FILE OUT`.")
    found = bundling.check_bundle(file, dataset)
    show_bundle_check(found, file)
    raise typer.Exit(1 if found.flips else 0)


@app.command()
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
) -> None:
    """Give a verdict for every new file of a folder, one JSON line each; goes on after a kill."""
    from deployment import open_bundle
    from deployment.watching import VERDICTS_FILE, WatchOptions
    from deployment.watching import watch as follow

    opened = open_bundle(bundle_file)
    out.print(f"Verdicts: {output / VERDICTS_FILE}", markup=False)

    def tell(row: dict[str, object]) -> None:
        score = row["score"]
        word = row["verdict"] or row["error"]
        shown = f" {score:.3f}" if isinstance(score, float) else ""
        out.print(f"{row['file']}: {word}{shown}", markup=False)

    follow(opened, folder, output, WatchOptions(interval, patience, once), told=tell)


app.command()(sweep)


@app.command()
def doctor() -> None:
    """Say what works on this machine, and what to do about what doesn't."""
    from defectune.doctor import examine

    raise typer.Exit(0 if examine() else 1)


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
