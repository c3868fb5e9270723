"""`defectune demo`: the whole job on a category that is drawn on the spot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotations import load_dataset
from annotations.files import require_new_folder
from defectune.library.arguments import Place, as_path, checked
from defectune.library.options import Option
from defectune.library.progress import shown

if TYPE_CHECKING:
    from training import Reporter

FOLDS = 2


@checked
def demo(
    output: Annotated[Place, Option(metavar="FOLDER", named=True)] = "defectune-demo",
    *,
    data_only: Annotated[Place | None, Option(metavar="FOLDER")] = None,
    seed: Annotated[int, Option(least=0)] = 0,
    progress: "bool | Reporter" = True,
) -> Path:
    """Do the whole job on a small category that is drawn on the spot.

    Args:
        output: Folder to make; a new or an empty one.
        data_only: Only draw the category into this folder, a new or an empty one, as images and
            masks to try convert with.
        seed: Seed of the drawn images, the split and the training.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The report's page; with `data_only`, the category's folder.

    Raises:
        DefectuneError: `output` holds something, or a step failed.
    """
    if data_only is not None:
        return demo_source(data_only, seed=seed)
    with shown(progress) as reporter:
        return _whole_job(as_path(output, what="output"), seed=seed, reporter=reporter)


@checked
def demo_source(folder: Place, *, seed: int = 0) -> Path:
    """Draw the small category of the demo, a first dataset to try `convert` with.

    56 images of bottles from above in MVTec layout, 24 of them with a defect of one of three
    types, and exact masks.

    Args:
        folder: Folder to make; a new or an empty one.
        seed: Of the images; the same one draws the same bytes.

    Returns:
        The folder, which `convert` takes.

    Raises:
        DefectuneError: `folder` holds something.

    Example:
        >>> import defectune as dt
        >>> source = dt.demo_source("first-dataset")
        >>> sorted(path.name for path in (source / "test").iterdir())
        ['broken_large', 'broken_small', 'contamination', 'good']
    """
    from converters.synthetic import SyntheticConfig, draw_category

    path = as_path(folder, what="folder")
    require_new_folder(path, hint="Choose another folder, or remove that one yourself.")
    # A path such as `..` has a name only when it is whole.
    whole = path.resolve()
    draw_category(whole.parent, SyntheticConfig(seed=seed, category=whole.name))
    return path


def _whole_job(output: Path, *, seed: int, reporter: "Reporter") -> Path:
    require_new_folder(output, hint="Choose another --output, or remove that folder yourself.")
    # Said before anything heavy is imported.
    reporter.say("1/6  drawing a category with three kinds of defect and exact masks")
    output.mkdir(parents=True, exist_ok=True)
    source = demo_source(output / "source" / "drawn_bottle", seed=seed)

    from converters import ConvertOptions, convert
    from defectune.families import train_family
    from defectune.library.evaluating import evaluate_dataset
    from defectune.library.predicting import predict_images
    from defectune.library.recipe import PredictOptions
    from defectune.library.reporting import make_report
    from defectune.summaries import show_conversion, show_leaderboard, show_predictions
    from training.registry import families

    reporter.say("2/6  converting masks to COCO, YOLO and class masks, and freezing the split")
    dataset = output / "dataset"
    convert(source, dataset, ConvertOptions(folds=FOLDS, seed=seed, find_groups=False))
    show_conversion(load_dataset(dataset), {})
    tried = [family for family in families().values() if family.demo is not None]
    reporter.say(f"3/6  training {', '.join(family.name for family in tried)}, small and short")
    for family in tried:
        train_family(
            family.name,
            dataset,
            fold="all",
            name=family.name,
            reporter=reporter,
            model=None,
            values={"seed": seed, "device": "auto", **(family.demo or {})},
            overrides=[],
        )
    reporter.say("4/6  evaluating all of them on the same test images")
    board = evaluate_dataset(load_dataset(dataset), [], fold=None, reporter=reporter)
    reporter.say("5/6  writing the report")
    page = make_report(load_dataset(dataset), [], reporter=reporter)
    best = board.rows[0].run
    reporter.say(f"6/6  predicting the images of one folder with {best}, as for new ones")
    done = predict_images(
        dataset / "runs" / best,
        [source / "test" / "broken_large"],
        output / "predictions",
        PredictOptions(),
        reporter=reporter,
    )
    show_predictions(done, {})
    show_leaderboard(board, {"dataset": dataset})
    return page
