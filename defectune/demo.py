"""`defectune demo`: the whole job on a category that is drawn on the spot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotations import load_dataset
from annotations.files import require_new_folder
from defectune.families import train_family
from defectune.library.arguments import Place, as_path, checked
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.summaries import show_conversion, show_leaderboard, show_predictions

if TYPE_CHECKING:
    from training import Reporter

FOLDS = 2


@checked
def demo(
    output: Annotated[Place, Option(metavar="FOLDER", named=True)] = "defectune-demo",
    *,
    seed: Annotated[int, Option(least=0)] = 0,
    progress: "bool | Reporter" = True,
) -> Path:
    """Do the whole job on a small category that is drawn on the spot.

    Args:
        output: Folder to make; a new or an empty one.
        seed: Seed of the drawn images, the split and the training.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The report's page.

    Raises:
        DefectuneError: `output` holds something, or a step failed.
    """
    with shown(progress) as reporter:
        return _whole_job(as_path(output, what="output"), seed=seed, reporter=reporter)


def _whole_job(output: Path, *, seed: int, reporter: "Reporter") -> Path:
    from converters import ConvertOptions, convert
    from converters.synthetic import SyntheticConfig, draw_category
    from defectune.library.evaluating import evaluate_dataset, make_report
    from defectune.library.predicting import predict_images
    from defectune.library.recipe import PredictOptions

    require_new_folder(output, hint="Choose another --output, or remove that folder yourself.")
    output.mkdir(parents=True, exist_ok=True)
    reporter.say("1/6  drawing a category with three kinds of defect and exact masks")
    source = draw_category(output / "source", SyntheticConfig(seed=seed))
    reporter.say("2/6  converting masks to COCO, YOLO and class masks, and freezing the split")
    dataset = output / "dataset"
    convert(source, dataset, ConvertOptions(folds=FOLDS, seed=seed, find_groups=False))
    show_conversion(load_dataset(dataset), {})
    reporter.say("3/6  training a baseline on good images, a segmenter and a YOLO detector")
    common = {"seed": seed, "device": "auto"}
    for family, values, overrides in (
        ("classify", {"image_size": 160}, []),
        ("segment", {"image_size": 160}, []),
        # Mosaics shrink defects that are small as it is; without them fewer epochs do.
        (
            "detect",
            {"image_size": 160, "epochs": 20},
            ["batch_size=4", "mosaic=0", "lr0=0.003"],
        ),
    ):
        train_family(
            family,
            dataset,
            fold="all",
            name=None,
            reporter=reporter,
            model=None,
            values={**common, **values},
            overrides=overrides,
        )
    reporter.say("4/6  evaluating all of them on the same test images")
    board = evaluate_dataset(load_dataset(dataset), [], fold=None, reporter=reporter)
    reporter.say("5/6  writing the report")
    page = make_report(load_dataset(dataset), [], reporter=reporter)
    reporter.say("6/6  predicting the images of one folder, as for new ones")
    done = predict_images(
        dataset / "runs" / "segment",
        [source / "test" / "broken_large"],
        output / "predictions",
        PredictOptions(),
        reporter=reporter,
    )
    show_predictions(done, {})
    show_leaderboard(board, {"dataset": dataset})
    return page
