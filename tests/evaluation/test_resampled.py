"""Resampled region and pixel figures equal those of a data set with images repeated."""

import contextlib
import io
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from annotations import Dataset, Regions, mask_to_regions
from evaluation.coco_ap import region_precision
from evaluation.intervals import perfect_ranking_bound, ratio_of_sums, resample_weights
from evaluation.metric import rate
from evaluation.pixel_metrics import PixelCounts, pixel_metrics, pooled
from evaluation.pixel_resamples import PixelResampler
from evaluation.strata import image_size, size_classes
from tests.drawn import memory_dataset


def two_shapes(one):
    mask = np.zeros(one.image_hw, bool)
    mask[1:4, 1:5] = True
    mask[6:8, 5:8] = True
    return mask


def noisy_regions(dataset, ids, seed):
    rng = np.random.default_rng(seed)
    found = {}
    for image_id in ids:
        truth = dataset.truths[image_id]
        rows = [*truth.boxes_xyxy.tolist(), [0, 5, 3, 8]]
        kept = [np.array(r) + rng.uniform(-0.6, 0.6, 4) for r in rows if rng.random() < 0.75]
        found[image_id] = Regions(
            np.array(kept, np.float32).reshape(-1, 4).clip(0, 8),
            None,
            rng.integers(0, 2, len(kept)).astype(np.int64),
            rng.random(len(kept)).astype(np.float32),
            truth.image_hw,
        )
    return found


def repeated(dataset, ids, regions, weights):
    """A data set in which each image stands as often as it was drawn."""
    samples, truths, found, names = [], {}, {}, []
    for image_id, count in zip(ids, weights.tolist(), strict=True):
        for copy in range(count):
            # Sorted, copies stay where their original was: ties keep their order.
            name = f"{image_id}/copy-{copy}"
            samples.append(replace(dataset.by_id[image_id], image_id=name))
            truths[name] = dataset.truths[image_id]
            found[name] = regions[image_id]
            names.append(name)
    samples.sort(key=lambda s: s.image_id)
    made = Dataset(
        dataset.root, dataset.class_names, tuple(samples), MappingProxyType(truths), dataset.split
    )
    return made, names, found


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_the_repeated_data_set(tmp_path, seed):
    dataset = memory_dataset(tmp_path, two_shapes)
    ids = list(dataset.split.test_ids)
    regions = noisy_regions(dataset, ids, seed)
    weights = np.random.default_rng(seed).integers(0, 3, (5, len(ids)))
    got = region_precision(dataset, ids, regions, kind="bbox", weights=weights)
    for index, row in enumerate(weights):
        made, names, found = repeated(dataset, ids, regions, row)
        expected = region_precision(made, names, found, kind="bbox")
        assert got.values[0][index] == pytest.approx(expected.mean.value, abs=1e-9)
        assert got.values[1][index] == pytest.approx(expected.half.value, abs=1e-9)


def test_sizes_and_classes_are_cocoevals(tmp_path):
    dataset = memory_dataset(tmp_path, two_shapes)
    ids = list(dataset.split.test_ids)
    regions = noisy_regions(dataset, ids, 1)
    sizes = size_classes(dataset)
    got = region_precision(dataset, ids, regions, kind="bbox", sizes=sizes)
    images = [{"id": n, "height": 8, "width": 8} for n, _ in enumerate(ids, start=1)]
    rows, annotations = [], []
    for number, image_id in enumerate(ids, start=1):
        truth, found = dataset.truths[image_id], regions[image_id]
        for box, label, area in zip(truth.boxes_xyxy, truth.labels, truth.areas, strict=True):
            x1, y1, x2, y2 = map(float, box)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(area), "iscrowd": 0}
            )  # fmt: skip
        for box, label, score in zip(found.boxes_xyxy, found.labels, found.scores, strict=True):
            x1, y1, x2, y2 = map(float, box)
            rows.append(
                {"image_id": number, "category_id": int(label) + 1, "score": float(score),
                 "bbox": [x1, y1, x2 - x1, y2 - y1]}
            )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": images, "annotations": annotations,
            "categories": [{"id": 1, "name": "chip"}, {"id": 2, "name": "scratch"}],
        }  # fmt: skip
        truth.createIndex()
        coco_eval = COCOeval(truth, truth.loadRes(rows), "bbox")
        coco_eval.params.areaRng = [
            [0, 1e9], *([s.low * 64, np.nextafter(min(s.high, 9) * 64, 0)] for s in sizes)
        ]  # fmt: skip
        coco_eval.params.areaRngLbl = ["all", *(s.name for s in sizes)]
        coco_eval.evaluate()
        coco_eval.accumulate()
    table = coco_eval.eval["precision"][..., -1]

    def mean(part):
        kept = part[part > -1]
        return float(kept.mean()) if kept.size else None

    assert got.mean.value == pytest.approx(mean(table[:, :, :, 0]))
    for k, name in enumerate(dataset.class_names):
        assert got.by_class[name][0].value == pytest.approx(mean(table[:, :, k, 0]))
        assert got.by_class[name][1].value == pytest.approx(mean(table[:1, :, k, 0]))
    for a, size in enumerate(sizes, start=1):
        value = mean(table[:, :, :, a])
        assert got.by_size[size.name][0].value == (value if value is None else pytest.approx(value))


