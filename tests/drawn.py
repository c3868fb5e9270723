"""Datasets for tests, drawn small."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import defectune as dt
from annotations import Dataset, Regions, Sample, make_split, mask_to_regions
from converters import ConvertOptions, convert
from converters.synthetic import SyntheticConfig, draw_category

if TYPE_CHECKING:
    from classify import ClassifyConfig

SMALL = SyntheticConfig(n_train_good=6, n_test_good=4, n_per_type=4, image_hw=(64, 64))


def drawn_dataset(
    folder: Path, options: ConvertOptions | None = None, config: SyntheticConfig = SMALL
) -> Path:
    """Draw and convert a category; returns the converted dataset's folder."""
    source = draw_category(folder / "source", config)
    convert(source, folder / "dataset", options or ConvertOptions(folds=2))
    return folder / "dataset"


def trained_category(folder: Path) -> Path:
    """Draw a category into folder/source, convert it to folder/out, and train the run `quick`."""
    source = draw_category(folder, SMALL).rename(folder / "source")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert(source, folder / "out", ConvertOptions(folds=2))
        dt.train(
            folder / "out", "classify", method="patch-memory", model="resnet18", weights="none",
            image_size=64, device="cpu", name="quick", progress=False,
        )  # fmt: skip
    return folder


def sample(
    image_id: str,
    *,
    group: str | None = None,
    source_split: str = "test",
    hw: tuple[int, int] = (8, 8),
) -> Sample:
    """A sample without files; its type is the id's folder."""
    return Sample(
        image_id=image_id,
        image_path=Path(f"{image_id}.png"),
        mask_path=None,
        defect_type=image_id.split("/")[-2],
        image_hw=hw,
        sha256=hashlib.sha256(image_id.encode()).hexdigest(),
        group=group or image_id,
        source_split=source_split,
    )


def many_samples(n_train_good: int = 10, n_test_good: int = 6, n_per_type: int = 8) -> list[Sample]:
    """Samples of two defect types, without files."""
    made = [sample(f"train/good/{n:03d}", source_split="train") for n in range(n_train_good)]
    made += [sample(f"good/{n:03d}") for n in range(n_test_good)]
    made += [sample(f"{t}/{n:03d}") for t in ("chip", "scratch") for n in range(n_per_type)]
    return made


def memory_dataset(
    root: Path, truth_of: Callable[[Sample], npt.NDArray[np.bool_]], folds: int = 2
) -> Dataset:
    """A dataset without image files, its truth given by a function of the sample."""
    samples = sorted(many_samples(), key=lambda s: s.image_id)
    names = ("chip", "scratch")
    truths = {}
    for one in samples:
        label = names.index(one.defect_type) if one.is_defective else 0
        mask = truth_of(one) if one.is_defective else np.zeros(one.image_hw, bool)
        truths[one.image_id] = (
            mask_to_regions(mask, label=label) if mask.any() else Regions.empty(one.image_hw)
        )
    split = make_split(samples, folds=folds)
    return Dataset(root, names, tuple(samples), MappingProxyType(truths), split)


def classify_config(method: str, **settings: object) -> "ClassifyConfig":
    """A method's configuration from settings of several methods: it takes those that it has."""
    from classify import ClassifyConfig, config_class

    known = config_class(method).model_fields
    return ClassifyConfig(method=method, **{k: v for k, v in settings.items() if k in known})
