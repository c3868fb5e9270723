"""Images of one part, side by side, so that a person can see whether they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from annotations import Dataset, ImageReadError, InputError
from annotations.files import read_json
from annotations.images import read_image_rgb
from report.pictures import write_jpeg

MOST_PARTS: Final = 200
MOST_SHOTS: Final = 12
PICTURE_PIXELS: Final = 140


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of a part."""

    image_id: str
    picture: str


@dataclass(frozen=True, slots=True)
class Part:
    """Images of one part; `more` of them are not shown."""

    name: str
    shots: tuple[Shot, ...]
    more: int


def write_parts(dataset: Dataset, folder: Path) -> tuple[list[Part], int]:
    """Write small pictures of every part that several images show.

    Returns:
        Parts, those of most images first, and how many more there are than are shown.
    """
    members: dict[str, list[str]] = {}
    for sample in dataset.samples:
        members.setdefault(sample.group, []).append(sample.image_id)
    several = sorted(
        ((name, ids) for name, ids in members.items() if len(ids) > 1),
        key=lambda item: (-len(item[1]), item[0]),
    )
    parts = [
        Part(
            name,
            tuple(_shot(dataset, image_id, folder) for image_id in ids[:MOST_SHOTS]),
            max(0, len(ids) - MOST_SHOTS),
        )
        for name, ids in several[:MOST_PARTS]
    ]
    return parts, max(0, len(several) - MOST_PARTS)


def _shot(dataset: Dataset, image_id: str, folder: Path) -> Shot:
    sample = dataset.by_id[image_id]
    try:
        picture = read_image_rgb(sample.image_path, bit_depth=dataset.bit_depth)
    except ImageReadError:
        picture = np.full((PICTURE_PIXELS, PICTURE_PIXELS, 3), 128, np.uint8)
    name = f"{sample.stem}.jpg"
    write_jpeg(folder / "parts" / name, picture, PICTURE_PIXELS, 80)
    return Shot(image_id, f"parts/{quote(name)}")


def conversion_facts(dataset: Dataset) -> list[tuple[str, str]]:
    """What conversion.json says in short, as name and text; empty where it is missing."""
    try:
        value: Any = read_json(dataset.root / "conversion.json", what="the report of a conversion")
        trip = value["round_trip"]
        facts = [
            ("source", str(value["source"])),
            ("layout", str(value["layout"])),
            ("images", str(value["images"])),
            ("masks that came back bit for bit", f"{trip['exact']} of {trip['of']}"),
            ("empty masks", str(len(value["empty_masks"]))),
            ("gray mask pixels, cut at half", str(sum(value["ambiguous_pixels"].values()))),
            ("files skipped", str(sum(value["skipped"].values()))),
        ]
        facts += [
            (f"regions of type {kind}", str(count))
            for kind, count in value["components_by_type"].items()
        ]
        rule = value.get("parts", {}).get("told_by")
        return [*facts, ("parts told", str(rule))] if rule else facts
    except (InputError, KeyError, TypeError, AttributeError):
        return []