def test_size_classes_are_terciles_and_cover_everything(tmp_path):
    def growing(one):
        mask = np.zeros(one.image_hw, bool)
        mask[0, : 1 + int(one.image_id[-1])] = True
        return mask

    dataset = memory_dataset(tmp_path, growing)
    sizes = size_classes(dataset)
    assert [s.name for s in sizes] == ["small", "medium", "large"]
    assert sizes[0].low == 0
    assert sizes[-1].high > 1
    names = [image_size(dataset, i, sizes) for i in dataset.split.test_ids]
    counts = {name: names.count(name) for name in ("small", "medium", "large", None)}
    assert counts[None] == 6
    assert all(4 <= counts[name] <= 6 for name in ("small", "medium", "large"))
    empty = memory_dataset(tmp_path, lambda one: np.zeros(one.image_hw, bool))
    assert size_classes(empty) == ()


@pytest.mark.parametrize("seed", range(3))
def test_resampled_pixel_figures_are_those_of_repeated_images(seed):
    rng = np.random.default_rng(seed)
    maps, truths = [], []
    for _ in range(6):
        truth = np.zeros((24, 30), bool)
        truth[rng.integers(0, 10) :, : rng.integers(5, 20)] = rng.random() < 0.7
        picture = np.clip(rng.normal(0.3, 0.15, truth.shape) + 0.3 * truth, 0, 1)
        maps.append(np.round(picture * 65535) / 65535)
        truths.append(truth)
    truths[0][3:6, 3:9] = True

    def counted(index):
        counts = PixelCounts(0.0, 1.0)
        regions = mask_to_regions(truths[index]) if truths[index].any() else None
        masks = [] if regions is None else list(_masks(regions))
        counts.add(maps[index], masks, truths[index])
        return counts

    every = [counted(i) for i in range(6)]
    resampler = PixelResampler(pooled(every), 6)
    for index, counts in enumerate(every):
        resampler.put(index, counts)
    weights = rng.integers(0, 3, (4, 6))
    weights[:, 0] = 1
    names = ("pixel_ap", "pixel_auroc", "aupro_30", "aupro_5")
    got = resampler.figures(weights, names, np.arange(6))
    for index, row in enumerate(weights):
        repeats = [every[i] for i, count in enumerate(row.tolist()) for _ in range(count)]
        expected = pixel_metrics(pooled(repeats))
        for name in names:
            assert got[name][index] == pytest.approx(expected[name].value, abs=5e-3), name


def _masks(regions):
    from annotations import decode_rle

    return [decode_rle(rle) for rle in regions.masks]


def test_a_ratio_and_the_bound_of_a_perfect_ranking():
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 0, 0]])
    got = ratio_of_sums(weights, np.array([1, 0, 1]), np.array([2, 1, 1]))
    assert got[:2].tolist() == [0.5, 3 / 5]
    assert np.isnan(got[2])
    # Twenty pairs without a part in common, all ranked right.
    assert perfect_ranking_bound(63, 20) == pytest.approx(rate(20, 20, what="pairs").low)
    with pytest.raises(ValueError, match="each kind"):
        perfect_ranking_bound(0, 3)


def test_types_are_drawn_apart():
    strata = np.array(["chip"] * 3 + ["good"] * 4)
    weights = resample_weights(strata, np.arange(7).astype(str), seed=2)
    assert weights.shape == (1000, 7)
    assert (weights[:, :3].sum(axis=1) == 3).all()
    assert (weights[:, 3:].sum(axis=1) == 4).all()
