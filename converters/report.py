"""How to convert, and the record of what was done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from annotations import Shots, Split
from annotations.split import Protocol
from converters.accounting import Leftovers
from converters.groups import Grouping
from converters.layouts import FindOptions
from converters.read_options import ReadOptions

AUTO_PROTOCOL: Final = "auto"
"""The source's own division where its training side has defects, else kfold."""
NO_SPLIT: Final = Split("custom", 0, (), "", ())
"""Before there is one."""


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        layout: of the source; one of `LAYOUTS`.
        protocol: of the split.
        folds: for kfold.
        seed: of the split.
        group_by: regular expression searched in every image's relative path; what its first
            group (or the whole of it) matches names the physical part.
        find_groups: look for images of one part by their texture; None does so without
            `group_by`, for up to `converters.groups.MOST_IMAGES` images.
        shots: for few-shot.
        split_file: a split from elsewhere, in place of a protocol.
        split_version: `split_file` is the folder of a converted dataset, and the split that of this
            version of it.
        find: what is said about the source's files.
        read: what is done with the truth.
        good_test_share: part of the good images that is tested where the source has no test side.
        workers: reading processes; None takes one a core where there are many images.
        copy_images: copy images in place of linking them, for programs that refuse links.
        allow_leftovers: convert also where images or labels of the source would be left over.
        unlabelled: a folder of images without labels that come along, for prediction alone.
    """

    layout: str = "auto"
    protocol: Protocol | Literal["auto"] = "auto"
    folds: int = 5
    seed: int = 0
    group_by: str | None = None
    find_groups: bool | None = None
    shots: Shots | None = None
    split_file: Path | None = None
    split_version: int | None = None
    find: FindOptions = field(default_factory=FindOptions)
    read: ReadOptions = field(default_factory=ReadOptions)
    good_test_share: float = 0.3
    workers: int | None = None
    copy_images: bool = False
    allow_leftovers: bool = False
    unlabelled: Path | None = None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One of several sources.

    Attributes:
        name: that its images keep.
        source: the folder or file that was read.
        layout: that it was read as, and why.
        images: by type.
        read: how its pixels were read, as it was settled for this source.
    """

    name: str
    source: Path
    layout: str
    images: Mapping[str, int]
    read: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What conversion.json holds of it."""
        return {
            "name": self.name,
            "source": str(self.source),
            "layout": self.layout,
            "images_by_type": dict(self.images),
            "options": dict(self.read),
        }


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
        label_strengths: defective images by how much their label says (`image`, `boxes`, `masks`).
        ambiguous_pixels: pixels between the two levels of a mask, by image id.
        counts: what was removed, merged, clipped, turned or guessed, by what it was.
        notes: decisions about the source, a sentence each.
        warnings: what nobody asked for and everybody should know, a sentence each.
        left_out: images that are no part of the dataset, and why.
        grouping: how images of one part were found.
        placed: images linked and copied.
        leftovers: files and labels of the source that are in no truth.
        round_trip: by image id, whether the mask came back bit for bit from the COCO text.
        sources: of several, what was read where; empty for one.
        n_unlabelled: images without a label that came along; none of the other numbers counts them.
    """

    source: Path
    layout: str
    options: ConvertOptions
    class_names: tuple[str, ...] = ()
    split: Split = NO_SPLIT
    n_images: Counter[str] = field(default_factory=Counter)
    n_masks: int = 0
    n_components: Counter[str] = field(default_factory=Counter)
    empty_masks: list[str] = field(default_factory=list)
    label_strengths: Counter[str] = field(default_factory=Counter)
    ambiguous_pixels: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    grouping: Grouping = field(default_factory=Grouping)
    placed: Counter[str] = field(default_factory=Counter)
    leftovers: Leftovers = field(default_factory=Leftovers)
    round_trip: dict[str, bool] = field(default_factory=dict)
    sources: list[SourceFacts] = field(default_factory=list)
    n_unlabelled: int = 0

    @property
    def skipped(self) -> Counter[str]:
        """Files without images or labels, by reason."""
        return self.leftovers.skipped

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
                "protocol": self.split.protocol,
                "folds": options.folds,
                "seed": options.seed,
                "group_by": options.group_by,
                "find_groups": options.find_groups,
                "detail": self.split.detail,
                "good_test_share": options.good_test_share,
                **options.read.to_json(),
            },
            "class_names": list(self.class_names),
            "images": sum(self.n_images.values()),
            "unlabelled_images": self.n_unlabelled,
            "images_by_folder": dict(sorted(self.n_images.items())),
            "masks": self.n_masks,
            "components": sum(self.n_components.values()),
            "components_by_type": dict(sorted(self.n_components.items())),
            "empty_masks": self.empty_masks,
            "label_strengths": dict(sorted(self.label_strengths.items())),
            "ambiguous_pixels": self.ambiguous_pixels,
            "counts": dict(sorted(self.counts.items())),
            "notes": self.notes,
            "warnings": self.warnings,
            "left_out": self.left_out,
            **self.grouping.to_json(),
            "placed": dict(self.placed),
            "skipped": dict(sorted(self.skipped.items())),
            "leftovers": self.leftovers.to_json(),
            "left_out_by_fold": [len(left) for left in self.split.left_out],
            "round_trip": {
                "exact": self.n_exact,
                "of": len(self.round_trip),
                "by_image": self.round_trip,
            },
        }
