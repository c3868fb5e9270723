"""AUPIMO against a slow loop over thresholds, and where it is undefined."""

import numpy as np
import pytest

from evaluation.aupimo import PimoCounts, area_over_log_rate, aupimo_metric
from evaluation.pixel_metrics import PixelCounts


def counted(pictures, truths):
    pimo = PimoCounts(len(pictures))
    for index, (picture, truth) in enumerate(zip(pictures, truths, strict=True)):
        counts = PixelCounts(0.0, 1.0)
        counts.add(picture, [truth] if truth.any() else [], np.zeros_like(truth))
        pimo.add(index, counts, is_defective=bool(truth.any()))
    return pimo.of_images()


def slow(pictures, truths, low, high):
    """Recall at every threshold, its mean over the logarithm of the good images' rate."""
    good = [p for p, t in zip(pictures, truths, strict=True) if not t.any()]
    levels = sorted({float(v) for p in pictures for v in p.ravel()}, reverse=True)
    rate = [np.mean([(g >= level).mean() for g in good]) for level in levels]
    result = []
    for picture, truth in zip(pictures, truths, strict=True):
        if not truth.any():
            result.append(np.nan)
            continue
        best = {}
        for r, level in zip(rate, levels, strict=True):
            best[r] = float((picture[truth] >= level).mean())
        clean = best.pop(0.0, 0.0)
        xs, ys = np.log(list(best)), list(best.values())
        grid = np.linspace(np.log(low), np.log(high), 20001)
        result.append(float(np.interp(grid, xs, ys, left=clean).mean()))
    return result


@pytest.mark.parametrize("seed", range(5))
def test_against_a_slow_loop(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    pictures = [np.round(rng.random((30, 30)) * 65535) / 65535 for _ in range(6)]
    truths = [np.zeros((30, 30), bool) for _ in range(6)]
    for truth, picture in zip(truths[:3], pictures[:3], strict=True):
        truth[4:15, 6:20] = True
        picture[truth] = np.round(np.sqrt(picture[truth]) * 65535) / 65535
    monkeypatch.setattr(area_over_log_rate, "__defaults__", (0.01, 0.3))
    expected = slow(pictures, truths, 0.01, 0.3)
    assert counted(pictures, truths) == pytest.approx(expected, abs=2e-3, nan_ok=True)


def test_perfect_blind_and_clean():
    truth = np.zeros((20, 20), bool)
    truth[:5, :5] = True
    nothing = np.zeros((20, 20), bool)
    good = np.full((20, 20), 0.2)
    perfect = np.where(truth, 0.9, 0.1)
    blind = np.full((20, 20), 0.1)
    values = counted([good, perfect, blind], [nothing, truth, truth])
    assert values[1:].tolist() == [1.0, 0.0]
    assert np.isnan(values[0])
    metric, drawn = aupimo_metric(values, np.ones((3, 3), np.int64), np.ones(3, bool))
    assert (metric.value, metric.n) == (0.5, 2)
    assert drawn is not None
    assert drawn.tolist() == [0.5] * 3


def test_without_good_or_without_marked_images_it_is_undefined():
    truth = np.ones((4, 4), bool)
    for pictures in ([truth], [np.zeros((4, 4), bool)]):
        values = counted([np.ones((4, 4))], pictures)
        metric, drawn = aupimo_metric(values, np.ones((2, 1), np.int64), np.ones(1, bool))
        assert metric.value is None
        assert metric.reason
        assert drawn is None


def test_cut_by_interpolation_on_the_logarithm():
    rates, recall = np.array([0.0, 1e-3, 1e-1]), np.array([0.2, 0.4, 1.0])
    assert area_over_log_rate(rates, recall, 1e-3, 1e-1) == pytest.approx(0.7)
    assert area_over_log_rate(rates, recall, 1e-2, 1e-1) == pytest.approx(0.85)
    # Below the lowest rate that a threshold has, nothing is promised but the clean recall.
    assert area_over_log_rate(rates, recall, 1e-4, 1e-3) == pytest.approx((0.2 + 0.4) / 2)
