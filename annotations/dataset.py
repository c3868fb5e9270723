"""`Dataset`: a converted dataset on disk, as the trainers, the evaluation and the report see it.

`annotations/all.json` is a COCO file that any COCO tool reads; what COCO has no place for stands
under the key `defectune` of every image.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from annotations.errors import InputError, shortened
from annotations.files import inside, read_json
from annotations.regions import CocoRle, Regions
from annotations.rle import check_rle
from annotations.samples import Sample
from annotations.split import Split, parse_split, read_split
from annotations.strength import LabelStrength, label_strength
from annotations.unlabelled import UnlabelledImage, read_unlabelled
from annotations.version_files import (
    KEPT_IMAGES,
    READY_FOLDER,
    Version,
    current_version,
    read_record,
    read_state,
    state_path,
)

COCO_ALL: Final = Path("annotations") / "all.json"
SPLIT_FILE: Final = Path("split.json")
IMAGES_FOLDER: Final = Path("yolo") / "images"
LABELS_FOLDER: Final = Path("yolo") / "labels"
MASKS_FOLDER: Final = Path("masks")


@dataclass(frozen=True)
class Dataset:
    """A converted dataset.

    Attributes:
        root: its folder.
        class_names: defect types, without `good`; a label is an index into them.
        samples: all images, sorted by id.
        truths: regions by image id; empty regions for good images.
        split: the frozen split.
        ignored: regions that are neither defect nor background, by image id, for the images that
            have any. Nothing is learned from them as defects and they stand in no truth; COCO's own
            evaluation knows them by `iscrowd = 1`.
        bit_depth: of the 16-bit images that the source had, as they were read; new images of 16
            bits are read the same way. None: there was none.
        version: number and digest of the version that this is; None for a dataset that was never
            updated.
        unlabelled: images without a label, sorted by id. They are in no fold and in no metric;
            `predict` takes them.

    Raises:
        ValueError: truths of other images, or a good image with a defect region.

    Example:
        >>> import defectune as dt
        >>> data = dt.load("out")
        >>> data.select(data.split.folds[0].test)[0].is_defective
        True
        >>> sum(len(data.truths[image_id]) for image_id in data.split.test_ids)
        13
    """

    root: Path
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    truths: Mapping[str, Regions]
    split: Split
    ignored: Mapping[str, Regions] = field(default_factory=dict)
    bit_depth: int | None = None
    version: Version | None = None
    unlabelled: tuple[UnlabelledImage, ...] = ()

    def __post_init__(self) -> None:
        if {sample.image_id for sample in self.samples} != set(self.truths):
            raise ValueError("Dataset.truths must hold exactly the samples' ids.")
        for sample in self.samples:
            n = len(self.truths[sample.image_id])
            if n and not sample.is_defective:
                raise ValueError(f"{sample.image_id} is good, and has {n} defect regions.")

    def __repr__(self) -> str:
        n_defective = sum(sample.is_defective for sample in self.samples)
        n_types, n_folds = len(self.class_names), len(self.split.folds)
        more = f", {len(self.unlabelled)} more without a label" if self.unlabelled else ""
        return (
            f"Dataset({self.root.as_posix()!r}: {len(self.samples)} images, {n_defective} "
            f"defective, {n_types} defect type{'s' * (n_types != 1)}{more}; {self.split.protocol}, "
            f"{n_folds} fold{'s' * (n_folds != 1)})"
        )

    def _repr_html_(self) -> str:
        counts = Counter(sample.defect_type for sample in self.samples)
        body = "".join(
            f"<tr><td>{escape(kind)}</td><td style='text-align:right'>{counts[kind]}</td></tr>"
            for kind in sorted(counts)
        )
        return (
            f"<p>{escape(repr(self))}</p><table><tr><th>type</th><th>images</th></tr>{body}</table>"
        )

    @property
    def empty(self) -> tuple[str, ...]:
        """Ids of defective images without a region: known by an image label alone, or with an
        empty mask."""
        return tuple(
            s.image_id for s in self.samples if s.is_defective and not len(self.truths[s.image_id])
        )

    @cached_property
    def strengths(self) -> dict[str, LabelStrength]:
        """How much each image's label says, by id (see `annotations.strength`)."""
        return {s.image_id: label_strength(s, self.truths[s.image_id]) for s in self.samples}

    @cached_property
    def by_id(self) -> dict[str, Sample]:
        """Samples by id."""
        return {sample.image_id: sample for sample in self.samples}

    @cached_property
    def coco_ids(self) -> dict[str, int]:
        """Whole-number COCO image ids by image id: the place in the sorted order, from 1."""
        return {sample.image_id: n for n, sample in enumerate(self.samples, start=1)}

    def select(self, ids: Sequence[str]) -> list[Sample]:
        """Samples of these ids, in this order."""
        by_id = self.by_id
        return [by_id[image_id] for image_id in ids]


