"""Every figure against scikit-learn, pycocotools or a plain slow loop."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from annotations import Regions, mask_to_regions
from evaluation import match_regions
from evaluation.coco_ap import region_precision
from evaluation.image_metrics import (
    auroc,
    average_precision,
    oracle_accuracy,
    oracle_f1,
    precision_recall_curve,
)
from evaluation.metric import rate
from evaluation.pixel_metrics import PixelCounts, area_up_to, pixel_metrics
from tests.drawn import memory_dataset
from tests.evaluation.whole_images import image_metrics

SCORED = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=25)


def arrays(rows):
    return np.array([s for s, _ in rows], float) / 5, np.array([t for _, t in rows], bool)


@given(SCORED)
def test_image_ranking_is_scikit_learns_ties_included(rows):
    scores, truth = arrays(rows)
    if truth.all() or not truth.any():
        assert auroc(scores, truth) is None
    else:
        assert auroc(scores, truth) == pytest.approx(sk.roc_auc_score(truth, scores))
    if truth.any():
        expected = sk.average_precision_score(truth, scores)
        assert average_precision(scores, truth) == pytest.approx(expected)
    else:
        assert average_precision(scores, truth) is None


@given(SCORED)
def test_oracle_accuracy_is_the_best_of_all_thresholds(rows):
    scores, truth = arrays(rows)
    best = max(np.mean((scores >= t) == truth) for t in [*np.unique(scores).tolist(), float("inf")])
    assert oracle_accuracy(scores, truth) == pytest.approx(best)


@given(SCORED)
def test_verdicts_and_their_curve_are_scikit_learns(rows):
    scores, truth = arrays(rows)
    called = scores >= 0.5
    groups = np.arange(len(truth)).astype(str)
    got = image_metrics(scores, truth, groups, threshold=0.5)
    both = bool(truth.any() and not truth.all())
    for name, function in (("recall", sk.recall_score), ("precision", sk.precision_score)):
        of = called if name == "precision" else truth
        known = of.any() and (both or name == "recall")
        expected = function(truth, called, zero_division=0) if known else None
        assert got[name].value == (None if expected is None else pytest.approx(expected))
    for name, function in (("accuracy", sk.accuracy_score), ("f1", sk.f1_score)):
        # With one kind alone, whoever calls everything so would be perfect.
        assert got[name].value == (pytest.approx(function(truth, called)) if both else None)
        assert both or got[name].reason
    if truth.any():
        best = max(sk.f1_score(truth, scores >= t) for t in np.unique(scores))
        assert oracle_f1(scores, truth) == pytest.approx(best)
        curve = precision_recall_curve(scores, truth)
        precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
        assert curve["threshold"] == pytest.approx(thresholds[::-1].tolist())
        assert curve["precision"] == pytest.approx(precision[-2::-1].tolist())
        assert curve["recall"] == pytest.approx(recall[-2::-1].tolist())
        if not truth.all():
            false, true, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
            assert curve["false_positive_rate"] == pytest.approx(false[1:].tolist())
            assert curve["recall"] == pytest.approx(true[1:].tolist())
    else:
        assert oracle_f1(scores, truth) is None
        assert precision_recall_curve(scores, truth)["threshold"] == []


@given(st.integers(0, 40), st.integers(1, 40))
def test_rates_have_the_interval_of_an_exact_binomial_test(count, n):
    assume(count <= n)
    metric = rate(count, n, what="things")
    interval = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    assert metric.low == pytest.approx(interval.low)
    assert metric.high == pytest.approx(interval.high)


def test_no_escape_of_63_may_still_be_almost_six_percent():
    metric = rate(0, 63, what="defective images")
    assert metric.value == 0
    assert metric.high == pytest.approx(0.0569, abs=1e-4)


def test_verdicts_at_the_threshold():
    scores = np.array([0.1, 0.6, 0.5, 0.2])
    truth = np.array([False, False, True, True])
    got = image_metrics(scores, truth, np.array(list("abcd")), threshold=0.5)
    assert got["accuracy"].value == 0.5
    assert got["escape_rate"].value == 0.5
    assert got["overkill_rate"].value == 0.5
    low, value, high = (getattr(got["image_auroc"], k) for k in ("low", "value", "high"))
    assert low <= value <= high
    again = image_metrics(scores, truth, np.array(list("abcd")), threshold=0.5)
    assert again == got


def test_one_kind_alone_has_a_reason_and_no_figure():
    got = image_metrics(np.array([0.1]), np.array([False]), np.array(["a"]), threshold=0.5)
    for name in ("image_auroc", "image_ap", "escape_rate"):
        assert got[name].value is None
        assert got[name].reason
    assert got["overkill_rate"].value == 0


def slow_aupro(maps, truths, limit=0.3):
    """Every threshold, every region, one after the other."""
    values = sorted({v for m in maps for v in m.ravel().tolist()}, reverse=True)
    xs, ys = [0.0], [0.0]
    outside = sum(int((~t).sum()) for t in truths)
    regions = []
    for one, truth in zip(maps, truths, strict=True):
        cut = mask_to_regions(truth)
        regions += [(one, Regions_mask) for Regions_mask in masks_of(cut)]
    for value in values:
        false = sum(int(((m >= value) & ~t).sum()) for m, t in zip(maps, truths, strict=True))
        xs.append(false / outside)
        ys.append(float(np.mean([(m[r] >= value).mean() for m, r in regions])))
    grid_x, grid_y = [], []
    for i in range(1, len(xs)):
        x0, x1, y0, y1 = xs[i - 1], xs[i], ys[i - 1], ys[i]
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        grid_x.append(x1 - x0)
        grid_y.append((y0 + y1) / 2)
    return sum(w * h for w, h in zip(grid_x, grid_y, strict=True)) / limit


def masks_of(regions):
    from annotations import decode_rle

    return [decode_rle(rle) for rle in regions.masks]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_pixel_figures_are_those_of_plain_computation(seed, n, ties):
    rng = np.random.default_rng(seed)
    maps = [rng.random((7, 9)) for _ in range(n)]
    if ties:
        maps = [np.round(m * 4) / 4 for m in maps]
    # What is stored on disk: 65,536 levels.
    maps = [np.round(m * 65535) / 65535 for m in maps]
    truths = [rng.random((7, 9)) > 0.75 for _ in range(n)]
    truths[0][0, 0], truths[0][3:, 3:] = True, False
    found = [m > 0.6 for m in maps]
    counts = PixelCounts(0.0, 1.0)
    for m, t, f in zip(maps, truths, found, strict=True):
        counts.add(m, masks_of(mask_to_regions(t)), f)
    got = pixel_metrics(counts)
    scores = np.concatenate([m.ravel() for m in maps])
    truth = np.concatenate([t.ravel() for t in truths])
    called = np.concatenate([f.ravel() for f in found])
    assert got["pixel_ap"].value == pytest.approx(sk.average_precision_score(truth, scores))
    assert got["pixel_auroc"].value == pytest.approx(sk.roc_auc_score(truth, scores))
    assert got["dice"].value == pytest.approx(sk.f1_score(truth, called))
    assert got["iou"].value == pytest.approx(sk.jaccard_score(truth, called))
    best = max(sk.f1_score(truth, scores >= value) for value in np.unique(scores))
    assert got["pixel_f1_oracle"].value == pytest.approx(best)
    assert got["aupro_30"].value == pytest.approx(slow_aupro(maps, truths))
    assert got["aupro_5"].value == pytest.approx(slow_aupro(maps, truths, 0.05))


def test_a_perfect_map_and_an_absent_defect():
    truth = np.zeros((6, 6), bool)
    truth[2:4, 2:4] = True
    perfect = PixelCounts(0.0, 1.0)
    perfect.add(truth.astype(float), [truth], truth)
    assert {name: m.value for name, m in pixel_metrics(perfect).items()} == {
        "pixel_ap": 1.0,
        "pixel_f1_oracle": 1.0,
        "pixel_auroc": 1.0,
        "aupro_30": pytest.approx(1.0),
        "aupro_5": pytest.approx(1.0),
        "dice": 1.0,
        "iou": 1.0,
    }
    absent = PixelCounts(0.0, 1.0)
    absent.add(truth.astype(float), [], np.zeros_like(truth))
    for metric in pixel_metrics(absent).values():
        assert metric.value is None
        assert metric.reason


def test_an_area_is_cut_between_two_points():
    x, y = np.array([0.0, 0.2, 0.6]), np.array([0.0, 1.0, 1.0])
    assert area_up_to(x, y, 0.3) == pytest.approx((0.1 + 0.1) / 0.3)
    assert area_up_to(x, y, 0.6) == pytest.approx((0.1 + 0.4) / 0.6)


def precision_of(dataset, ids, regions, kind="bbox"):
    got = region_precision(dataset, ids, regions, kind=kind)
    return got.mean, got.half


def boxes(rows, hw=(20, 20), scores=None):
    return Regions(
        np.array(rows, np.float32).reshape(-1, 4),
        None,
        np.zeros(len(rows), np.int64),
        np.array(scores if scores is not None else [0.9] * len(rows), np.float32),
        hw,
    )


def test_the_matching_rule():
    mask = np.zeros((20, 20), bool)
    mask[0:10, 0:10] = mask[15:18, 15:18] = True
    truth = mask_to_regions(mask)
    got = match_regions(truth, boxes([[0, 0, 10, 3], [12, 0, 20, 5], [0, 9, 10, 20]]))
    assert got.found_truth.tolist() == [True, False]
    assert got.false_alarm.tolist() == [False, True, True]
    barely = match_regions(truth, boxes([[0, 0, 10, 2]]))
    assert barely.found_truth.tolist() == [False, False]


def slow_average_precision(truths, found, iou_from):
    """One class, one threshold, 101 recalls: COCO's definition, step by step."""
    rows = sorted(((s, i, b) for i, r in enumerate(found) for s, b in r), key=lambda row: -row[0])
    taken, hits = set(), []
    for _, image, box in rows:
        best, best_iou = None, iou_from
        for k, t in enumerate(truths[image]):
            w = min(box[2], t[2]) - max(box[0], t[0])
            h = min(box[3], t[3]) - max(box[1], t[1])
            overlap = max(w, 0) * max(h, 0)
            union = (box[2] - box[0]) * (box[3] - box[1]) + (t[2] - t[0]) * (t[3] - t[1]) - overlap
            if (image, k) not in taken and overlap / union >= best_iou:
                best, best_iou = k, overlap / union
        if best is not None:
            taken.add((image, best))
        hits.append(best is not None)
    total = sum(map(len, truths))
    cumulative = np.cumsum(hits)
    recall = cumulative / total
    precision = cumulative / np.arange(1, len(hits) + 1)
    points = []
    for r in np.linspace(0, 1, 101):
        reached = precision[recall >= r - 1e-12]
        points.append(reached.max() if len(reached) else 0.0)
    return float(np.mean(points))


