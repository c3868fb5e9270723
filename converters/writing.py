"""Writing a converted dataset, whole, with the proof that no label was changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from annotations import (
    Dataset,
    InputError,
    Regions,
    Sample,
    coco_document,
    write_split,
)
from annotations.dataset import COCO_ALL, SPLIT_FILE, portable
from annotations.files import (
    read_json,
    write_bytes_atomic,
    write_json_atomic,
)
from annotations.images import plain_png
from converters.manifest import write_manifest
from converters.masks import write_class_masks
from converters.report import ConversionReport
from converters.yolo import (
    fold_place,
    image_file_name,
    place_image,
    write_data_files,
    write_labels,
)

REPORT_FILE: Final = "conversion.json"


def write_dataset(
    dataset: Dataset,
    report: ConversionReport,
    exact: dict[str, bool],
    remade: set[str],
    unpacked_in: Path | None,
    mask_places: Mapping[str, str] | None = None,
) -> None:
    """Write a dataset into its folder, and prove that the labels stand there as they were read.

    Args:
        dataset: the dataset; its folder is the one to write to.
        report: gets what was written how, and is written too.
        exact: by image id, whether the RLEs gave the mask back when it was read.
        remade: ids of the images that are kept as PNG of 8 bits.
        unpacked_in: where an archive was unpacked, or None.
        mask_places: where the source's masks stand, by image id; None works it out for one source.

    Raises:
        InputError: two images would get one file name, or a label did not come back.
    """
    samples, folder = list(dataset.samples), dataset.root
    # Of an archive, the places are those in it: it was unpacked for the conversion alone.
    source = unpacked_in or (report.source if report.source.is_dir() else report.source.parent)
    places = mask_places
    if places is None:
        places = {
            sample.image_id: sample.mask_path.relative_to(unpacked_in).as_posix()
            if unpacked_in is not None
            else portable(sample.mask_path, folder, source)
            for sample in samples
            if sample.mask_path is not None
        }
    names = {
        sample.image_id: image_file_name(sample, remade=sample.image_id in remade)
        for sample in samples
    }
    if len({name.casefold() for name in names.values()}) != len(names):
        raise InputError("Two images would get one file name on a system that ignores case.")

    def document(part: list[Sample]) -> dict[str, Any]:
        return coco_document(
            part,
            dataset.truths,
            dataset.class_names,
            coco_ids=dataset.coco_ids,
            file_names=names,
            split_digest=dataset.split.digest,
            ignored=dataset.ignored,
            bit_depth=dataset.bit_depth,
            mask_places=places,
        )

    write_json_atomic(folder / COCO_ALL, document(samples), indent=None)
    for number, fold in enumerate(dataset.split.folds):
        place = fold_place(folder / COCO_ALL.parent, dataset.split, number)
        for side, ids in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
            part = document(dataset.select(ids))
            write_json_atomic(place / f"{side}.json", part, indent=None)
    same = texts_stand_in(folder / COCO_ALL, dataset)
    report.round_trip = {i: known and i in same for i, known in exact.items()}
    failed = [image_id for image_id, exact in report.round_trip.items() if not exact]
    if failed:
        raise InputError(
            f"The masks of {', '.join(failed[:5])} did not come back bit for bit from the COCO "
            "file. This is a fault of this program; nothing was written."
        )
    for sample in samples:
        target = folder / names[sample.image_id]
        if sample.image_id in remade:
            write_bytes_atomic(target, plain_png(sample.image_path, bit_depth=dataset.bit_depth))
            how = "PNG of 8 bits"
        else:
            how = place_image(sample.image_path, target, copy=report.options.copy_images)
        report.placed[how] += 1
    write_labels(folder, samples, dataset.truths)
    write_class_masks(dataset, samples, folder)
    placed = {i: name for i, name in names.items() if dataset.strengths[i] != "image"}
    write_data_files(folder, placed, dataset.split, dataset.class_names)
    write_split(folder / SPLIT_FILE, dataset.split, samples)
    write_json_atomic(
        folder / REPORT_FILE,
        {**report.to_json(), **_sources(report, folder)},
    )
    write_manifest(folder)


def _sources(report: ConversionReport, folder: Path) -> dict[str, Any]:
    """The report's source or sources, without the folders of this machine."""
    if not report.sources:
        return {"source": portable(report.source, folder, report.source)}
    places = [portable(one.source, folder, one.source) for one in report.sources]
    listed = [{**one.to_json(), "source": at}
              for one, at in zip(report.sources, places, strict=True)]  # fmt: skip
    return {"source": " + ".join(places), "sources": listed}


def texts_stand_in(path: Path, dataset: Dataset) -> set[str]:
    """Read a COCO file back, and compare its RLE texts with those that were proved when read, and
    boxes where there are no masks.

    Args:
        path: COCO file as written.
        dataset: that was written.

    Returns:
        Ids of the images whose regions and ignored regions stand there unchanged.
    """
    document = read_json(path, what="COCO labels")
    rows: dict[int, list[Any]] = {}
    for annotation in document["annotations"]:
        is_mask = "segmentation" in annotation
        row = annotation["segmentation"]["counts"] if is_mask else annotation["bbox"]
        rows.setdefault(annotation["image_id"], []).append(row)
    same = set()
    for image in document["images"]:
        image_id = image["defectune"]["image_id"]
        regions = [dataset.truths[image_id], dataset.ignored.get(image_id)]
        expected = [row for r in regions if r is not None for row in _rows(r)]
        if rows.get(image["id"], []) == expected:
            same.add(image_id)
    return same


def _rows(regions: Regions) -> list[Any]:
    if regions.masks is not None:
        return [rle["counts"] for rle in regions.masks]
    return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in regions.boxes_xyxy.tolist()]