def coco_document(
    samples: Sequence[Sample],
    truths: Mapping[str, Regions],
    class_names: Sequence[str],
    *,
    coco_ids: Mapping[str, int],
    file_names: Mapping[str, str],
    split_digest: str,
    ignored: Mapping[str, Regions] = MappingProxyType({}),
    bit_depth: int | None = None,
    mask_places: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Build a COCO document of these samples.

    Args:
        samples: images to list, good ones too.
        truths: regions by image id; those that are boxes alone get no segmentation.
        class_names: by label; category ids count from 1.
        coco_ids: whole-number ids, shared by every document of the dataset.
        file_names: image file by id, relative to the dataset's folder.
        split_digest: of the split.
        ignored: regions with masks to write with `iscrowd = 1`, by image id.
        bit_depth: see `Dataset`.
        mask_places: where the source's mask of an image stands, by id (see `portable`).

    Returns:
        What `json.dump` takes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for sample in samples:
        height, width = sample.image_hw
        images.append(
            {
                "id": coco_ids[sample.image_id],
                "file_name": file_names[sample.image_id],
                "width": width,
                "height": height,
                "defectune": {
                    "image_id": sample.image_id,
                    "defect_type": sample.defect_type,
                    "sha256": sample.sha256,
                    "group": sample.group,
                    "source_split": sample.source_split,
                    "label_strength": label_strength(sample, truths[sample.image_id]),
                    "mask": mask_places.get(sample.image_id),
                    **({"source": sample.source} if sample.source else {}),
                    **({"date": sample.date} if sample.date else {}),
                },
            }
        )
        parts = [(truths[sample.image_id], 0)]
        if sample.image_id in ignored:
            parts.append((ignored[sample.image_id], 1))
        for regions, iscrowd in parts:
            masks: Sequence[CocoRle | None] = regions.masks or (None,) * len(regions)
            for label, box, area, rle in zip(
                regions.labels.tolist(),
                regions.boxes_xyxy.tolist(),
                regions.areas.tolist(),
                masks,
                strict=True,
            ):
                x1, y1, x2, y2 = box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": coco_ids[sample.image_id],
                        "category_id": label + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": area,
                        **({} if rle is None else {"segmentation": rle}),
                        "iscrowd": iscrowd,
                    }
                )
    return {
        "info": {
            "description": "made by defectune",
            "split_digest": split_digest,
            **({} if bit_depth is None else {"bit_depth": bit_depth}),
        },
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": n, "name": name, "supercategory": "defect"}
            for n, name in enumerate(class_names, start=1)
        ],
    }


def portable(path: Path, root: Path, source: Path) -> str:
    """Where a file of the source stands, without the folders of this machine.

    Args:
        path: a file or folder in `source`, or `source` itself.
        root: the dataset's folder.
        source: the source's folder.

    Returns:
        A path with `/`: from the dataset's folder where the two lie under one folder, so that it
        still holds when both are moved together; else from the source's folder.
    """
    here, home = root.resolve(), source.resolve()
    # Links within the source stand where they stand, and not where they lead.
    there = home / path.relative_to(source) if path.is_relative_to(source) else path.resolve()
    # A path that climbs to the top of the disk would name every folder of the machine.
    if here.parts[:2] == there.parts[:2]:
        return Path(os.path.relpath(there, here)).as_posix()
    inner = there.relative_to(home) if there.is_relative_to(home) else PurePath(there.name)
    return inner.as_posix() if inner.parts else there.name


def load_dataset(root: Path) -> Dataset:
    """Read a converted dataset.

    Raises:
        InputError: not a converted dataset, one that was damaged, or one in the middle of an
            update.
        SplitMismatchError: its split does not belong to its images.
    """
    path = root / COCO_ALL
    if (root / READY_FOLDER).exists():
        raise InputError(
            f"An update of {root} is being moved into place, or was killed while it was. Wait, or "
            f"finish it: `defectune update {root}`."
        )
    if not path.is_file():
        raise InputError(
            f"{root} is not a converted dataset: there is no {COCO_ALL.as_posix()} in it. Make "
            "one with `defectune convert SRC OUT` and give OUT here."
        )
    document: Any = read_json(path, what="the labels of a converted dataset")

    def split_of(samples: Sequence[Sample]) -> Split:
        return read_split(root / SPLIT_FILE, samples)

    return _dataset_of(document, root, path, split_of, current_version(root))


def load_version(root: Path, number: int) -> Dataset:
    """Read labels and split of a version of a dataset.

    Images that the current version no longer has are found where they are kept.

    Args:
        root: the dataset's folder.
        number: of the version, from 1.

    Raises:
        UsageError: there never was such a version.
        InputError: it was deleted, or damaged.
    """
    state, path = read_state(root, number), state_path(root, number)

    def split_of(samples: Sequence[Sample]) -> Split:
        return parse_split(state["split"], samples, source=path)

    version = Version(number, read_record(root, number)["digest"])
    dataset = _dataset_of(state["labels"], root, path, split_of, version)
    kept = [_with_kept_image(root, sample) for sample in dataset.samples]
    return replace(dataset, samples=tuple(kept))


