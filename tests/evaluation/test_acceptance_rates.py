"""Bounds, plans and kappas: exact numbers, and other libraries' numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.acceptance import (
    BoundedRate,
    cohen_kappa,
    fleiss_kappa,
    missing_parts,
    parts_needed,
)
from evaluation.acceptance.agreement import kappa_band, share_band
from evaluation.acceptance.rates import chance_to_pass, plan_rows

counts = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda p: (p[0], sum(p)))


@given(counts, st.floats(0.5, 0.999))
def test_bounds_are_those_of_scipy(count_and_n, confidence) -> None:
    count, n = count_and_n
    if not n:
        return
    rate = BoundedRate(count, n, confidence)
    two = stats.binomtest(count, n).proportion_ci(confidence, method="exact")
    one = stats.binomtest(count, n, alternative="less").proportion_ci(confidence, method="exact")
    assert rate.two_sided == pytest.approx((two.low, two.high), abs=1e-9)
    assert rate.upper == pytest.approx(one.high, abs=1e-9)


@pytest.mark.parametrize(
    ("limit", "errors", "parts"),
    [(0.01, 0, 299), (0.005, 0, 598), (0.01, 1, 473), (0.01, 2, 628), (0.05, 0, 59)],
)
def test_parts_that_prove_a_limit_at_95_percent(limit, errors, parts) -> None:
    assert parts_needed(limit, errors, 0.95) == parts


@given(st.floats(1e-4, 0.5), st.integers(0, 5), st.floats(0.6, 0.999))
def test_no_fewer_parts_prove_a_limit(limit, errors, confidence) -> None:
    n = parts_needed(limit, errors, confidence)
    assert BoundedRate(errors, n, confidence).upper <= limit * (1 + 1e-9)
    if n - 1 > errors:
        assert BoundedRate(errors, n - 1, confidence).upper > limit * (1 - 1e-9)


def test_missing_parts_count_those_that_are_there() -> None:
    assert missing_parts(BoundedRate(0, 63, 0.95), 0.01) == 299 - 63
    assert missing_parts(BoundedRate(1, 300, 0.95), 0.01) == 473 - 300
    assert missing_parts(BoundedRate(0, 299, 0.95), 0.01) == 0
    assert missing_parts(BoundedRate(0, 0, 0.95), 0.01) == 299


def test_a_rate_of_no_parts_says_why() -> None:
    row = BoundedRate(0, 0, 0.95, "no good part was counted").to_json()
    assert row == {
        "count": 0, "n": 0, "value": None, "upper": None, "low": None, "high": None,
        "reason": "no good part was counted",
    }  # fmt: skip
    assert BoundedRate(0, 0, 0.95).two_sided == (0.0, 1.0)


@pytest.mark.parametrize("wrong", [(2, 1, 0.95), (-1, 3, 0.95), (1, 3, 1.0)])
def test_rates_that_are_none_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"rate|confidence"):
        BoundedRate(*wrong)


def test_limits_that_nothing_proves_are_refused() -> None:
    with pytest.raises(ValueError, match="No number of parts"):
        parts_needed(1e-12, 0, 0.95)
    with pytest.raises(ValueError, match="between 0 and 1"):
        parts_needed(0, 0, 0.95)


def test_plan_passes_at_the_limit_with_the_risk_that_is_left() -> None:
    rows = plan_rows([0.01], [0, 1, 2], 0.95)
    assert [row["parts"] for row in rows] == [299, 473, 628]
    for row in rows:
        at_limit, at_good = chance_to_pass(row["parts"], row["allowed"], [0.01, row["passes_at"]])
        assert 0.049 < at_limit <= 0.05
        assert at_good == pytest.approx(0.95, abs=1e-9)


square = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 60), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(square, st.sampled_from([0.9, 0.95, 0.99]))
def test_cohens_kappa_is_that_of_statsmodels(rows, confidence) -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    table = np.array(rows, np.int64)
    ours = cohen_kappa(table, confidence=confidence)
    if ours.value is None or ours.low is None:
        return
    # statsmodels divides by a standard error that is zero where one grader uses one class alone.
    with np.errstate(invalid="ignore", divide="ignore"):
        theirs = inter_rater.cohens_kappa(table, return_results=True)
    variance = max(float(theirs.var_kappa), 0.0)
    half = stats.norm.ppf(0.5 + confidence / 2) * variance**0.5
    # The root of a variance that is zero but for rounding (some 1e-17) is known to no more digits.
    exact = 1e-9 if variance > 1e-14 else 1e-7
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-9)
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.kappa - half, theirs.kappa + half), abs=exact
    )


def test_a_grader_of_one_class_agrees_by_chance_alone() -> None:
    found = cohen_kappa(np.array([[0, 0], [7, 2]]))
    assert found.value == pytest.approx(0, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((0, 0), abs=1e-7)


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=2, max_size=40))
def test_fleiss_kappa_is_that_of_statsmodels(votes) -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    grades = np.array([[row.count(kind) for kind in range(3)] for row in votes], np.int64)
    ours = fleiss_kappa(grades)
    if ours.value is None:
        assert len({one for row in votes for one in row}) == 1
        return
    assert ours.value == pytest.approx(inter_rater.fleiss_kappa(grades, "fleiss"), abs=1e-9)


def test_cohens_kappa_of_a_printed_example() -> None:
    # 20 both yes, 5 and 10 apart, 15 both no: agreement 0.7, by chance 0.5.
    found = cohen_kappa(np.array([[20, 5], [10, 15]]))
    assert found.value == pytest.approx(0.4)
    assert found.n == 50
    assert found.low is not None
    assert found.low < 0.4 < found.high


def test_kappas_that_cannot_be_had_say_why() -> None:
    assert "every verdict is the same" in cohen_kappa(np.array([[9, 0], [0, 0]])).reason
    perfect = cohen_kappa(np.array([[9, 0], [0, 4]]))
    assert (perfect.value, perfect.low) == (1.0, None)
    assert "no interval" in perfect.reason
    assert cohen_kappa(np.zeros((2, 2), np.int64)).value is None
    assert fleiss_kappa(np.zeros((0, 2), np.int64)).value is None
    assert fleiss_kappa(np.array([[2, 0], [2, 0]])).value is None
    with pytest.raises(ValueError, match="two graders"):
        fleiss_kappa(np.array([[1, 0], [0, 1]]))
    with pytest.raises(ValueError, match="square"):
        cohen_kappa(np.zeros((2, 3), np.int64))


def test_bands_are_those_of_aiag() -> None:
    assert [kappa_band(v) for v in (0.76, 0.75, 0.40, 0.39)] == ["good", "fair", "fair", "poor"]
    assert [share_band("effectiveness", v) for v in (0.9, 0.89, 0.79)] == [
        "acceptable", "marginal", "unacceptable",
    ]  # fmt: skip
    assert [share_band("miss_rate", v) for v in (0.02, 0.05, 0.051)] == [
        "acceptable", "marginal", "unacceptable",
    ]  # fmt: skip
    assert share_band("false_alarm_rate", 0.10) == "marginal"
