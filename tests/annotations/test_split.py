"""The split: nobody stands on two sides, and the same input gives the same split."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import (
    InputError,
    ProtocolError,
    SplitMismatchError,
    UsageError,
    check_split,
    make_split,
    read_split,
    require_defects_in_training,
    select_folds,
    write_split,
)
from tests.drawn import many_samples, sample


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(2, 5), st.lists(st.integers(0, 12), min_size=32, max_size=32))
def test_groups_never_stand_on_two_sides(seed, folds, group_numbers):
    samples = [
        replace(s, group=f"part {n}" if n < 6 else s.group)
        for s, n in zip(many_samples(), group_numbers, strict=True)
    ]
    if len({s.group for s in samples if s.source_split == "test"}) < folds:
        with pytest.raises(InputError, match="fewer folds"):
            make_split(samples, folds=folds, seed=seed)
        return
    split = make_split(samples, folds=folds, seed=seed)
    by_id = {s.image_id: s for s in samples}
    assert list(split.test_ids) == sorted(s.image_id for s in samples if s.source_split == "test")
    for fold, left in zip(split.folds, split.left_out, strict=True):
        parts = [fold.train, fold.val, fold.test, left]
        assert sorted(i for part in parts for i in part) == sorted(by_id)
        teaching = {by_id[i].group for i in fold.train + fold.val}
        assert not teaching & {by_id[i].group for i in fold.test}


def test_the_order_of_the_files_does_not_matter_and_the_seed_does():
    samples = many_samples()
    shuffled = samples.copy()
    random.Random(1).shuffle(shuffled)
    assert make_split(samples) == make_split(shuffled)
    assert make_split(samples).digest != make_split(samples, seed=1).digest


def test_every_type_is_spread_over_the_folds():
    split = make_split(many_samples(), folds=4)
    for fold in split.folds:
        assert sum(i.startswith("chip/") for i in fold.test) == 2
        assert sum(i.startswith("scratch/") for i in fold.test) == 2


def test_good_training_images_validate_in_every_fold_alike():
    split = make_split(many_samples(), folds=3)
    held = [{i for i in fold.val if i.startswith("train/")} for fold in split.folds]
    assert held[0]
    assert held[0] == held[1] == held[2]
    assert not any(i.startswith("good/") for fold in split.folds for i in fold.val)


def test_holdout_keeps_good_test_images_for_testing():
    (fold,) = make_split(many_samples(), protocol="holdout").folds
    assert {i for i in fold.test if i.startswith("good/")} == {f"good/{n:03d}" for n in range(6)}
    for name in ("chip/", "scratch/"):
        counts = [sum(i.startswith(name) for i in p) for p in (fold.train, fold.val, fold.test)]
        assert min(counts) >= 1
        assert sum(counts) == 8


def test_official_lets_no_defect_teach():
    samples = many_samples()
    split = make_split(samples, protocol="official")
    (fold,) = split.folds
    assert all(i.startswith("train/good/") for i in fold.train + fold.val)
    assert len(fold.test) == 22
    with pytest.raises(ProtocolError, match="--protocol kfold"):
        require_defects_in_training(split, samples, family="detect")


def test_a_split_file_comes_back_and_a_changed_one_is_refused(tmp_path):
    samples = many_samples()
    split = make_split(samples)
    path = tmp_path / "split.json"
    write_split(path, split, samples)
    assert read_split(path, samples) == split
    value = json.loads(path.read_text())
    value["folds"][0]["train"].append(value["folds"][0]["test"].pop())
    path.write_text(json.dumps(value))
    with pytest.raises(SplitMismatchError, match="digest"):
        read_split(path, samples)
    path.write_text("{}")
    with pytest.raises(InputError, match="not a split"):
        read_split(path, samples)


def test_another_image_under_the_same_name_is_noticed():
    samples = many_samples()
    split = make_split(samples)
    changed = [replace(samples[0], sha256="0" * 64), *samples[1:]]
    with pytest.raises(SplitMismatchError):
        check_split(split, changed, source="split.json")


def test_a_group_on_two_sides_is_refused_by_name():
    samples = many_samples()
    split = make_split(samples)
    fold = split.folds[0]
    both = {fold.train[0], fold.test[0]}
    joined = [replace(s, group="part 7") if s.image_id in both else s for s in samples]
    with pytest.raises(InputError, match="part 7"):
        check_split(split, joined, source="split.json")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"protocol": "nested"}, "Unknown protocol"),
        ({"folds": 1}, "at least 2"),
    ],
)
def test_wrong_calls(arguments, match):
    with pytest.raises(UsageError, match=match):
        make_split(many_samples(), **arguments)


def test_impossible_data():
    with pytest.raises(InputError, match="no test images"):
        make_split([sample("train/good/0", source_split="train")])
    with pytest.raises(InputError, match="fewer folds"):
        make_split([sample("good/0"), sample("chip/0")], folds=5)
    with pytest.raises(InputError, match="unique"):
        make_split([sample("good/0"), sample("good/0")])


def test_fold_option():
    split = make_split(many_samples(), folds=3)
    assert select_folds(split, "all") == [0, 1, 2]
    assert select_folds(split, "2") == [2]
    for wrong in ("3", "-1", "x"):
        with pytest.raises(UsageError):
            select_folds(split, wrong)
