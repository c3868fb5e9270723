"""What names mean, as whole words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.names import means_good, side_of_file, side_of_folders

GOOD = [
    "good", "Good", "OK", "ok", "okay", "normal", "Normal", "free", "MT_Free", "defect_free",
    "defect-free", "DefectFree", "no_defect", "No Defect", "NoDefects", "nodefect", "passed",
    "good_parts", "ok images", "i.O.", "intact", "healthy", "01_good", "good_2",
]  # fmt: skip
NOT_GOOD = [
    "not_ok", "not good", "NOK", "n_ok", "NG", "nio", "n.i.O.", "abnormal", "Good Weld", "goodyear",
    "book", "token", "freeze", "scratch", "defect", "bad", "non_normal", "un-ok", "normalised", "",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_that_mean_good(name):
    assert means_good(name)


@pytest.mark.parametrize("name", NOT_GOOD)
def test_names_that_do_not(name):
    assert not means_good(name)


def test_a_person_adds_names():
    assert means_good("Gut", ("gut",))
    assert means_good("Teil_gut", ("gut",))
    assert means_good("Good Weld", ("good weld",))
    assert not means_good("ungut", ("gut",))
    assert not means_good("not_fine", ("fine",))


@given(st.sampled_from(GOOD), st.sampled_from(["{}", "MT_{}", "{} parts", "07-{}"]))
def test_what_stands_around_a_good_name_changes_nothing(name, frame):
    assert means_good(frame.format(name))


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("train", "train"), ("Training", "train"), ("train2017", "train"), ("val", "val"),
        ("valid", "val"), ("validation", "val"), ("test", "test"), ("TEST", "test"),
        ("test_images", "test"), ("images-train", "train"), ("trainset", ""), ("valve", ""),
        ("testpin_bent", ""), ("test_pin_bent", ""), ("contest", ""), ("validity", ""),
        ("latest", ""), ("train_val", ""), ("training_data", "train"), ("value", ""),
    ],
)  # fmt: skip
def test_sides_are_whole_words(name, side):
    assert side_of_folders([name]) == side


@pytest.mark.parametrize(
    ("stem", "side"),
    [
        ("instances_train2017", "train"), ("instances_default", ""), ("my_test", "test"),
        ("valve_labels", ""), ("trainval", ""), ("train_val", ""), ("annotations-valid", "val"),
    ],
)  # fmt: skip
def test_sides_of_label_files(stem, side):
    assert side_of_file(stem) == side
