"""`defectune overlay`: a run's predictions over its test images, as PNGs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotations import InputError, UsageError, load_dataset, read_predictions
from annotations.files import folder_moved_into_place
from annotations.images import read_image_rgb, write_png
from defectune.library.arguments import Place, as_path, checked, several
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.runs import dataset_of, find_run

if TYPE_CHECKING:
    from training import Reporter


@checked
def overlay(
    run: Annotated[Place, Option(metavar="RUN")],
    images: Annotated[str | Sequence[str], Option(metavar="IMAGE")] = (),
    output: Annotated[Place, Option(metavar="FOLDER", named=True)] = "overlays",
    *,
    only: str = "all",
    progress: "bool | Reporter" = True,
) -> int:
    """Draw truth and prediction over a run's test images; small ones are enlarged.

    Args:
        run: A run's folder, OUT/NAME, or NAME within OUT.
        images: Ids of images, or beginnings of ids; all test images if none are given.
        output: Folder for the pictures; a new or an empty one.
        only: Images to draw: all, or wrong (a wrong verdict, a missed defect or a false alarm).
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        The number of pictures.

    Raises:
        DefectuneError: no such run or image, an existing output.
    """
    if only not in ("all", "wrong"):
        raise UsageError(f"--only takes all or wrong, got {only!r}.")
    place = as_path(output, what="output")
    with shown(progress) as reporter:
        return _write(find_run(str(run)), several(images), place, only, reporter)


def _write(run: Path, names: Sequence[str], output: Path, only: str, reporter: "Reporter") -> int:
    from evaluation import match_image
    from report import draw_overlay
    from report.heat import visible_range

    dataset = load_dataset(dataset_of(run))
    stored = read_predictions(run, dataset, with_late_leaks=True)
    known = [i for i in dataset.split.test_ids if i in stored.image_scores]
    ids = [i for i in known if not names or any(i.startswith(name) for name in names)]
    if not ids:
        raise InputError(
            f"{run} predicts no image called {', '.join(names)}; its ids look like "
            f"{', '.join(known[:3])}."
        )
    advance = reporter.track("drawing", len(ids))
    score_range = visible_range(dataset, stored)
    written = 0
    with folder_moved_into_place(output, hint="Choose another folder.") as folder:
        for image_id in ids:
            sample, truth = dataset.by_id[image_id], dataset.truths[image_id]
            found = stored.found_regions(image_id)
            match = None if found is None else match_image(dataset, image_id, found)
            wrong = (stored.verdict(image_id) == "defective") != sample.is_defective
            if match is not None:
                wrong = wrong or bool((~match.found_truth).any() or match.false_alarm.any())
            advance("")
            if only == "wrong" and not wrong:
                continue
            has_map = image_id in stored.map_ranges
            picture = draw_overlay(
                read_image_rgb(sample.image_path, bit_depth=dataset.bit_depth),
                truth=truth,
                prediction=found,
                pixel_scores=stored.pixel_scores(image_id) if has_map else None,
                score_range=score_range,
                image_score=stored.image_scores[image_id],
                class_names=dataset.class_names,
                match=match,
                name=image_id,
                truth_type=sample.defect_type,
            )
            write_png(folder / f"{sample.stem}.png", picture, compression=1)
            written += 1
    return written
