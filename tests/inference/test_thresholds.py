"""One rule chooses every threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
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
    steady_threshold,
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


def drawn_scores(rng, n_bad, n_good):
    """Log odds of a model whose best threshold is 0."""
    values = np.concatenate((rng.normal(2, 1.5, n_bad), rng.normal(-2, 1.5, n_good)))
    return values, np.arange(len(values)) < n_bad


def worse_rate(cut):
    """The higher of escape and overkill rate on all images that might come."""
    return max(stats.norm.cdf(cut, 2, 1.5), stats.norm.sf(cut, -2, 1.5))


@pytest.mark.parametrize(("n_bad", "n_good"), [(3, 10), (6, 30), (20, 60)])
def test_a_steady_threshold_errs_less_on_new_images(n_bad, n_good):
    plain, steady = [], []
    for seed in range(40):
        values, truth = drawn_scores(np.random.default_rng(seed), n_bad, n_good)
        names = [str(number) for number in range(len(values))]
        plain.append(worse_rate(choose_threshold(values, truth).threshold))
        steady.append(worse_rate(steady_threshold(values, truth, names).threshold))
    assert np.mean(steady) < np.mean(plain)
    assert np.std(steady) < np.std(plain)


@pytest.mark.parametrize("n", [6, 20, 60])
@pytest.mark.parametrize("how", ["random", "inverted"])
def test_labels_that_mislead_move_a_steady_threshold_less(n, how):
    steady, plain = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values, truth = drawn_scores(rng, n // 2, n - n // 2)
        said = ~truth if how == "inverted" else rng.permutation(truth)
        names = [str(number) for number in range(n)]
        steady.append(abs(steady_threshold(values, said, names).threshold))
        plain.append(abs(choose_threshold(values, said).threshold))
    assert np.mean(steady) < np.mean(plain)


@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans(), st.integers(0, 4)), min_size=2))
@settings(max_examples=40, deadline=None)
def test_a_steady_threshold_counts_what_it_does_and_lies_on_no_score(rows):
    values = np.array([score for score, _, _ in rows])
    truth = np.array([bad for _, bad, _ in rows])
    names = [str(group) for _, _, group in rows]
    choice = steady_threshold(values, truth, names)
    if truth.all() or not truth.any():
        assert choice is None
        return
    assert choice is not None
    assert choice.escapes == int((truth & (values < choice.threshold)).sum())
    assert choice.overkills == int((~truth & (values >= choice.threshold)).sum())
    again = steady_threshold(values, truth, names)
    assert again == choice


def test_photographs_of_one_part_count_as_one():
    values = np.array([-2.0, -1.9, -1.8, 1.0])
    truth = np.array([False, False, False, True])
    apart = steady_threshold(values, truth, ["a", "b", "c", "d"])
    assert apart is not None
    # One part of the rarer kind, against three of the default's.
    plain = choose_threshold(values, truth)
    assert plain is not None
    assert abs(apart.threshold) <= abs(plain.threshold) / 4 + 1e-9


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.booleans(), st.integers(0, 4)), min_size=2),
    st.sampled_from([0.0, 0.1, 0.3]),
)
@settings(max_examples=30, deadline=None)
def test_a_steady_threshold_keeps_a_bound_where_it_can_be_kept(rows, most):
    values = np.array([score for score, _, _ in rows])
    truth = np.array([bad for _, bad, _ in rows])
    names = [str(group) for _, _, group in rows]
    for aim in (ThresholdAim(max_overkill=most), ThresholdAim(max_escape=most)):
        plain, steady = (
            choose_threshold(values, truth, aim),
            steady_threshold(values, truth, names, aim),
        )
        assert (plain is None) == (steady is None)
        if plain is None or steady is None:
            continue
        if aim.max_overkill is not None:
            assert steady.overkills <= plain.overkills
        else:
            assert steady.escapes <= plain.escapes
