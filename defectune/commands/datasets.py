"""`convert`, `check` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from defectune.commands.arguments import DatasetArgument
from defectune.library.progress import BarReporter


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
    on: Annotated[
        str, typer.Option(help="Where images are read: local, or ray[:ADDRESS].")
    ] = "local",
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
        report = conversion.convert_with_report(source, output, options, on=on, reporter=reporter)
    show_conversion(report, output)


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
