"""Writing a converted dataset in other formats, and measuring what each cannot hold.

    coco            images/, annotations/instances_<side>.json with RLE: exact
    coco-polygons   the same with polygons, holes bridged
    yolo            images/, labels/ with boxes, data.yaml and list files
    yolo-seg        the same with polygons, holes bridged, one a region
    voc             JPEGImages/, Annotations/ with boxes, ImageSets/Main/<side>.txt
    masks           images/, masks/ of class numbers, classes.txt, sides.csv: exact but for
                    regions of one class that touch

Images keep their ids as paths, and `convert` reads each of these back.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
import yaml
from pycocotools import mask as coco_mask

from annotations import (
    Dataset,
    LabelStrength,
    Regions,
    Sample,
    UsageError,
    coco_document,
    decode_rle,
    write_png,
)
from annotations.files import folder_moved_into_place, write_json_atomic, write_text_atomic
from annotations.samples import safe_name
from converters.layouts.class_masks import CLASSES_FILE, SIDES_FILE
from converters.polygons import polygon_of_component
from converters.shapes import rle_window
from converters.yolo import place_image, yolo_lines

FORMATS: Final = ("coco", "coco-polygons", "yolo", "yolo-seg", "voc", "masks")
REPORT_FILE: Final = "export.json"
_DECIMALS: Final = 10


@dataclass(slots=True)
class ExportReport:
    """What an export could and could not hold.

    Attributes:
        format: of `FORMATS`.
        n_images: written.
        n_regions: written.
        iou: by image id, of all regions together, written against true; only for images whose
            masks the format is to hold.
        box_error: largest difference of a box's edge in pixels, for formats of boxes.
        notes: what is lost, a sentence each.
    """

    format: str
    n_images: int = 0
    n_regions: int = 0
    iou: dict[str, float] = field(default_factory=dict)
    box_error: float | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What export.json holds."""
        values = list(self.iou.values())
        return {
            "format": self.format,
            "images": self.n_images,
            "regions": self.n_regions,
            "largest_box_error_pixels": self.box_error,
            "masks_exact": sum(value == 1 for value in values),
            "masks": len(values),
            "lowest_iou": min(values, default=None),
            "iou_by_image": self.iou,
            "notes": self.notes,
        }


