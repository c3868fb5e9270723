"""Segmenters joined: weights, looks, and a run that is like any other."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import defectune as dt
from annotations import (
    FoldThresholds,
    InputError,
    SplitMismatchError,
    UsageError,
    load_dataset,
    read_predictions,
)
from annotations.images import read_image_rgb
from converters import ConvertOptions
from inference.joined import LIMIT, JoinedMasks, JoinedMember, join_looks
from inference.masks import Look
from segment import HybridConfig, JoinedConfig, SegmentConfig, load_segmenter, train_segmenter
from segment.join_weights import image_weights, map_weights
from tests.drawn import drawn_dataset
from tests.segment.small import SMALL
from training import SilentReporter

pytestmark = pytest.mark.filterwarnings("ignore")

UNET = SegmentConfig(
    weights="none",
    encoder="tu-test_resnet",
    image_size=32,
    views=1,
    epochs=1,
    batch_size=4,
    device="cpu",
)
HALF = FoldThresholds(0.5, "odds", 0.5, "nothing")


def look(defect, score, *, types=((1.0,),)):
    """Of a map (h, w), with the shares of types (types, 1)."""
    defect = np.asarray(defect, np.float32)
    shares = np.asarray(types, np.float32).reshape(-1, 1, 1)
    return Look(np.concatenate([1 - defect[None], shares * defect]).astype(np.float32), score)


def test_equal_members_say_what_one_says():
    seen = look([[0.2, 0.9], [0.5, 0.01]], 0.7)
    members = [JoinedMember("a", HALF, 0.5, 0.5), JoinedMember("b", HALF, 0.5, 0.5)]
    joined = join_looks(members, [seen, seen])
    assert joined.image_score == pytest.approx(0.7)
    np.testing.assert_allclose(joined.probabilities, seen.probabilities, atol=1e-6)


def test_scores_and_maps_are_shifted_to_their_own_thresholds():
    strict = FoldThresholds(0.9, "odds", 0.8, "nothing")
    members = [JoinedMember("a", strict, 1.0, 1.0), JoinedMember("b", HALF, 0.0, 0.0)]
    joined = join_looks(members, [look([[0.8]], 0.9), look([[0.1]], 0.1)])
    assert joined.image_score == pytest.approx(0.5)
    assert joined.defect[0, 0] == pytest.approx(0.5)


def test_the_mean_is_of_log_odds_and_bounded():
    members = [JoinedMember("a", HALF, 0.25, 0.5), JoinedMember("b", HALF, 0.75, 0.5)]
    joined = join_looks(members, [look([[1.0]], 1.0), look([[0.5]], 0.5)])
    assert joined.image_score == pytest.approx(1 / (1 + np.exp(-0.25 * LIMIT)))
    assert joined.defect[0, 0] == pytest.approx(1 / (1 + np.exp(-0.5 * LIMIT)))


def test_types_are_the_mean_of_shares_and_maps_take_the_largest_size():
    members = [JoinedMember("a", HALF, 0.5, 0.25), JoinedMember("b", HALF, 0.5, 0.75)]
    first = look(np.full((2, 2), 0.5), 0.5, types=((1.0,), (0.0,)))
    second = look(np.full((4, 6), 0.5), 0.5, types=((0.0,), (1.0,)))
    joined = join_looks(members, [first, second])
    assert joined.probabilities.shape == (3, 4, 6)
    np.testing.assert_allclose(joined.probabilities[:, 1, 1], [0.5, 0.125, 0.375], atol=1e-6)


def test_a_member_that_ranks_upside_down_is_left_out():
    flags = [True] * 20 + [False] * 20
    good = np.concatenate([np.linspace(0.5, 3, 20), np.linspace(-3, -0.4, 20)])
    weights = image_weights([good, -3 * good], flags, [str(n) for n in range(40)])
    assert weights == [1.0, 0.0]


def test_images_of_one_kind_weigh_members_alike():
    assert image_weights([[1, 2], [2, 1]], [True, True], ["a", "b"]) == [0.5, 0.5]
    assert map_weights([None, None, None], 0, lambda _weights: None) == [1 / 3] * 3


@given(st.integers(0, 200), st.integers(3, 30), st.integers(2, 4))
def test_joining_is_never_much_worse_than_the_mean(seed, n, members):
    rng = np.random.default_rng(seed)
    flags = np.arange(2 * n) < n
    odds = rng.normal(0, 1, (members, 2 * n)) + rng.uniform(-2, 3, (members, 1)) * flags
    weights = image_weights(odds, flags.tolist(), [str(i) for i in range(2 * n)])
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    joint = roc_auc_score(flags, np.array(weights) @ odds)
    assert joint >= roc_auc_score(flags, odds.mean(axis=0)) - 0.1


@pytest.mark.parametrize(
    ("dices", "joint", "expected"),
    [
        # The second map alone is better than both together by more than is chance.
        ([0.2, 0.7], 0.5, [0.0, 1.0]),
        ([0.5, 0.5], 0.6, [0.5, 0.5]),
    ],
)
def test_a_map_that_harms_is_left_out(dices, joint, expected):
    def dice(weights):
        alone = [n for n, weight in enumerate(weights) if weight == 1]
        return dices[alone[0]] if alone else joint

    assert map_weights(dices, 10, dice) == pytest.approx(expected)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = drawn_dataset(tmp_path_factory.mktemp("drawn"))
    data = load_dataset(root)
    hybrid = SMALL.model_copy(update={"heads": 2})
    for name, config in (("one", hybrid), ("two", UNET)):
        train_segmenter(data, config, name=name, folds=[0], reporter=SilentReporter())
    join(root, "both")
    return root


def join(root, name, members=("one", "two"), folds=(0,)):
    config = JoinedConfig(members=members, device="cpu")
    return train_segmenter(
        load_dataset(root), config, name=name, folds=list(folds), reporter=SilentReporter()
    )


def test_a_joined_run_is_evaluated_predicted_and_bundled(root):
    data = load_dataset(root)
    board = dt.evaluate(root, fold=0, progress=False)
    assert {row.run for row in board.rows} == {"one", "two", "both"}
    stored = read_predictions(root / "runs" / "both", data)
    opened = load_segmenter(root / "runs" / "both", 0, device="cpu")
    assert isinstance(opened, JoinedMasks)
    assert {member.name for member in opened.members} <= {"one", "two"}
    sample = data.by_id[data.split.folds[0].test[0]]
    again = opened.predict(sample.image_id, read_image_rgb(sample.image_path))
    assert again.image_score == pytest.approx(stored.raw_scores[sample.image_id], abs=1e-6)
    made = dt.bundle(root / "runs" / "both", root / "both.bundle", progress=False)
    found = dt.check_bundle(made.path, root, progress=False)
    assert len(found.images) == len(data.split.folds[0].test)
    assert not found.flips
    assert found.largest_score_difference <= 1e-4


def test_a_member_that_changed_is_no_member_any_more(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    weights = copy / "runs" / "one" / "fold-0" / "best.pt"
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(InputError, match="joins one, which was trained again or changed"):
        load_segmenter(copy / "runs" / "both", 0, device="cpu")
    shutil.rmtree(copy / "runs" / "one")
    with pytest.raises(InputError, match="joins one, which is gone"):
        load_segmenter(copy / "runs" / "both", 0, device="cpu")


@pytest.mark.parametrize(
    ("key", "value"),
    [("run", "../one"), ("image_weight", float("nan")), ("map_weight", 7), ("run", "..")],
)
def test_a_strange_list_of_members_is_refused(root, tmp_path, key, value):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    path = copy / "runs" / "both" / "fold-0" / "members.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["members"][0][key] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=r"members\.json is damaged"):
        load_segmenter(copy / "runs" / "both", 0, device="cpu")


def test_what_cannot_be_joined_is_refused(root):
    with pytest.raises(InputError, match="both is one of segment that is joined itself"):
        join(root, "again", ("one", "both"))
    with pytest.raises(UsageError, match="names a run twice"):
        join(root, "again", ("one", "one"))
    with pytest.raises(InputError, match="has not finished fold 1"):
        join(root, "again", folds=(0, 1))
    with pytest.raises(InputError, match="is not a run"):
        join(root, "again", ("one", "three"))
    with pytest.raises(UsageError, match="together: a joined segmenter has no image_size"):
        dt.train(root, "segment", method="joined", image_size=64, name="again", progress=False)
    assert not (root / "runs" / "again").exists()


def test_a_run_of_another_split_is_refused(root, tmp_path):
    other = drawn_dataset(tmp_path, ConvertOptions(folds=2, seed=1))
    shutil.copytree(root / "runs" / "one", other / "runs" / "one")
    shutil.copytree(root / "runs" / "two", other / "runs" / "two")
    with pytest.raises(SplitMismatchError, match="another split"):
        join(other, "both")


def test_methods_among_the_members_are_trained_first(root, monkeypatch):
    small = {"hybrid": SMALL, "unet": UNET}
    asked = []

    def instead(kind, values, overrides, *, recipe):
        asked.append((kind, values, sorted(recipe)))
        return small["hybrid" if kind is HybridConfig else "unet"]

    monkeypatch.setattr("segment.train.build_config", instead)
    run = join(root, "whole", ("hybrid", "unet"))
    assert (root / "runs" / "whole-hybrid" / "predictions" / "meta.json").is_file()
    assert (root / "runs" / "whole-unet" / "predictions" / "meta.json").is_file()
    assert [kind for kind, *_ in asked] == [HybridConfig, SegmentConfig]
    assert all(values == {"seed": 0, "device": "cpu"} for _, values, _ in asked)
    assert read_predictions(run, load_dataset(root)).about["model"] == (
        "joined whole-hybrid + whole-unet"
    )
    # A run that came since and has a method's name is none of the members.
    shutil.copytree(root / "runs" / "one", root / "runs" / "hybrid")
    join(root, "whole", ("hybrid", "unet"))
    document = json.loads((run / "fold-0" / "members.json").read_text(encoding="utf-8"))
    assert [row["run"] for row in document["members"]] == ["whole-hybrid", "whole-unet"]
