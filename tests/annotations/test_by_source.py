"""leave-one-source-out: what each fold tests and learns from, and where new images go."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import InputError, Sample, UsageError, make_split
from annotations.by_source import name_of_source, shared_note
from annotations.placing import place, sides_of
from annotations.split import check_split
from tests.drawn import many_samples, sample

LINES = ("a", "b", "c")


def of_lines(lines: tuple[str, ...] = LINES) -> list[Sample]:
    return [
        replace(one, image_id=f"{line}/{one.image_id}", group=f"{line}/{one.group}", source=line)
        for line in lines
        for one in many_samples(4, 3, 3)
    ]


def split_of(samples):
    return make_split(samples, protocol="leave-one-source-out")


def test_each_fold_tests_one_source_and_learns_nothing_of_it():
    samples = of_lines()
    split = split_of(samples)
    assert split.detail == "fold 0 tests a; fold 1 tests b; fold 2 tests c"
    for fold, left, line in zip(split.folds, split.left_out, LINES, strict=True):
        own = [one for one in samples if one.source == line]
        assert set(fold.test) == {one.image_id for one in own if one.source_split == "test"}
        assert set(left) == {one.image_id for one in own if one.source_split == "train"}
        assert {i.split("/")[0] for i in (*fold.train, *fold.val)} == {*LINES} - {line}
    check_split(split, samples, source="here")


def test_a_part_in_two_sources_is_whole_and_never_tested():
    samples = of_lines()
    samples = [
        replace(one, group="both") if one.image_id in ("a/chip/000", "b/chip/000") else one
        for one in samples
    ]
    both = {"a/chip/000", "b/chip/000"}
    split = split_of(samples)
    assert not both & set(split.test_ids)
    assert [both <= set(left) for left in split.left_out] == [True, True, False]
    assert both <= {*split.folds[2].train, *split.folds[2].val}
    note = shared_note(samples)
    assert note is not None
    assert "1 parts" in note
    assert note.endswith("a/chip/000, b/chip/000")
    assert shared_note(of_lines()) is None


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(UsageError, match="convert A B OUT"):
        split_of(many_samples())
    with pytest.raises(UsageError, match="convert A B OUT"):
        split_of(of_lines(("a",)))
    alone = [one for one in of_lines() if one.source != "c" or one.source_split == "train"]
    with pytest.raises(InputError, match="source c has no test image"):
        split_of(alone)


def new(name: str, source: str, *, side: str = "test", group: str | None = None) -> Sample:
    made = sample(f"{source}/new/{name}", source_split=side, group=group)
    return replace(made, source=source, defect_type="chip" if side == "test" else "good")


def placed(added, to="auto"):
    samples = of_lines()
    split = split_of(samples)
    everything = [*samples, *added]
    after = place(split, sides_of(split), everything, to=to, returned={})
    check_split(after, everything, source="here")
    return [[fold[one.image_id] for fold in sides_of(after)] for one in added]


def test_new_images_go_to_the_fold_of_their_source():
    test, train = new("1", "b"), new("2", "b", side="train")
    (first, second) = placed([test, train])
    assert first[1] == "test"
    assert {first[0], first[2]} <= {"train", "val"}
    assert second[1] == "left_out"
    assert {second[0], second[2]} <= {"train", "val"}
    assert placed([test], "train")[0][1] == "left_out"
    assert placed([test], "test") == [["left_out", "test", "left_out"]]
    assert placed([train], "folds")[0][1] == "test"


def test_a_source_that_no_fold_tests_is_refused_or_learned_from():
    one = new("1", "line 4")
    with pytest.raises(UsageError, match=r"source line 4, which no fold.*\(they test a, b, c\)"):
        placed([one])
    assert set(placed([one], "train")[0]) <= {"train", "val"}


def test_another_sources_photograph_of_a_known_part_stands_aside():
    # a/chip/000 is tested in fold 0 and trained on in the others.
    (sides,) = placed([new("1", "b", group="a/chip/000")])
    assert sides[:2] == ["left_out", "left_out"]
    assert sides[2] in ("train", "val")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(LINES),
            st.sampled_from(["test", "train"]),
            st.sampled_from([None, "x", "a/chip/000", "b/train/good/001"]),
        ),
        max_size=8,
    )
)
def test_no_update_lets_a_fold_learn_from_the_source_it_tests(drawn):
    added = [new(str(n), line, side=s, group=g) for n, (line, s, g) in enumerate(drawn)]
    for one, sides in zip(added, placed(added), strict=True):
        for line, side in zip(LINES, sides, strict=True):
            assert (side in ("test", "left_out")) if one.source == line else side != "test"


def test_a_known_source_is_told_by_the_end_of_the_path():
    known = ["line_1/bottle", "line_2/bottle", "old"]
    assert name_of_source(("/", "week2", "line_1", "bottle"), known) == "line_1/bottle"
    assert name_of_source(("/", "week2", "old"), known) == "old"
    assert name_of_source(("/", "week2", "bottle"), known) == "bottle"
