"""The conversion: from a source layout to the converted dataset, proved and written as a whole."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask

from annotations import (
    Dataset,
    InputError,
    OutputExistsError,
    Regions,
    Sample,
    Shots,
    Split,
    UsageError,
    coco_document,
    make_split,
    mask_to_regions,
    read_custom_split,
    write_split,
)
from annotations.dataset import COCO_ALL, SPLIT_FILE
from annotations.files import folder_moved_into_place, write_json_atomic
from annotations.images import check_image_file, sha256_of
from annotations.regions import BoolMask
from annotations.split import Protocol
from converters.groups import Grouping, compile_pattern, group_images
from converters.masks import read_binary_mask, write_class_masks
from converters.mvtec import Found, SourceImage, read_mvtec
from converters.yolo import fold_place, image_file_name, place_image, write_data_files, write_labels

LAYOUTS: Final = ("auto", "mvtec")
REPORT_FILE: Final = "conversion.json"


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        layout: of the source; `auto` or `mvtec`.
        protocol: of the split.
        folds: for kfold.
        seed: of the split.
        group_by: regular expression searched in every image's relative path; what its first
            group (or the whole of it) matches names the physical part.
        find_groups: look for images of one part by their texture; None does so without
            `group_by`, for up to `converters.groups.MOST_IMAGES` images.
        shots: for few-shot.
        split_file: a split from elsewhere, in place of a protocol.
    """

    layout: str = "auto"
    protocol: Protocol = "kfold"
    folds: int = 5
    seed: int = 0
    group_by: str | None = None
    find_groups: bool | None = None
    shots: Shots | None = None
    split_file: Path | None = None


@dataclass(slots=True)
class ConversionReport:
    """What was read, repaired and refused; `to_json` is what conversion.json holds.

    Attributes:
        source: the folder that was read.
        layout: that it was read as, and why.
        options: of the conversion.
        class_names: defect types.
        split: the frozen split.
        n_images: by source split and type.
        n_masks: masks read.
        n_components: regions by type.
        empty_masks: ids of defective images whose mask is empty; they keep their image label.
        ambiguous_pixels: pixels between the two levels of a mask, by image id.
        grouping: how images of one part were found.
        placed: images linked and copied.
        skipped: files passed over, by reason.
        round_trip: by image id, whether the mask came back bit for bit from the COCO text.
    """

    source: Path
    layout: str
    options: ConvertOptions
    class_names: tuple[str, ...]
    split: Split
    n_images: Counter[str] = field(default_factory=Counter)
    n_masks: int = 0
    n_components: Counter[str] = field(default_factory=Counter)
    empty_masks: list[str] = field(default_factory=list)
    ambiguous_pixels: dict[str, int] = field(default_factory=dict)
    grouping: Grouping = field(default_factory=Grouping)
    placed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    round_trip: dict[str, bool] = field(default_factory=dict)

    @property
    def n_exact(self) -> int:
        """Masks that came back bit for bit."""
        return sum(self.round_trip.values())

    def to_json(self) -> dict[str, Any]:
        """What conversion.json holds."""
        options = self.options
        return {
            "split_digest": self.split.digest,
            "source": str(self.source),
            "layout": self.layout,
            "options": {
                "protocol": options.protocol,
                "folds": options.folds,
                "seed": options.seed,
                "group_by": options.group_by,
                "find_groups": options.find_groups,
                "detail": self.split.detail,
            },
            "class_names": list(self.class_names),
            "images": sum(self.n_images.values()),
            "images_by_folder": dict(sorted(self.n_images.items())),
            "masks": self.n_masks,
            "components": sum(self.n_components.values()),
            "components_by_type": dict(sorted(self.n_components.items())),
            "empty_masks": self.empty_masks,
            "ambiguous_pixels": self.ambiguous_pixels,
            **self.grouping.to_json(),
            "placed": dict(self.placed),
            "skipped": dict(sorted(self.skipped.items())),
            "left_out_by_fold": [len(left) for left in self.split.left_out],
            "round_trip": {
                "exact": self.n_exact,
                "of": len(self.round_trip),
                "by_image": self.round_trip,
            },
        }