@pytest.mark.parametrize("seed", range(6))
def test_box_precision_is_the_plain_definition(tmp_path, seed):
    rng = np.random.default_rng(seed)

    def truth_of(one):
        mask = np.zeros(one.image_hw, bool)
        mask[1:4, 1:5] = True
        mask[6:8, 5:8] = True
        return mask

    dataset = memory_dataset(tmp_path, truth_of)
    ids = [i for i in dataset.split.test_ids if not i.startswith("scratch/")]
    found, regions = [], {}
    for image_id in ids:
        rows = []
        for truth in (*dataset.truths[image_id].boxes_xyxy.tolist(), [0, 5, 3, 8]):
            if rng.random() < 0.7:
                x1, y1, x2, y2 = np.array(truth) + rng.uniform(-0.8, 0.8, 4)
                rows.append((round(float(rng.random()), 6), [x1, y1, x2, y2]))
        rows.sort(key=lambda row: -row[0])
        found.append([(s, np.float32(b).tolist()) for s, b in rows])
        regions[image_id] = boxes([b for _, b in rows], (8, 8), [s for s, _ in rows])
    truths = [dataset.truths[i].boxes_xyxy.tolist() for i in ids]
    mean, half = precision_of(dataset, ids, regions, kind="bbox")
    assert half.value == pytest.approx(slow_average_precision(truths, found, 0.5), abs=1e-9)
    levels = np.linspace(0.5, 0.95, 10)
    expected = np.mean([slow_average_precision(truths, found, level) for level in levels])
    assert mean.value == pytest.approx(expected, abs=1e-9)


def test_box_precision_of_nothing_found_perfect_and_absent(tmp_path):
    dataset = memory_dataset(tmp_path, lambda one: np.eye(*one.image_hw, dtype=bool))
    ids = dataset.split.test_ids
    nothing = {i: Regions.empty((8, 8), scored=True) for i in ids}
    mean, half = precision_of(dataset, ids, nothing, kind="bbox")
    assert (mean.value, half.value) == (0.0, 0.0)
    perfect = {
        i: Regions(t.boxes_xyxy, t.masks, t.labels, np.ones(len(t), np.float32), t.image_hw)
        for i, t in dataset.truths.items()
    }
    for kind in ("bbox", "segm"):
        mean, half = precision_of(dataset, ids, perfect, kind=kind)
        assert (mean.value, half.value) == (pytest.approx(1.0), pytest.approx(1.0))
    good = [i for i in ids if i.startswith("good/")]
    mean, half = precision_of(dataset, good, nothing, kind="bbox")
    assert mean.value is None
    assert half.reason
