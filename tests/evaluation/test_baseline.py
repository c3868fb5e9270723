"""A run against the one before: what is lost, what is won, and the gate."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import InputError
from evaluation.baseline import against_baseline
from evaluation.compare import Comparable


def images(types, groups):
    return SimpleNamespace(
        ids=tuple(f"i{n}" for n in range(len(types))),
        types=np.array(types, np.str_),
        groups=np.array(groups, np.str_),
        is_defective=np.array([t != "good" for t in types]),
    )


def run(name, right):
    return Comparable(name, {}, {}, np.array(right, bool))


def stored(name, no_threshold=None):
    return SimpleNamespace(name=name, run=Path(name), no_threshold=no_threshold, late_leaks=())


def compare(types, groups, before, now, limit=None):
    runs = [run("old", before), run("new", now)]
    both = [stored("old"), stored("new")]
    (made,) = against_baseline(runs, both, "old", images(types, groups), limit)
    return made


def test_what_is_lost_and_won_by_type():
    types = ["chip", "chip", "dent", "dent", "good", "good"]
    made = compare(types, list("abcdef"), [1, 1, 0, 0, 1, 1], [1, 0, 1, 1, 0, 1])
    assert (made.by_type["chip"].lost, made.by_type["chip"].won) == (("i1",), ())
    assert (made.by_type["dent"].lost, made.by_type["dent"].won) == ((), ("i2", "i3"))
    assert (made.by_type["chip"].found, made.by_type["dent"].found) == (2, 0)
    assert made.good.lost == ("i4",)
    # One lost, two won: of the 8 ways to flip three coins all are as far from even.
    assert made.p_value == 1.0
    assert made.held
    assert made.lines == [
        "new against old: of 2 defective images found before, 1 are lost (i1); 2 are won (i2, i3). "
        "That is within noise (p = 1.00).",
        "  chip: 1 lost of 2 found before, 0 won of 0 missed before",
        "  dent: 0 lost of 0 found before, 2 won of 2 missed before",
        "  good: 1 newly called defective (i4), 0 no longer (p = 1.00)",
    ]


def test_eight_won_and_none_lost_is_better():
    made = compare(["chip"] * 8, list("abcdefgh"), [0] * 8, [1] * 8)
    assert made.p_value == 2 / 2**8
    assert "It is better (p = 0.008)." in made.lines[0]
    # Eight photographs of one part are one witness.
    assert compare(["chip"] * 8, ["a"] * 8, [0] * 8, [1] * 8).p_value == 1.0


def test_the_gate_counts_parts_and_says_what_is_missing():
    n = 299
    whole = compare(["chip"] * n, [f"p{k}" for k in range(n)], [1] * n, [1] * n, 0.01)
    assert (whole.held, whole.missing) == (True, 0)
    less = compare(["chip"] * 40, [f"p{k}" for k in range(40)], [1] * 40, [1] * 40, 0.01)
    assert (less.held, less.missing) == (False, 259)
    assert less.lost_parts.upper == pytest.approx(1 - 0.05 ** (1 / 40))
    assert less.lines[0].startswith("Not shown that new loses at most 1 %: 0 of 40 parts found")
    assert "259 more parts" in less.lines[0]
    # Two photographs a part, one of them lost: one part of three.
    three = compare(["chip"] * 6, list("aabbcc"), [1] * 6, [1, 0, 1, 1, 1, 1], 0.5)
    assert (three.lost_parts.count, three.lost_parts.n) == (1, 3)


def test_a_run_without_verdicts_is_refused():
    runs, both = [run("old", [1]), run("new", [1])], [stored("old"), stored("new", "none given")]
    with pytest.raises(InputError, match="new has no verdicts"):
        against_baseline(runs, both, "old", images(["chip"], ["a"]), None)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_nothing_is_counted_twice(rows):
    types = ["chip" if bad else "good" for bad, _, _ in rows]
    before, now = [b for _, b, _ in rows], [a for _, _, a in rows]
    made = compare(types, [str(n) for n in range(len(rows))], before, now)
    changes = [*made.by_type.values(), made.good]
    assert sum(change.n for change in changes) == len(rows)
    lost = sum(len(change.lost) for change in changes)
    won = sum(len(change.won) for change in changes)
    assert sum(now) == sum(before) - lost + won
