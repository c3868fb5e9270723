"""What another person said of the same images: labels alone, without a dataset of their own."""

import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from annotations import GOOD, Dataset, InputError
from annotations.errors import shortened
from converters.archive import is_zip, unpacked
from converters.inventory import open_source
from converters.layouts import FindOptions, find_images
from converters.layouts.source import settle_sides
from converters.looking import settle_pixels
from converters.pool import read_all
from converters.report import ConversionReport, ConvertOptions

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class SecondLabels:
    """A grader's labels of a dataset's images.

    Attributes:
        defective: True for defective, by image id of the dataset.
        n_unknown: images of the source that the dataset does not have, passed over.
        n_contradicting: copies of one image that the grader called both good and defective; they
            count as defective.
    """

    defective: dict[str, bool]
    n_unknown: int
    n_contradicting: int


def read_second_labels(source: Path, dataset: Dataset) -> SecondLabels:
    """Read labels in any layout that `convert` reads, and find the dataset's images in them.

    An image is the dataset's if its file is the same byte for byte; its name does not matter, so
    that a grader may have been given the images in another order and under other names.

    Raises:
        InputError: not one image is the dataset's.
        DefectuneError: the source cannot be read, as `convert` says it.
    """
    options = ConvertOptions(find=FindOptions(missing_masks="image-label"), workers=1)
    with unpacked(source) if is_zip(source) else contextlib.nullcontext(source) as content:
        found, reason = find_images(open_source(content), options.layout, options.find)
        settle_sides(found)
        read = settle_pixels(found, options, ConversionReport(source, reason, options))
        facts = list(read_all(found.images, replace(read), workers=1))
    ids: dict[str, list[str]] = {}
    for sample in dataset.samples:
        ids.setdefault(sample.sha256, []).append(sample.image_id)
    said: dict[str, set[bool]] = {}
    unknown: Counter[str] = Counter()
    for image, one in zip(found.images, facts, strict=True):
        if one.left_out is not None:
            continue
        if one.sha256 not in ids:
            unknown[image.relative] += 1
        for image_id in ids.get(one.sha256, ()):
            said.setdefault(image_id, set()).add(one.defect_type != GOOD)
    if not said:
        some = ", ".join(shortened(name, 80) for name in list(unknown)[:_NAMED])
        raise InputError(
            f"--second-labels {source} holds {len(unknown)} images ({some} …), and none of them is "
            f"an image of {dataset.root}: images are compared byte for byte. Give labels of the "
            "images that were converted."
        )
    return SecondLabels(
        {image_id: True in verdicts for image_id, verdicts in said.items()},
        sum(unknown.values()),
        sum(len(verdicts) > 1 for verdicts in said.values()),
    )
