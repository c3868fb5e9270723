"""Few shots, types never seen, and splits from elsewhere: what trains and what tests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import (
    InputError,
    Shots,
    SplitMismatchError,
    UsageError,
    check_split,
    make_split,
    read_custom_split,
    read_split,
    write_split,
)
from tests.drawn import many_samples, sample


def sides(split):
    (fold,) = split.folds
    return set(fold.train) | set(fold.val), set(fold.test)


def of_type(ids, kind):
    return {i for i in ids if i.startswith(f"{kind}/")}


@given(st.integers(1, 8), st.integers(0, 20))
def test_few_shots_in_all_train_and_the_rest_test(n, seed):
    samples = many_samples()
    split = make_split(samples, protocol="few-shot", seed=seed, shots=Shots(n))
    train, test = sides(split)
    bad = {s.image_id for s in samples if s.is_defective}
    assert len(train & bad) == n
    assert test & bad == bad - train
    assert of_type(test, "good") == {f"good/{k:03d}" for k in range(6)}
    assert split.left_out == ((),)
    check_split(split, samples, source="drawn")
    assert split == make_split(samples[::-1], protocol="few-shot", seed=seed, shots=Shots(n))


@given(st.integers(1, 7), st.integers(0, 20))
def test_few_shots_of_each_type(n, seed):
    split = make_split(
        many_samples(), protocol="few-shot", seed=seed, shots=Shots(n, per_type=True)
    )
    train, test = sides(split)
    for kind in ("chip", "scratch"):
        assert len(of_type(train, kind)) == n
        assert len(of_type(test, kind)) == 8 - n


def test_only_one_type_trains_and_never_tests():
    split = make_split(
        many_samples(), protocol="few-shot", shots=Shots(3, only_type="chip"), seed=4
    )
    train, test = sides(split)
    assert len(of_type(train, "chip")) == 3
    assert not of_type(train, "scratch")
    assert not of_type(test, "chip")
    assert len(of_type(test, "scratch")) == 8
    assert len(split.left_out[0]) == 5
    assert "chip only" in split.detail


def test_shots_of_one_part_leave_its_other_images_out():
    samples = many_samples(n_per_type=0)
    samples += [sample(f"chip/{n:03d}", group=f"part-{n // 4}") for n in range(12)]
    split = make_split(samples, protocol="few-shot", shots=Shots(5))
    train, test = sides(split)
    groups = {s.image_id: s.group for s in samples}
    assert len(of_type(train, "chip")) == 5
    assert len(of_type(test, "chip")) == 4
    assert len(split.left_out[0]) == 3
    assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_a_left_out_type_teaches_nobody_in_its_fold():
    samples = [*many_samples(), sample("dent/000"), sample("dent/001")]
    split = make_split(samples, protocol="leave-one-type-out")
    assert len(split.folds) == 3
    for fold, kind in zip(split.folds, ("chip", "dent", "scratch"), strict=True):
        assert {i.split("/")[0] for i in fold.test} == {kind, "good"}
        assert not of_type((*fold.train, *fold.val), kind)
    assert split.test_ids == tuple(sorted(s.image_id for s in samples if s.source_split == "test"))


def test_one_of_a_left_out_type_in_anothers_part_is_held_back():
    samples = [*many_samples(), sample("scratch/900", group="both")]
    samples += [sample(f"chip/90{n}", group="both") for n in range(2)]
    split = make_split(samples, protocol="leave-one-type-out")
    chip, scratch = split.folds
    assert "scratch/900" in chip.test
    assert "scratch/900" not in scratch.train + scratch.val + scratch.test
    assert "scratch/900" in split.left_out[1]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"protocol": "few-shot", "shots": Shots(17)}, InputError, "there are 16"),
        ({"protocol": "few-shot", "shots": Shots(16)}, InputError, "no defective image to test"),
        ({"protocol": "few-shot", "shots": Shots(9, True)}, InputError, "of chip.*there are 8"),
        ({"protocol": "few-shot", "shots": Shots(1, only_type="x")}, UsageError, "chip, scratch"),
        ({"protocol": "custom"}, UsageError, "Unknown protocol"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, error, text):
    with pytest.raises(error, match=text):
        make_split(many_samples(), **options)


def test_no_shots_and_one_type_are_refused():
    with pytest.raises(UsageError, match="at least 1"):
        Shots(0)
    one = [s for s in many_samples() if s.defect_type != "chip"]
    with pytest.raises(InputError, match="at least two defect types, and there is one"):
        make_split(one, protocol="leave-one-type-out")


def test_the_detail_survives_the_file(tmp_path):
    samples = many_samples()
    split = make_split(samples, protocol="few-shot", shots=Shots(2, per_type=True))
    write_split(tmp_path / "split.json", split, samples)
    assert read_split(tmp_path / "split.json", samples) == split


def write(path, *folds):
    path.write_text(json.dumps({"folds": list(folds)}))
    return path


def test_a_split_by_hand(tmp_path):
    samples = many_samples()
    fold = {"train": ["train/good/000", "chip/000"], "val": ["chip/001"], "test": ["chip/002"]}
    split = read_custom_split(write(tmp_path / "s.json", fold), samples)
    assert split.protocol == "custom"
    assert split.folds[0].val == ("chip/001",)
    assert len(split.left_out[0]) == len(samples) - 4
    check_split(split, samples, source="s.json")
    write_split(tmp_path / "split.json", split, samples)
    assert read_split(tmp_path / "split.json", samples) == split


def test_a_split_by_hand_without_training_ids_takes_all_others(tmp_path):
    samples = many_samples()
    samples[-1] = sample("scratch/007", group="chip/000")
    path = write(tmp_path / "s.json", {"test": ["chip/000", "good/000"]})
    split = read_custom_split(path, samples)
    assert split.left_out == (("scratch/007",),)
    used = {*split.folds[0].train, *split.folds[0].val}
    assert len(used) == len(samples) - 3
    assert split.folds[0].val


@pytest.mark.parametrize(
    ("folds", "text"),
    [
        ([{"test": ["chip/999"]}], "'chip/999', which the source does not have"),
        ([{"test": []}], "nothing to test on"),
        ([], "holds no folds"),
        ([{"test": "chip/000"}], "must be a list"),
        ([{"test": ["chip/000"]}, {"test": ["chip/000"]}], "is tested in another fold"),
        (
            [{"test": ["chip/000"], "train": ["scratch/007"]}],
            "scratch/007 is to be a training image.*whole",
        ),
        (
            [{"test": ["chip/000"], "train": ["good/000"], "val": ["scratch/007"]}],
            "scratch/007 is on the training side and chip/000 is a test image",
        ),
        ([{"test": ["chip/001"], "train": ["chip/001"], "val": []}], "one part"),
    ],
)
def test_a_wrong_split_by_hand_is_refused(tmp_path, folds, text):
    samples = many_samples()
    samples[-1] = sample("scratch/007", group="chip/000")
    with pytest.raises(InputError, match=text):
        read_custom_split(write(tmp_path / "s.json", *folds), samples)


def test_a_tampered_split_is_refused(tmp_path):
    samples = many_samples()
    split = make_split(samples, protocol="few-shot", shots=Shots(2))
    path = tmp_path / "split.json"
    write_split(path, split, samples)
    value = json.loads(path.read_text())
    value["folds"][0]["train"].append(value["folds"][0]["test"].pop())
    path.write_text(json.dumps(value))
    with pytest.raises(SplitMismatchError, match="was changed after conversion"):
        read_split(path, samples)