def kept_image(root: Path, sample: Sample) -> Path:
    """Where the image of a sample is kept once the current version no longer has it."""
    return root / KEPT_IMAGES / f"{sample.sha256}{sample.image_path.suffix}"


def _with_kept_image(root: Path, sample: Sample) -> Sample:
    # A name may have come to another image since; what is kept goes by its bytes.
    kept = kept_image(root, sample)
    return replace(sample, image_path=kept) if os.path.lexists(kept) else sample


def _dataset_of(
    document: Any,
    root: Path,
    path: Path,
    split_of: Callable[[Sequence[Sample]], Split],
    version: Version | None,
) -> Dataset:
    try:
        class_names = tuple(str(c["name"]) for c in document["categories"])
        samples = tuple(_sample(root, path, entry) for entry in document["images"])
        truths = _regions(document, len(class_names), iscrowd=0)
        ignored = {
            image_id: regions
            for image_id, regions in _regions(document, len(class_names), iscrowd=1).items()
            if len(regions)
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is not the labels of a converted dataset "
            f"({type(error).__name__}: {shortened(error)}). "
            "Convert again into a new folder."
        ) from error
    split = split_of(samples)
    try:
        dataset = Dataset(
            root,
            class_names,
            samples,
            MappingProxyType(truths),
            split,
            MappingProxyType(ignored),
            _bit_depth(document),
            version,
            read_unlabelled(root).settled({sample.sha256 for sample in samples}).waiting,
        )
        _require_strengths(document, dataset)
        return dataset
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged: {shortened(error)} Convert again into a new folder."
        ) from error


def _require_strengths(document: Any, dataset: Dataset) -> None:
    """Refuse a label that says another strength than its regions have; older files say none."""
    for entry in document["images"]:
        image_id, stated = entry["defectune"]["image_id"], entry["defectune"].get("label_strength")
        if stated is not None and stated != dataset.strengths[image_id]:
            raise ValueError(
                f"{image_id} has the label_strength {shortened(repr(stated), 40)}, and its regions "
                f"are those of {dataset.strengths[image_id]!r}."
            )


def _bit_depth(document: Any) -> int | None:
    depth = document.get("info", {}).get("bit_depth")
    if depth is None:
        return None
    if isinstance(depth, bool) or not isinstance(depth, int) or not 8 <= depth <= 16:
        raise ValueError("its bit_depth is no number from 8 to 16.")
    return depth


def _sample(root: Path, path: Path, entry: Any) -> Sample:
    ours = entry["defectune"]
    return Sample(
        image_id=str(ours["image_id"]),
        image_path=inside(root, str(entry["file_name"]), source=path, follow_links=False),
        # Older datasets hold absolute paths, which stand as they are.
        mask_path=Path(os.path.normpath(root.resolve() / str(ours["mask"])))
        if ours["mask"]
        else None,
        defect_type=str(ours["defect_type"]),
        image_hw=(int(entry["height"]), int(entry["width"])),
        sha256=str(ours["sha256"]),
        group=str(ours["group"]),
        source_split=str(ours["source_split"]),
        source=str(ours.get("source") or ""),
        date=str(ours.get("date") or ""),
    )


def _regions(document: Any, n_classes: int, *, iscrowd: int) -> dict[str, Regions]:
    rows: dict[int, list[Any]] = {int(entry["id"]): [] for entry in document["images"]}
    for annotation in document["annotations"]:
        if int(annotation.get("iscrowd", 0)) == iscrowd:
            rows[int(annotation["image_id"])].append(annotation)
    truths: dict[str, Regions] = {}
    for entry in document["images"]:
        boxes, labels = [], []
        masks: list[CocoRle] | None = []
        image_hw = (int(entry["height"]), int(entry["width"]))
        for annotation in rows[int(entry["id"])]:
            x, y, width, height = (float(v) for v in annotation["bbox"])
            label = int(annotation["category_id"]) - 1
            if not 0 <= label < n_classes:
                raise ValueError(f"category {label + 1} does not exist")
            boxes.append((x, y, x + width, y + height))
            labels.append(label)
            if "segmentation" not in annotation:
                masks = None
            elif masks is not None:
                masks.append(_rle(annotation["segmentation"]))
        truths[str(entry["defectune"]["image_id"])] = Regions(
            boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            masks=None if masks is None else tuple(masks),
            labels=np.array(labels, np.int64),
            scores=None,
            image_hw=image_hw,
        )
    return truths


def _rle(value: Any) -> CocoRle:
    height, width = (int(n) for n in value["size"])
    rle: CocoRle = {"size": [height, width], "counts": str(value["counts"])}
    check_rle(rle)
    return rle