def export_dataset(
    dataset: Dataset,
    output: Path,
    format: str,  # noqa: A002
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write a converted dataset in another format.

    Args:
        dataset: as read.
        output: a new or empty folder; images are copied.
        format: one of `FORMATS`.
        progress: called with images done and images in all.

    Returns:
        The report that is also written as export.json.

    Raises:
        UsageError: an unknown format.
        OutputExistsError: `output` holds something.
    """
    if format not in FORMATS:
        raise UsageError(f"Unknown format {format!r}; known are {', '.join(FORMATS)}.")
    report = ExportReport(format)
    with folder_moved_into_place(output, hint="Choose another folder.") as folder:
        place = folder / ("JPEGImages" if format == "voc" else "images")
        files = {s.image_id: _file_of(s) for s in dataset.samples}
        for number, sample in enumerate(dataset.samples, start=1):
            # Other programs refuse links that lead out of their folder.
            place_image(sample.image_path, place / files[sample.image_id], copy=True)
            report.n_images += 1
            report.n_regions += len(dataset.truths[sample.image_id])
            if dataset.strengths[sample.image_id] in _WRITTEN[format]:
                _WRITE_ONE[format](dataset, sample, folder, files[sample.image_id], report)
            if progress is not None:
                progress(number, len(dataset.samples))
        _finish(dataset, folder, files, report)
        _note_losses(dataset, report)
        write_json_atomic(folder / REPORT_FILE, report.to_json())
    return report


def _file_of(sample: Sample) -> Path:
    """The image's path under the folder of images: its id, made safe part by part."""
    parts = [safe_name(part) for part in sample.image_id.split("/")]
    return Path(*parts[:-1], parts[-1] + sample.image_path.suffix.lower())


def polygons_of(regions: Regions) -> list[list[float]]:
    """One polygon x1, y1, x2, y2, … a region, in pixels; see `converters.polygons`.

    A region of several components that do not touch becomes one ring too: its parts are joined by
    slits, since a format of one polygon a region has no other way.
    """
    result = []
    for rle in regions.masks or ():
        window, top, left = rle_window(rle)
        ring = polygon_of_component(window)
        result.append([float(v) for x, y in ring for v in (x + left, y + top)])
    return result


def _measure(
    dataset: Dataset, sample: Sample, polygons: list[list[float]], report: ExportReport
) -> None:
    truth = dataset.truths[sample.image_id]
    if not len(truth):
        return
    height, width = sample.image_hw
    written = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    true = coco_mask.merge(
        [{**rle, "counts": rle["counts"].encode("ascii")} for rle in truth.masks or ()]
    )
    report.iou[sample.image_id] = float(coco_mask.iou([written], [true], [0])[0, 0])


def _write_nothing(
    dataset: Dataset, sample: Sample, folder: Path, file: Path, report: ExportReport
) -> None:
    del folder, file
    if report.format == "coco-polygons":
        _measure(dataset, sample, polygons_of(dataset.truths[sample.image_id]), report)


def _write_yolo(
    dataset: Dataset, sample: Sample, folder: Path, file: Path, report: ExportReport
) -> None:
    truth = dataset.truths[sample.image_id]
    height, width = sample.image_hw
    path = (folder / "labels" / file).with_suffix(".txt")
    if report.format == "yolo":
        text = yolo_lines(truth)
        errors = [_line_error(line, box, (height, width)) for line, box in
                  zip(text.splitlines(), truth.boxes_xyxy.tolist(), strict=True)]  # fmt: skip
        report.box_error = max([report.box_error or 0.0, *errors])
    else:
        polygons = polygons_of(truth)
        lines, back = [], []
        for label, polygon in zip(truth.labels.tolist(), polygons, strict=True):
            sides = [width if k % 2 == 0 else height for k in range(len(polygon))]
            words = [f"{v / side:.{_DECIMALS}f}" for v, side in zip(polygon, sides, strict=True)]
            lines.append(f"{label} {' '.join(words)}\n")
            back.append([float(w) * side for w, side in zip(words, sides, strict=True)])
        text = "".join(lines)
        _measure(dataset, sample, back, report)
    write_text_atomic(path, text)


def _line_error(line: str, box: list[float], image_hw: tuple[int, int]) -> float:
    height, width = image_hw
    _, cx, cy, w, h = (float(word) for word in line.split())
    back = [(cx - w / 2) * width, (cy - h / 2) * height]
    back += [(cx + w / 2) * width, (cy + h / 2) * height]
    return max(abs(a - b) for a, b in zip(back, box, strict=True))


def _write_voc(
    dataset: Dataset, sample: Sample, folder: Path, file: Path, report: ExportReport
) -> None:
    height, width = sample.image_hw
    objects = []
    error = report.box_error or 0.0
    for regions, difficult in (
        (dataset.truths[sample.image_id], 0),
        (dataset.ignored.get(sample.image_id), 1),
    ):
        if regions is None:
            continue
        for label, box in zip(regions.labels.tolist(), regions.boxes_xyxy.tolist(), strict=True):
            x1, y1, x2, y2 = (round(v) for v in box)
            x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
            whole = (x1, y1, x2, y2)
            error = max(error, *(abs(a - b) for a, b in zip(whole, box, strict=True)))
            # VOC counts from 1 and holds both ends.
            objects.append(
                f"  <object>\n    <name>{escape(dataset.class_names[label])}</name>\n"
                f"    <difficult>{difficult}</difficult>\n    <bndbox>"
                f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
                "</bndbox>\n  </object>\n"
            )
    report.box_error = error
    text = (
        f"<annotation>\n  <filename>{escape(file.as_posix())}</filename>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"{''.join(objects)}</annotation>\n"
    )
    write_text_atomic((folder / "Annotations" / file).with_suffix(".xml"), text)


def _write_mask(
    dataset: Dataset, sample: Sample, folder: Path, file: Path, report: ExportReport
) -> None:
    truth = dataset.truths[sample.image_id]
    mask = truth.class_index_mask()
    write_png((folder / "masks" / file).with_suffix(".png"), mask, compression=1)
    if len(truth):
        # Regions of two classes that overlap cannot both stand in one mask.
        kept = sum(
            int(np.count_nonzero(decode_rle(rle) & (mask == label + 1)))
            for rle, label in zip(truth.masks or (), truth.labels.tolist(), strict=True)
        )
        report.iou[sample.image_id] = kept / max(int(truth.areas.sum()), 1)


_WRITTEN: Final[Mapping[str, tuple[LabelStrength, ...]]] = MappingProxyType(
    {
        "coco": ("masks", "boxes", "image"),
        "coco-polygons": ("masks",),
        "yolo": ("masks", "boxes"),
        "voc": ("masks", "boxes"),
        "yolo-seg": ("masks",),
        "masks": ("masks",),
    }
)
"""Strengths of label that a format can hold: a weaker one would look like a good image in it."""
_WRITE_ONE: Final[Mapping[str, Callable[[Dataset, Sample, Path, Path, ExportReport], None]]] = (
    MappingProxyType(
        {
            "coco": _write_nothing,
            "coco-polygons": _write_nothing,
            "yolo": _write_yolo,
            "yolo-seg": _write_yolo,
            "voc": _write_voc,
            "masks": _write_mask,
        }
    )
)


def _finish(
    dataset: Dataset, folder: Path, files: Mapping[str, Path], report: ExportReport
) -> None:
    sides: dict[str, list[Sample]] = {}
    in_coco = report.format in ("coco", "coco-polygons")
    for sample in dataset.samples:
        if in_coco or dataset.strengths[sample.image_id] in _WRITTEN[report.format]:
            sides.setdefault(sample.source_split, []).append(sample)
    if report.format in ("coco", "coco-polygons"):
        for side, samples in sides.items():
            document = coco_document(
                samples,
                dataset.truths,
                dataset.class_names,
                coco_ids=dataset.coco_ids,
                file_names={s.image_id: files[s.image_id].as_posix() for s in samples},
                split_digest=dataset.split.digest,
                ignored=dataset.ignored,
            )
            if report.format == "coco-polygons":
                for annotation in document["annotations"]:
                    if "segmentation" not in annotation:
                        continue
                    annotation["segmentation"] = [_polygon(annotation["segmentation"])]
            path = folder / "annotations" / f"instances_{side}.json"
            write_json_atomic(path, document, indent=None)
    elif report.format in ("yolo", "yolo-seg"):
        document = {}
        for side in ("train", "val", "test"):
            if side in sides:
                document[side] = f"{side}.txt"
                lines = [f"./images/{files[s.image_id].as_posix()}\n" for s in sides[side]]
                write_text_atomic(folder / f"{side}.txt", "".join(lines))
        document = {**document, "names": dict(enumerate(dataset.class_names))}
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        write_text_atomic(folder / "data.yaml", text)
    elif report.format == "voc":
        for side, samples in sides.items():
            names = [f"{files[s.image_id].with_suffix('').as_posix()}\n" for s in samples]
            write_text_atomic(folder / "ImageSets" / "Main" / f"{side}.txt", "".join(names))
    else:
        write_text_atomic(
            folder / CLASSES_FILE, "".join(f"{name}\n" for name in dataset.class_names)
        )
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("image", "side"))
        for sample in (one for side in sides.values() for one in side):
            writer.writerow((files[sample.image_id].as_posix(), sample.source_split))
        write_text_atomic(folder / SIDES_FILE, table.getvalue())


def _polygon(rle: Any) -> list[float]:
    window, top, left = rle_window(rle)
    ring = polygon_of_component(window)
    return [float(v) for x, y in ring for v in (x + left, y + top)]


def _note_losses(dataset: Dataset, report: ExportReport) -> None:
    if report.format not in ("coco", "coco-polygons"):
        for strength, lacks in (("image", "an image label alone"), ("boxes", "boxes alone")):
            n = sum(dataset.strengths[s.image_id] == strength for s in dataset.samples)
            if n and strength not in _WRITTEN[report.format]:
                report.notes.append(
                    f"{n} defective images have {lacks}, which this format cannot hold: they have "
                    "no label, and stand in no list, as they would look good"
                )
    if dataset.ignored and report.format not in ("coco", "coco-polygons", "voc"):
        report.notes.append("regions to be ignored are left out")
    if report.format in ("yolo", "voc"):
        report.notes.append("masks are left out; boxes are kept")
    if report.format not in ("coco", "coco-polygons"):
        report.notes.append("groups of images of one part are left out")
