"""The drawn category: exact masks, and the same bytes for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import OutputExistsError, UsageError
from converters.synthetic import DEFECT_TYPES, SyntheticConfig, draw_category, draw_image
from tests.converters.test_convert import tree
from tests.drawn import SMALL


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(DEFECT_TYPES), st.integers(48, 90))
def test_the_mask_holds_exactly_what_the_defect_changed(seed, defect_type, side):
    good, nothing = draw_image(np.random.default_rng(seed), (side, side + 6), None)
    bad, mask = draw_image(np.random.default_rng(seed), (side, side + 6), defect_type)
    assert not nothing.any()
    assert mask.any()
    assert ((bad != good).any(axis=2) == mask).all()
    assert mask.mean() < 0.4


def test_the_same_seed_draws_the_same_bytes_and_another_one_does_not(tmp_path):
    for name in ("one", "two"):
        draw_category(tmp_path / name, SMALL)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    draw_category(tmp_path / "other", replace(SMALL, seed=1))
    first, second = tree(tmp_path / "one"), tree(tmp_path / "other")
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_wrong_calls(tmp_path):
    draw_category(tmp_path, SMALL)
    with pytest.raises(OutputExistsError):
        draw_category(tmp_path, SMALL)
    for wrong in ({"image_hw": (40, 80)}, {"seed": -1}, {"category": "../x"}):
        with pytest.raises(UsageError):
            SyntheticConfig(**wrong)
