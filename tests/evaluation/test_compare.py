"""Differences: exact tests against their definitions, and what is said in words."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from evaluation.compare import (
    Comparable,
    bootstrap_p_value,
    compare_runs,
    holm,
    paired_exact,
    part_differences,
    rarer_parts,
)
from evaluation.metric import Metric
from evaluation.run_metrics import Row
from evaluation.spread import seed_spreads


@given(st.integers(0, 25), st.integers(0, 25))
def test_with_an_image_a_part_it_is_mcnemars_exact_test(a, b):
    n = a + b
    tail = sum(comb(n, k) for k in range(min(a, b) + 1)) / 2**n
    expected = 1.0 if a == b else min(1.0, 2 * tail)
    assert paired_exact(np.array([1] * a + [-1] * b)) == pytest.approx(expected)


@given(st.lists(st.integers(-8, 8), max_size=9))
def test_every_way_to_flip_the_parts_is_counted(differences):
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = sum(s >= observed for s in sums) / len(sums)
    assert paired_exact(np.array(differences, int)) == pytest.approx(expected)


def test_eight_photographs_of_one_part_are_one_witness():
    right, wrong = np.ones(8, bool), np.zeros(8, bool)
    one_part = np.array(["part"] * 8)
    assert part_differences(right, wrong, one_part).tolist() == [8]
    assert paired_exact(part_differences(right, wrong, one_part)) == 1.0
    parts = np.array([f"part {n}" for n in range(8)])
    assert paired_exact(part_differences(right, wrong, parts)) == 2 / 2**8


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_rule(values):
    m = len(values)
    order = sorted(range(m), key=lambda i: values[i])
    expected = [0.0] * m
    for rank, index in enumerate(order):
        steps = [min(1.0, (m - r) * values[order[r]]) for r in range(rank + 1)]
        expected[index] = max(steps)
    assert holm(values) == pytest.approx(expected)
    assert all(c >= v for c, v in zip(holm(values), values, strict=True))


def test_the_bootstrap_p_value_counts_both_sides_and_is_never_zero():
    assert bootstrap_p_value(np.full(99, 0.2)) == pytest.approx(2 / 100)
    assert bootstrap_p_value(np.zeros(99)) == 1.0
    assert bootstrap_p_value(np.array([-1.0, 1, 1, 1, np.nan])) == pytest.approx(2 * 2 / 5)
    assert bootstrap_p_value(np.array([np.nan])) == 1.0


def test_few_parts_make_the_bootstrap_cautious():
    drawn = np.random.default_rng(0).normal(0.2, 0.1, 999)
    loose = bootstrap_p_value(drawn)
    assert loose < 0.05
    few = bootstrap_p_value(drawn, difference=0.2, n_parts=4, n_strata=1)
    # sqrt(3/4) * 0.2 / 0.1 on 3 degrees of freedom.
    assert few == pytest.approx(2 * scipy_stats.t.sf(2 * 0.75**0.5 * 0.1 / drawn.std(), 3))
    assert few > 0.05
    assert bootstrap_p_value(drawn, difference=0.2, n_parts=2, n_strata=2) == 1.0
    assert bootstrap_p_value(np.full(99, 0.2), difference=0.2, n_parts=9) == pytest.approx(0.02)


def test_the_rarer_kind_of_parts():
    bad = np.array([True, True, True, False, False, False])
    types = np.array(["a", "a", "b", "good", "good", "good"])
    groups = np.array(["1", "1", "2", "3", "4", "5"])
    assert rarer_parts(bad, types, groups) == (2, 2)
    assert rarer_parts(~bad, np.full(6, "x"), groups) == (2, 1)
    assert rarer_parts(bad[:0], types[:0], groups[:0]) == (0, 1)


PARTS = {
    "types": np.array(["dent"] * 20 + ["good"] * 20),
    "groups": np.array([f"part {n}" for n in range(40)]),
}


def runs():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 0.01, 999)
    truth = np.arange(40) < 20
    right = {name: np.ones(40, bool) for name in "abc"}
    right["c"][:8] = False
    metrics = {
        name: {
            "accuracy": Metric(float(right[name].mean()), 40),
            "escape_rate": Metric(float((~right[name][:20]).mean()), 20),
            "overkill_rate": Metric(0.0, 20),
            "pixel_ap": Metric(value, 9),
            "dice": None,
            "iou": Metric(None, 0, reason="nothing"),
        }
        for name, value in (("a", 0.90), ("b", 0.901), ("c", 0.5))
    }
    values = {n: {"pixel_ap": metrics[n]["pixel_ap"].value + drawn} for n in "abc"}
    values["b"]["pixel_ap"] = values["b"]["pixel_ap"] + rng.normal(0, 0.02, 999)
    return [Comparable(n, metrics[n], values[n], right[n]) for n in "abc"], truth


def test_every_pair_in_every_figure_that_both_have():
    comparable, truth = runs()
    names = ("accuracy", "escape_rate", "overkill_rate", "pixel_ap", "dice", "iou")
    rows = {
        (c.metric, c.run_a, c.run_b): c for c in compare_runs(comparable, truth, names, **PARTS)
    }
    assert len(rows) == 4 * 3
    verdict = rows["accuracy", "a", "c"]
    assert (verdict.only_a_right, verdict.only_b_right) == (8, 0)
    assert verdict.p_value == paired_exact(np.ones(8, int)) == 2 / 2**8
    assert verdict.p_holm == pytest.approx(3 * verdict.p_value)
    assert not verdict.within_noise
    assert verdict.text == "accuracy: a is better than c (p = 0.023)."
    assert rows["escape_rate", "a", "c"].text == "escape_rate: a is better than c (p = 0.023)."
    assert rows["overkill_rate", "a", "c"].text == "overkill_rate: a and c are equal."
    close = rows["pixel_ap", "a", "b"]
    assert close.within_noise
    assert "b over a is within noise" in close.text
    assert close.low < close.difference < close.high
    far = rows["pixel_ap", "a", "c"]
    assert far.p_value == pytest.approx(2 / 1000)
    assert far.low == pytest.approx(0.4)


def row(name, value, seed=None):
    return Row(name, "classify", "m", {"image_auroc": value, "dice": None}, {}, seed=seed)


def test_the_spread_over_seeds():
    rows = [row(f"run-seed-{n}", Metric(v, 9)) for n, v in enumerate((0.9, 0.8, 1.0))]
    rows += [row("other", Metric(0.1, 9)), row("alone-seed-0", Metric(0.2, 9))]
    rows += [row("half-seed-0", Metric(None, 0)), row("half-seed-1", Metric(0.5, 9))]
    (spread,) = seed_spreads(rows)
    assert (spread.metric, spread.runs, spread.n) == ("image_auroc", "run", 3)
    assert (spread.mean, spread.low, spread.high) == (pytest.approx(0.9), 0.8, 1.0)
    assert spread.standard_deviation == pytest.approx(0.1)
    assert spread.text == "image_auroc: run over 3 seeds 0.900 ± 0.100 (0.800–1.000)."


def test_a_seed_that_was_trained_three_times_is_no_spread():
    rows = [row(f"run-seed-{n}", Metric(0.9, 9), seed=7) for n in range(3)]
    assert seed_spreads(rows) == ()
    rows.append(row("run-seed-3", Metric(0.8, 9), seed=8))
    (spread,) = seed_spreads(rows)
    assert spread.n == 2
