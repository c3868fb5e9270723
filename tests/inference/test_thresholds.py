"""One rule chooses every threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inference.thresholds import (
    BALANCED,
    ThresholdAim,
    candidate_thresholds,
    choose_threshold,
    from_log_odds,
    log_odds,
    promise,
    upper_bound,
)

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=30)
BOTH = ROWS.filter(lambda rows: 0 < sum(bad for _, bad in rows) < len(rows))
AIMS = st.one_of(
    st.just(BALANCED),
    st.builds(ThresholdAim, max_escape=st.floats(0, 0.99)),
    st.builds(ThresholdAim, max_overkill=st.floats(0, 0.99)),
    st.builds(ThresholdAim, escape_cost=st.floats(0.1, 9), overkill_cost=st.floats(0.1, 9)),
)


def split(rows):
    return np.array([s / 4 for s, _ in rows]), np.array([bad for _, bad in rows])


def rates(scores, bad, at):
    return float((scores[bad] < at).mean()), float((scores[~bad] >= at).mean())


def errors(scores, bad, at, aim):
    escape, overkill = rates(scores, bad, at)
    if aim.max_escape is not None:
        return max(0, round(escape * bad.sum()) - np.floor(aim.max_escape * bad.sum() + 1e-9))
    if aim.max_overkill is not None:
        n = (~bad).sum()
        return max(0, round(overkill * n) - np.floor(aim.max_overkill * n + 1e-9))
    if aim.escape_cost is not None:
        return escape * aim.escape_cost + overkill * aim.overkill_cost
    return max(escape, overkill)


@given(BOTH, AIMS)
def test_no_threshold_serves_the_aim_better(rows, aim):
    scores, bad = split(rows)
    choice = choose_threshold(scores, bad, aim)
    got = rates(scores, bad, choice.threshold)
    assert got == (choice.escapes / choice.n_defective, choice.overkills / choice.n_good)
    for other in np.arange(-1, 4.5, 0.125):
        assert errors(scores, bad, choice.threshold, aim) <= errors(scores, bad, other, aim) + 1e-9
        if aim.max_escape is None and aim.max_overkill is None:
            continue
        if errors(scores, bad, other, aim) == 0:
            free, bound = (1, 0) if aim.max_escape is not None else (0, 1)
            others = rates(scores, bad, other)
            # The other kind of error first, and nothing of the bound is spent for nothing.
            assert (got[free], got[bound]) <= (others[free] + 1e-9, others[bound] + 1e-9)


@given(ROWS, AIMS)
def test_no_threshold_lies_on_a_score(rows, aim):
    scores, bad = split(rows)
    choice = choose_threshold(scores, bad, aim)
    if choice is not None:
        assert np.abs(scores - choice.threshold).min() > 1e-4


@given(BOTH, AIMS)
def test_rounding_of_another_runtime_flips_no_image(rows, aim):
    scores, bad = split(rows)
    # Scores that are equal but for rounding stay on one side.
    shaken = scores + np.linspace(0, 1e-6, len(scores))
    choice = choose_threshold(shaken, bad, aim)
    assert ((shaken >= choice.threshold) == (scores >= choice.threshold)).all()


@given(BOTH)
def test_a_bound_spends_nothing_for_nothing_and_is_the_same_for_every_caller(rows):
    scores, bad = split(rows)
    free = choose_threshold(scores, bad, ThresholdAim(max_escape=0.0))
    loose = choose_threshold(scores, bad, ThresholdAim(max_escape=0.1))
    if loose.overkills == free.overkills:
        assert loose.escapes == 0


def test_the_middle_of_the_widest_gap():
    choice = choose_threshold([0.1, 0.2, 0.8], [False, False, True])
    assert choice.threshold == pytest.approx(0.5)
    assert (choice.escapes, choice.overkills) == (0, 0)
    tied = choose_threshold([0.0, 1.0, 2.0, 6.0], [False, True, False, True])
    assert tied.threshold == 4.0


def test_images_of_one_kind():
    good, bad = [False] * 4, [True] * 4
    scores = [1.0, 2.0, 3.0, 4.0]
    assert choose_threshold(scores, good) is None
    assert choose_threshold(scores, bad) is None
    assert choose_threshold(scores, good, ThresholdAim(max_escape=0.5)) is None
    assert choose_threshold([], []) is None
    assert choose_threshold(scores, good, ThresholdAim(max_overkill=0.25)).threshold == 3.5
    assert choose_threshold(scores, good, ThresholdAim(max_overkill=0)).threshold == pytest.approx(
        4.04
    )
    assert choose_threshold(scores, bad, ThresholdAim(max_escape=0.25)).threshold == 1.5


def test_scores_that_are_all_equal_are_called_defective_by_a_margin():
    choice = choose_threshold([0.3, 0.3, 0.3], [False, True, True])
    assert choice.threshold == pytest.approx(0.297)
    assert (choice.escapes, choice.overkills) == (0, 1)
    assert choose_threshold([0.0, 0.0], [False, True]).threshold == pytest.approx(-0.01)


def test_candidates_and_their_gaps():
    cuts, gaps = candidate_thresholds([2.0, 1.0, 1.0, 4.0, 4.0 + 1e-9])
    assert cuts == pytest.approx([0.96, 1.5, 3.0, 4.04])
    assert gaps == pytest.approx([0, 1, 2, 0])


@given(st.floats(-20, 20))
def test_log_odds_and_back(value):
    assert log_odds([from_log_odds(value)])[0] == pytest.approx(value, abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_bound_is_scipys(count, more):
    n = count + more
    if n == 0 or count == n:
        assert upper_bound(count, n) == 1.0
        return
    exact = stats.binomtest(count, n, alternative="less").proportion_ci(0.95, method="exact")
    assert upper_bound(count, n) == pytest.approx(exact.high, abs=1e-9)


def test_what_a_threshold_can_promise():
    choice = choose_threshold([0.1, 0.2, 0.8], [False, False, True])
    assert promise(choice) == ("0 of 1 escape (at most 95.0%), 0 of 2 are overkill (at most 77.6%)")