def convert(
    source: Path,
    output: Path,
    options: ConvertOptions = ConvertOptions(),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert a folder of images and masks into a dataset that all families share.

    Everything is written beside `output` and moved into place at the end: a failed or killed
    conversion leaves nothing at `output`.

    Args:
        source: folder of one category.
        output: a new or empty folder.
        options: layout, split, groups.
        progress: called with images done and images in all.

    Returns:
        The report that is also written as conversion.json.

    Raises:
        LayoutError: the source does not have the layout.
        InputError: an unpaired image or mask, unequal sizes, a mask that did not come back.
        ImageReadError: an image or mask that cannot be read.
        OutputExistsError: `output` holds something already, or lies in the source.
        UsageError: an unknown layout or a malformed regular expression.
    """
    if options.layout not in LAYOUTS:
        raise UsageError(f"Unknown layout {options.layout!r}; known are {', '.join(LAYOUTS)}.")
    pattern = compile_pattern(options.group_by)
    if output.resolve() == source.resolve() or output.resolve().is_relative_to(source.resolve()):
        raise OutputExistsError(
            f"The output {output} lies inside the source {source}, where it would be read as "
            "data. Choose a folder elsewhere."
        )
    hint = "Choose another OUT, or remove that folder yourself."
    with folder_moved_into_place(output, hint=hint) as folder:
        found = read_mvtec(source)
        reason = "mvtec: it holds train/good and test"
        if options.layout != "auto":
            reason = f"{options.layout}: as asked for"
        class_names = tuple(sorted({i.defect_type for i in found.images} - {"good"}))
        samples, truths, masks, notes = _read_all(found, class_names, pattern, options, progress)
        if options.split_file is not None:
            split = read_custom_split(options.split_file, samples, seed=options.seed)
        else:
            split = make_split(
                samples,
                protocol=options.protocol,
                folds=options.folds,
                seed=options.seed,
                shots=options.shots,
            )
        dataset = Dataset(folder, class_names, tuple(samples), MappingProxyType(truths), split)
        report = ConversionReport(source, reason, options, class_names, split, **notes)
        report.skipped = found.skipped
        _write(dataset, report, masks)
    return report


def _read_all(
    found: Found,
    class_names: tuple[str, ...],
    pattern: re.Pattern[str] | None,
    options: ConvertOptions,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Sample], dict[str, Regions], dict[str, BoolMask], dict[str, Any]]:
    notes: dict[str, Any] = {
        "n_images": Counter(),
        "n_masks": 0,
        "n_components": Counter(dict.fromkeys(class_names, 0)),
        "empty_masks": [],
        "ambiguous_pixels": {},
    }
    facts: list[tuple[SourceImage, tuple[int, int], str]] = []
    truths: dict[str, Regions] = {}
    packed: dict[str, BoolMask] = {}
    for number, image in enumerate(found.images, start=1):
        image_hw = check_image_file(image.image_path)
        facts.append((image, image_hw, sha256_of(image.image_path)))
        truths[image.image_id] = Regions.empty(image_hw)
        folder = Path(image.relative).parent.as_posix()
        notes["n_images"][folder] += 1
        if image.mask_path is not None:
            mask = read_binary_mask(image.mask_path, image_hw=image_hw, image_path=image.image_path)
            label = class_names.index(image.defect_type)
            regions = mask_to_regions(mask.inside, label=label)
            truths[image.image_id] = regions
            # One bit a pixel: a thousand masks of 900×900 are 100 MB.
            packed[image.image_id] = np.packbits(mask.inside)  # type: ignore[assignment]
            notes["n_masks"] += 1
            notes["n_components"][image.defect_type] += len(regions)
            if not len(regions):
                notes["empty_masks"].append(image.image_id)
            if mask.n_ambiguous:
                notes["ambiguous_pixels"][image.image_id] = mask.n_ambiguous
        if progress is not None:
            progress(number, len(found.images))
    notes["grouping"] = grouping = group_images(
        [(image.image_id, image.relative, image.image_path, digest) for image, _, digest in facts],
        pattern=pattern,
        find=options.find_groups,
        progress=progress,
    )
    samples = [
        Sample(
            image_id=image.image_id,
            image_path=image.image_path,
            mask_path=image.mask_path,
            defect_type=image.defect_type,
            image_hw=image_hw,
            sha256=digest,
            group=grouping.groups[image.image_id],
            source_split=image.source_split,
        )
        for image, image_hw, digest in facts
    ]
    return samples, truths, packed, notes


def _write(dataset: Dataset, report: ConversionReport, masks: dict[str, BoolMask]) -> None:
    samples, folder = list(dataset.samples), dataset.root
    names = {sample.image_id: image_file_name(sample) for sample in samples}
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
        )

    write_json_atomic(folder / COCO_ALL, document(samples), indent=None)
    for number, fold in enumerate(dataset.split.folds):
        place = fold_place(folder / COCO_ALL.parent, dataset.split, number)
        for side, ids in (("train", fold.train), ("val", fold.val), ("test", fold.test)):
            part = document(dataset.select(ids))
            write_json_atomic(place / f"{side}.json", part, indent=None)
    report.round_trip = prove_round_trip(folder / COCO_ALL, masks)
    failed = [image_id for image_id, exact in report.round_trip.items() if not exact]
    if failed:
        raise InputError(
            f"The masks of {', '.join(failed[:5])} did not come back bit for bit from the COCO "
            "file. This is a fault of this program; nothing was written."
        )
    for sample in samples:
        report.placed[place_image(sample.image_path, folder / names[sample.image_id])] += 1
    write_labels(folder, samples, dataset.truths)
    write_class_masks(dataset, samples, folder)
    write_data_files(folder, samples, dataset.split, dataset.class_names)
    write_split(folder / SPLIT_FILE, dataset.split, samples)
    write_json_atomic(folder / REPORT_FILE, report.to_json())


def prove_round_trip(path: Path, masks: dict[str, Any]) -> dict[str, bool]:
    """Read a COCO file back with pycocotools alone and compare with the masks, bit by bit.

    Args:
        path: COCO file as written.
        masks: packed bits (`numpy.packbits`) by image id.

    Returns:
        By image id, whether the union of its regions is the mask.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    rows: dict[int, list[Any]] = {}
    for annotation in document["annotations"]:
        rows.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    result = {}
    for image in document["images"]:
        image_id = image["defectune"]["image_id"]
        if image_id in masks:
            union = np.zeros((image["height"], image["width"]), np.uint8)
            for rle in rows.get(image["id"], []):
                union |= coco_mask.decode(rle)
            result[image_id] = bool(np.array_equal(np.packbits(union), masks[image_id]))
    return result
