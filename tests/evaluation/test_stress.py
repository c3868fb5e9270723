"""Changes by their units, and where a window ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import UsageError
from evaluation.acceptance import Photograph
from evaluation.stress import (
    KINDS,
    Change,
    cell_figures,
    changed,
    in_proportion,
    kind_named,
    window_of,
    window_side,
)
from evaluation.stress.changes import SPECK_LIGHT, noise_deviation
from evaluation.stress.combined import Window, corners, drawn_pairs, first_to_flip
from evaluation.stress.light import kelvin_gains, linear_of_level, value_of


def gray(value: int, side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def drawn(side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def change(image: np.ndarray, kind: str, value: float, seed: int = 0) -> np.ndarray:
    return changed(image, [Change(kind, value)], image_id="a", seed=seed)


def test_values_and_light_are_inverse_and_srgb() -> None:
    assert np.array_equal(np.rint(value_of(linear_of_level())), np.arange(256))
    # IEC 61966-2-1: the value 188 is half the light, to the nearest value.
    assert linear_of_level()[188] == pytest.approx(0.5, abs=0.005)
    assert linear_of_level()[10] == pytest.approx(10 / 255 / 12.92)


@given(value=st.integers(0, 255), stops=st.floats(-3, 3))
def test_a_stop_doubles_light(value: int, stops: float) -> None:
    light = float(linear_of_level()[value]) * 2.0**stops
    expected = int(np.rint(value_of(np.array(light)))) if stops else value
    # The table holds light as float32: values may differ where one is just half way.
    assert abs(int(change(gray(value, 4), "exposure", stops)[0, 0, 0]) - expected) <= 1
    if stops == 1 and light < 1:
        assert light == 2 * float(linear_of_level()[value])


def test_light_beyond_white_is_white() -> None:
    assert (change(gray(200), "exposure", 3) == 255).all()


def test_noise_has_its_ratio() -> None:
    assert noise_deviation(100, 20) == 10
    assert noise_deviation(100, 40) == 1
    flat = gray(100, 256)
    noisy = change(flat, "noise", 20).astype(float)
    assert noisy.std() == pytest.approx(10, rel=0.01)
    assert noisy.mean() == pytest.approx(100, abs=0.1)
    assert (noisy == noisy[..., :1]).all()  # a gray image is of one sensor
    flat[..., 0] = 103
    of_each = change(flat, "noise", 20) - flat.astype(float)
    assert np.corrcoef(of_each.reshape(-1, 3).T)[0, 1] == pytest.approx(0, abs=0.02)
    assert change(gray(100, 256), "noise", 40).std() == pytest.approx((1 + 1 / 12) ** 0.5, rel=0.02)


def test_kelvin_follows_daylight() -> None:
    assert kelvin_gains(6500) == (1, 1, 1)
    # D50's tristimulus values (ASTM E308), in the primaries of sRGB, whose white is D65.
    matrix = [[3.2405, -1.5371, -0.4985], [-0.9693, 1.8760, 0.0416], [0.0556, -0.2040, 1.0572]]
    red, green, blue = np.array(matrix) @ (0.96422, 1, 0.82521)
    assert kelvin_gains(5003) == pytest.approx((red / green, 1, blue / green), rel=0.005)
    with pytest.raises(ValueError, match="4,000 to 25,000"):
        kelvin_gains(3000)


def test_gamma_scale_rotation_shift_and_jpeg_are_what_they_say() -> None:
    assert int(change(gray(64), "gamma", 2)[0, 0, 0]) in (16, 17)  # 255 (64 / 255)²  = 16.06
    spot = gray(0, 101)
    spot[50, 70] = 255
    turned = change(spot, "rotation", 90)[..., 0]
    assert np.unravel_index(turned.argmax(), turned.shape) == (30, 50)  # counterclockwise
    block = gray(0, 101)
    block[30:71, 30:71] = 255
    area = (change(block, "scale", 110)[..., 0] / 255).sum()
    assert area == pytest.approx(41**2 * 1.1**2, rel=0.02)
    moved = change(spot, "shift", 10)[..., 0]
    assert np.argwhere(moved == 255).tolist() == [[60, 80]]
    back = change(spot, "shift", -10)[..., 0]
    assert np.argwhere(back == 255).tolist() == [[40, 60]]
    coarse, fine = (change(drawn(), "jpeg", q).astype(int) for q in (20, 95))
    assert np.abs(coarse - drawn()).mean() > np.abs(fine - drawn()).mean() > 0


def test_blur_has_its_width() -> None:
    spot = gray(0, 101)
    spot[50, 50] = 255
    line = change(spot, "motion-blur", 5)[..., 0]
    assert np.argwhere(line > 0).tolist() == [[50, x] for x in range(48, 53)]
    assert (line[50, 48:53] == 51).all()
    edge = gray(0, 101)
    edge[:, 51:] = 255
    step = np.diff(change(edge, "focus-blur", 3)[50, :, 0].astype(float))
    places = np.arange(len(step)) - 50
    assert np.sqrt((step * places**2).sum() / step.sum()) == pytest.approx(3, rel=0.03)


def test_fields_of_light_end_at_their_shares() -> None:
    middle = linear_of_level()[150]

    def share(image: np.ndarray, at: tuple[int, int]) -> float:
        return float(linear_of_level()[image[at][0]] / middle)

    uneven = change(gray(150, 65), "uneven-light", 40)
    assert share(uneven, (0, 64)) - share(uneven, (64, 0)) == pytest.approx(0.4, abs=0.01)
    assert uneven[32, 32, 0] == 150
    dark = change(gray(150, 65), "vignetting", 30)
    assert share(dark, (0, 0)) == pytest.approx(0.7, abs=0.01)
    assert dark[32, 32, 0] == 150
    speck = change(gray(150, 65), "dust", 12)
    hit = np.argwhere(speck[..., 0] < 150)
    assert len(hit) <= np.pi * 7**2
    assert share(speck, tuple(hit[len(hit) // 2])) == pytest.approx(SPECK_LIGHT, abs=0.02)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_unchanged_is_the_very_image_and_steps_change_it(kind) -> None:
    image = drawn()
    before = image.copy()
    assert change(image, kind.name, kind.unchanged) is image
    steps = kind.steps(6)
    assert list(steps) == sorted(set(steps))
    assert len(steps) == 6
    assert kind.unchanged not in steps
    for side in kind.sides:
        assert set(side) <= set(steps)
    for value in steps:
        after = change(image, kind.name, value)
        assert (after.shape, after.dtype) == (image.shape, np.uint8)
        assert kind.name == "dust" or (after != image).any()
        assert np.array_equal(after, change(image, kind.name, value))
    assert np.array_equal(image, before)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(part=st.floats(0, 1), scale=st.floats(0, 1))
def test_values_inside_a_window_are_inside(kind, part: float, scale: float) -> None:
    ends = {kind.name: (min(*kind.steps(6), kind.unchanged), max(*kind.steps(6), kind.unchanged))}
    low, high = Window(ends).narrowed(scale).ends[kind.name]
    assert ends[kind.name][0] <= low <= kind.unchanged <= high <= ends[kind.name][1]
    assert low <= kind.within(low, high, part) <= high


def test_a_larger_speck_and_more_noise_are_more_of_the_same() -> None:
    image = gray(128)
    small, large = (change(image, "dust", d)[..., 0] < 128 for d in (4, 16))
    assert (large | ~small).all()
    a, b = (change(image, "noise", d).astype(int) - 128 for d in (20, 26.0206))
    assert np.abs(a - 2 * b).max() <= 2
    assert not np.array_equal(change(image, "noise", 20, seed=1), change(image, "noise", 20))


SHARES = st.dictionaries(st.integers(-5, 5).filter(bool), st.floats(0, 1))


@given(shares=SHARES, max_flips=st.floats(0, 1))
def test_a_window_ends_before_the_first_step_that_does_not_hold(shares, max_flips) -> None:
    for upward, sign in ((True, 1), (False, -1)):
        end = window_side(shares, 0, max_flips, upward=upward)
        inside = [v for v in shares if 0 < sign * v <= sign * end]
        assert all(shares[v] <= max_flips for v in inside)
        beyond = sorted(sign * v for v in shares if sign * v > sign * end)
        assert not beyond or shares[sign * beyond[0]] > max_flips


@given(shares=SHARES, one=st.floats(0, 1), other=st.floats(0, 1))
def test_a_window_grows_with_the_flips_that_it_may_hold(shares, one, other) -> None:
    small, large = (
        [window_side(shares, 0, m, upward=up) for up in (False, True)] for m in sorted((one, other))
    )
    assert large[0] <= small[0] <= small[1] <= large[1]


def shots() -> list[Photograph]:
    return [
        Photograph(f"{kind}/{n}", f"{kind}{n // 2}", kind, "", "test", 0, score, 0.5)
        for kind, score in (("good", 0.2), ("crack", 0.8), ("hole", 0.9))
        for n in range({"good": 8, "crack": 4, "hole": 2}[kind])
    ]


def test_flips_are_counted_by_images_and_errors_by_parts() -> None:
    after = {one.image_id: one.score for one in shots()}
    after |= {"good/0": 0.5, "good/1": 0.7, "crack/0": 0.49}
    cell = cell_figures(shots(), after)
    assert cell.flips == ("good/0", "good/1", "crack/0")
    assert cell.share == 3 / 14
    assert (cell.overkill.count, cell.overkill.n) == (1, 4)
    assert (cell.escape.count, cell.escape.n) == (1, 3)


def test_beginnings_keep_types_in_proportion() -> None:
    order = in_proportion(shots(), 0)
    assert sorted(one.image_id for one in order) == sorted(one.image_id for one in shots())
    kinds = [one.defect_type for one in order[:7]]
    assert (kinds.count("good"), kinds.count("crack"), kinds.count("hole")) == (4, 2, 1)
    assert [one.image_id for one in in_proportion(shots()[::-1], 0)] == [o.image_id for o in order]
    assert in_proportion(shots(), 1) != order


def test_pairs_are_drawn_inside_and_anew_for_each_purpose() -> None:
    window = Window({"exposure": (-0.5, 0.25), "noise": (30, 60), "jpeg": (101, 101)})
    ids = [f"i{n}" for n in range(50)]
    cells = drawn_pairs(window, ids, draws=3, seed=0, purpose="check")
    assert {len(c) for c in cells.values()} == {3}
    for changes in (one for three in cells.values() for one in three):
        assert [c.kind for c in changes] == ["exposure", "noise"]
        assert -0.5 <= changes[0].value <= 0.25
        assert 30 <= changes[1].value <= 60
    assert drawn_pairs(window, ids[:1], draws=3, seed=0, purpose="check") == {"i0": cells["i0"]}
    assert drawn_pairs(window, ids, draws=3, seed=0, purpose="narrow")["i0"] != cells["i0"]
    assert drawn_pairs(window.narrowed(0), ids, draws=3, seed=0, purpose="check") == {}


def test_corners_are_the_ends_and_half_way() -> None:
    window = Window({"exposure": (-0.5, 0), "focus-blur": (0, 2)})
    found = [tuple(c.value for c in cell) for cell in corners(window, ("exposure", "focus-blur"))]
    assert found == [(-0.5, 1), (-0.5, 2), (-0.25, 1), (-0.25, 2)]
    assert corners(window.narrowed(0), ("exposure", "focus-blur")) == []


def test_the_gentlest_step_that_flips_is_shown() -> None:
    cells = [
        {"changes": {"exposure": v}, "flipped": f}
        for v, f in ((-1, ["a", "b", "c"]), (-0.5, []), (0.25, ["z"]), (1, ["z", "a"]))
    ]
    assert first_to_flip(cells) == [(Change("exposure", 0.25), "z")]


def test_wrong_names_and_step_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean exposure"):
        kind_named("exposures")
    with pytest.raises(UsageError, match="at least 2"):
        kind_named("noise").steps(1)
    assert window_of(kind_named("noise"), {45: 0.5, 15: 0.0}, 0.01) == (60, 60)
