"""A metric for notebooks and papers: an image, its truth and what runs say of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from annotations import Dataset, InputError, StoredPredictions
from annotations.images import read_image_rgb
from evaluation import match_image
from report.heat import visible_range
from report.overlay import draw_overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = 3.2


def figure(
    dataset: Dataset, image_ids: Sequence[str], runs: Sequence[StoredPredictions] = ()
) -> "Figure":
    """Draw images as rows: the truth first, then a column a run.

    Args:
        dataset: with the truth.
        image_ids: rows.
        runs: columns; a run that did not evaluate an image leaves its place empty.

    Returns:
        A matplotlib metric, which a notebook shows and `savefig` writes.

    Raises:
        InputError: no image, or one that the dataset does not have.
        ImageReadError: an image's file is missing or damaged.
    """
    from matplotlib.figure import Figure

    if not image_ids:
        raise InputError("A metric needs at least one image id, such as 'broken_large/000'.")
    unknown = [image_id for image_id in image_ids if image_id not in dataset.by_id]
    if unknown:
        raise InputError(f"The dataset {dataset.root} has no image {unknown[0]!r}.")
    columns = 1 + len(runs)
    ranges = [visible_range(dataset, run) for run in runs]
    drawn = Figure(figsize=(INCHES * columns, INCHES * len(image_ids)), layout="constrained")
    axes = drawn.subplots(len(image_ids), columns, squeeze=False)
    for row, image_id in zip(axes, image_ids, strict=True):
        image_rgb = read_image_rgb(dataset.by_id[image_id].image_path)
        truth, names = dataset.truths[image_id], dataset.class_names
        for axis in row:
            axis.set_axis_off()
        row[0].imshow(draw_overlay(image_rgb, truth=truth, class_names=names))
        row[0].set_title(f"{image_id}: truth", parse_math=False)
        for axis, run, score_range in zip(row[1:], runs, ranges, strict=True):
            if image_id not in run.image_scores:
                continue
            found = run.found_regions(image_id)
            has_map = image_id in run.map_ranges
            picture = draw_overlay(
                image_rgb,
                truth=truth,
                prediction=found,
                match=None if found is None else match_image(dataset, image_id, found),
                pixel_scores=run.pixel_scores(image_id) if has_map else None,
                score_range=score_range,
                class_names=names,
            )
            axis.imshow(picture)
            score = run.image_scores[image_id]
            axis.set_title(f"{run.name}: {run.verdict(image_id)} {score:.3f}", parse_math=False)
    return drawn
