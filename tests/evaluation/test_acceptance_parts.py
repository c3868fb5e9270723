"""The part as the unit: which photographs make a trial, and what it counts as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import InputError
from annotations.split import Fold, Split
from benchmarks.coverage import Line
from evaluation.acceptance import Asked, Photograph, accept_photographs, merged_parts
from evaluation.acceptance.parts import escape_rate, escapes_by, overkill_rate, trials_of


def shot(image_id: str, part: str, kind: str, called: bool, size: str = "") -> Photograph:
    return Photograph(image_id, part, kind, size, "test", 0, float(called), 0.5)


def test_a_part_escapes_by_any_photograph_and_is_one_trial() -> None:
    shots = [
        shot("a0", "a", "scratch", True),
        shot("a1", "a", "scratch", False),
        shot("b0", "b", "scratch", True),
        shot("b1", "b", "good", True),
        shot("c0", "c", "good", False),
        shot("c1", "c", "good", True),
        shot("d0", "d", "good", False),
    ]
    trials = trials_of(shots)
    assert [(t.part, t.is_defective, t.called) for t in trials] == [
        ("a", True, False),
        ("b", True, True),
        ("c", False, True),
        ("d", False, False),
    ]
    # The good photograph of the defective part b is no trial.
    assert trials[1].image_ids == ("b0",)
    assert (escape_rate(trials, 0.95).count, escape_rate(trials, 0.95).n) == (1, 2)
    assert (overkill_rate(trials, 0.95).count, overkill_rate(trials, 0.95).n) == (1, 2)


def test_a_part_with_two_types_counts_once_in_each() -> None:
    shots = [
        shot("a0", "a", "scratch", True),
        shot("a1", "a", "dent", False),
        shot("b0", "b", "dent", True),
    ]
    found = escapes_by(shots, lambda p: p.defect_type, 0.95)
    assert {k: (r.count, r.n) for k, r in found.items()} == {"dent": (1, 2), "scratch": (0, 1)}


photographs = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=40
).map(
    lambda rows: [
        shot(str(i), str(part), "dent" if bad else "good", called)
        for i, (part, bad, called) in enumerate(rows)
    ]
)


@given(photographs)
def test_no_rule_counts_fewer_escapes_of_parts_than_a_line_that_rejects_by_one(shots) -> None:
    trials = trials_of(shots)
    assert len(trials) == len({one.part for one in shots})
    for trial in trials:
        mine = [one for one in shots if one.part == trial.part]
        rejected = any(one.called for one in mine)
        if trial.is_defective and not rejected:
            assert not trial.called
        if not trial.is_defective:
            assert trial.called == rejected


@given(photographs)
def test_sections_add_up(shots) -> None:
    made = accept_photographs(
        shots, Asked(max_escape=0.01), class_names=["dent"], repeats="", graders={}
    )
    metrics = made.metrics()
    assert metrics["escape"]["n"] + metrics["overkill"]["n"] == metrics["n_parts"]
    right = metrics["effectiveness"][0]["count"]
    wrong = metrics["escape"]["count"] + metrics["overkill"]["count"]
    assert right + wrong == metrics["n_parts"]
    claim = made.decision()["claims"][0]
    assert claim["proved"] is (claim["n"] > 0 and claim["upper"] <= 0.01)
    assert (claim["missing"] == 0) is claim["proved"]


def test_predictive_values_are_bayes_rule() -> None:
    shots = [shot(f"b{i}", f"b{i}", "dent", i > 0) for i in range(10)]
    shots += [shot(f"g{i}", f"g{i}", "good", i < 4) for i in range(20)]
    made = accept_photographs(
        shots, Asked(defect_rate=0.02), class_names=["dent"], repeats="", graders={}
    )
    row = next(r for r in made.metrics()["predictive"] if r["defect_rate"] == 0.02)
    # One of ten escapes, one of five good ones is overkill.
    assert row["defective_among_passed_seen"] == pytest.approx(0.002 / (0.002 + 0.98 * 0.8))
    assert row["defective_among_rejected_seen"] == pytest.approx(0.018 / (0.018 + 0.98 * 0.2))
    assert row["defective_among_passed_worst"] > row["defective_among_passed_seen"]


def test_one_kind_alone_is_said_and_not_counted() -> None:
    shots = [shot(f"g{i}", f"g{i}", "good", False) for i in range(3)]
    made = accept_photographs(
        shots, Asked(max_escape=0.01), class_names=["dent"], repeats="", graders={}
    )
    (claim,) = made.decision()["claims"]
    assert (claim["proved"], claim["missing"]) == (False, 299)
    assert made.metrics()["predictive"] == []
    assert made.agreement()["cohen_model_reference"]["value"] is None
    assert "'dent' was not tested: no defective part" in made.not_tested()[0]


def test_two_photographs_in_a_row_and_repeatability() -> None:
    shots = [
        shot("a0", "a", "dent", True),
        shot("a1", "a", "dent", True),
        shot("a2", "a", "dent", False),
        shot("b0", "b", "dent", True),
        shot("c0", "c", "good", False),
        shot("c1", "c", "good", False),
    ]
    made = accept_photographs(shots, Asked(), class_names=["dent"], repeats="as told", graders={})
    found = made.agreement()["repeatability"]
    assert (found["same_verdict"]["count"], found["same_verdict"]["n"]) == (1, 2)
    assert (found["pg2"]["count"], found["pg2"]["n"]) == (1, 1)
    assert (found["pb2"]["count"], found["pb2"]["n"]) == (1, 1)


def test_lists_of_repeats_join_groups_and_refuse_what_was_learnt() -> None:
    groups = {"a": "g1", "b": "g2", "c": "g3", "d": "g4"}
    split = Split("custom", 0, (Fold(("d",), (), ("a", "b", "c")),), "0" * 64, ((),))
    parts = merged_parts(groups, {"a": "p", "b": "p"}, split, ["a", "b", "c"])
    assert parts["a"] == parts["b"]
    assert len(set(parts.values())) == 3
    with pytest.raises(InputError, match="fold 0 has learnt from the second"):
        merged_parts(groups, {"c": "p", "d": "p"}, split, ["a", "b", "c"])
    # What is not counted proves nothing and breaks nothing.
    merged_parts(groups, {"c": "p", "d": "p"}, split, ["a", "b"])


@given(st.floats(0.01, 0.4), st.floats(0.05, 0.95))
def test_the_simulated_line_has_parts_no_better_than_its_photographs(rate, correlation) -> None:
    found = Line(rate, correlation).part_rate()
    assert rate * (1 - 1e-9) <= found <= 1 - (1 - rate) ** 4 + 1e-9
