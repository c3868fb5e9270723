"""The hybrid segmenter: cached features, noise, and what it learns from."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from annotations import (
    InputError,
    TrainingError,
    UsageError,
    load_dataset,
    read_image_rgb,
    read_predictions,
)
from converters import ConvertOptions
from converters.check import check_dataset
from inference.images import fitted_hw
from inference.score_stack import NAMES, map_statistics, read_stack
from segment import HybridConfig, load_segmenter, train_segmenter
from segment.hybrid.cache import FeatureCache, views_that_fit
from segment.hybrid.features import FrozenFeatures
from segment.hybrid.network import Heads, add_noise, blob_mask, hybrid_loss
from segment.hybrid.predict import HybridNetwork, HybridPredictor
from segment.hybrid.train import _batches
from segment.hybrid.training_set import Example
from segment.score_stack import fit_logistic, fit_stack
from tests.drawn import drawn_dataset
from tests.segment.small import SMALL
from training import SilentReporter, ThresholdAim, build_config

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FrozenFeatures("resnet18", weights="none")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def image(hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3)).astype(np.uint8)


@torch.inference_mode()
def levels_of(network, hw):
    return network.levels(torch.from_numpy(planes(hw))[None])


@pytest.mark.parametrize(
    ("image_hw", "expected"),
    [
        ((64, 64), (320, 320)),
        ((110, 400), (96, 320)),
        ((400, 110), (320, 96)),
        ((1, 900), (32, 320)),
    ],
)
def test_images_keep_their_aspect(image_hw, expected):
    assert fitted_hw(image_hw, 320) == expected


def test_features_are_levels_of_whole_strides(network):
    levels = levels_of(network, (64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == network.shapes((64, 96))
    assert sum(level[0].numel() for level in levels) == network.size((64, 96))
    assert not network.train().training


def test_a_network_without_maps_is_refused():
    with pytest.raises(UsageError, match="map of features"):
        FrozenFeatures("mixer_s32_224", weights="none")


def planes(hw, seed=0):
    return np.random.default_rng(seed).normal(size=(3, *hw)).astype(np.float32)


def test_a_cache_gives_back_what_it_was_given_and_nothing_else(network, tmp_path):
    hw = (32, 64)
    levels = [level[0] for level in levels_of(network, hw)]
    cache = FeatureCache(tmp_path / "features", network, encoder="a")
    path = cache.path(planes(hw))
    assert cache.read(path, hw) is None
    cache.write(path, levels)
    again = cache.read(path, hw)
    for one, other in zip(levels, again, strict=True):
        assert torch.allclose(one, other, rtol=2e-3, atol=1e-3)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    turned = planes(hw).reshape(3, 64, 32)
    torch.manual_seed(1)
    another = FrozenFeatures("resnet18", weights="none")
    others = [
        FeatureCache(tmp_path / "features", network, encoder="b").path(planes(hw)),
        FeatureCache(tmp_path / "features", another, encoder="a").path(planes(hw)),
        cache.path(planes(hw, seed=1)),
        cache.path(turned),
    ]
    assert len({path, *others}) == 5


def test_a_cache_of_another_version_is_not_found(network, tmp_path, monkeypatch):
    before = FeatureCache(tmp_path, network, encoder="a").path(planes((32, 32)))
    monkeypatch.setattr("segment.hybrid.cache.FORMAT_VERSION", 3)
    assert FeatureCache(tmp_path, network, encoder="a").path(planes((32, 32))) != before


@pytest.mark.parametrize("kept", [0, 50, 2000, -10])
def test_half_written_features_are_not_used(network, tmp_path, kept):
    cache = FeatureCache(tmp_path, network, encoder="a")
    path = cache.path(planes((32, 32)))
    cache.write(path, [level[0] for level in levels_of(network, (32, 32))])
    path.write_bytes(path.read_bytes()[:kept])
    assert cache.read(path, (32, 32)) is None


def test_a_full_disk_is_one_paragraph(network, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segment.hybrid.cache.np.save", full)
    cache = FeatureCache(tmp_path, network, encoder="a")
    levels = [level[0] for level in levels_of(network, (32, 32))]
    with pytest.raises(TrainingError, match=r"No space left.*cache_gb"):
        cache.write(cache.path(planes((32, 32))), levels)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_keeps_what_was_used_last(network, tmp_path):
    cache = FeatureCache(tmp_path, network, encoder="a")
    paths = [cache.path(planes((32, 32), seed)) for seed in range(4)]
    for age, path in enumerate(paths):
        cache.write(path, [level[0] for level in levels_of(network, (32, 32))])
        os.utime(path, (1000 - age, 1000 - age))
    size = paths[0].stat().st_size
    cache.trim(2 * size / 1e9, kept={paths[3]})
    # The last is the oldest, and in use.
    assert sorted(tmp_path.iterdir()) == sorted([paths[0], paths[3]])
    cache.trim(0, kept=paths)
    assert sorted(tmp_path.iterdir()) == sorted([paths[0], paths[3]])


def test_views_are_halved_until_they_fit():
    assert views_that_fit([10**8] * 10, 4, 8.0) == 4
    assert views_that_fit([10**8] * 10, 4, 7.9) == 2
    assert views_that_fit([10**8] * 10, 4, 2.0) == 1
    assert views_that_fit([10**8] * 10, 4, 1.9) == 0


@pytest.mark.parametrize("map_stride", [2, 4, 8])
@pytest.mark.parametrize("strides", [(2, 4, 8, 16), (4, 8, 16), (16,)])
def test_the_map_has_its_stride_whatever_levels_there_are(strides, map_stride):
    head = Heads(strides, [3] * len(strides), n_classes=2, width=8, map_stride=map_stride)
    levels = [torch.randn(2, 3, 64 // s, 96 // s) for s in strides]
    maps, logits = head(levels)
    assert maps.shape == (2, 3, 64 // map_stride, 96 // map_stride)
    assert logits.shape == (2,)


def test_heads_answer_with_their_mean():
    torch.manual_seed(0)
    heads = Heads((4, 8), (3, 3), n_classes=2, width=8, map_stride=8, heads=3).eval()
    levels = [torch.randn(1, 3, 16, 16), torch.randn(1, 3, 8, 8)]
    maps, logits = heads(levels)
    each = [head(levels, heads.join(levels)) for head in heads.each]
    assert torch.allclose(maps, sum(one for one, _ in each) / 3, atol=1e-6)
    assert torch.allclose(logits, sum(one for _, one in each) / 3, atol=1e-6)
    assert not torch.equal(each[0][0], each[1][0])


def test_noise_stays_in_its_blobs():
    generator = torch.Generator().manual_seed(0)
    where = blob_mask((16, 16), 3, generator)
    assert where.shape == (3, 1, 16, 16)
    assert 0.01 < float(where.float().mean()) < 0.35
    levels = [torch.zeros(3, 5, 32, 32), torch.zeros(3, 5, 16, 16), torch.zeros(3, 5, 8, 8)]
    noisy = add_noise(levels, where, 0.5, generator)
    assert bool((noisy[1][~where.expand(-1, 5, -1, -1)] == 0).all())
    assert float(noisy[1][where.expand(-1, 5, -1, -1)].std()) == pytest.approx(0.5, rel=0.2)


def test_the_loss_is_low_where_the_map_is_right():
    truth = torch.zeros(1, 4, 4)
    truth[0, :2] = 1
    maps = torch.stack((truth[0] * 4 - 2, truth[0], -truth[0]))[None]
    options = {"anomalous": truth, "types": truth.long(), "image_labels": torch.ones(1)}
    right = hybrid_loss(maps, torch.tensor([2.0]), **options)
    wrong = hybrid_loss(-maps, torch.tensor([-2.0]), **options)
    assert float(right) < 0.2 < 3 < float(wrong)


def example(name, hw, *, bad):
    places = np.full((hw[0] // 8, hw[1] // 8), int(bad), np.uint8)
    return Example(name, name, "masks", hw, places, (), bool(bad), (), None)


def test_a_batch_has_images_of_one_size():
    examples = [
        example(str(n), hw, bad=n % 2)
        for n, hw in enumerate([(32, 64), (32, 64), (64, 32), (32, 32), (32, 64)])
    ]
    config = SMALL.model_copy(update={"good_per_defect": 9.0, "batch_size": 2, "fewest_images": 1})
    batches = _batches(examples, range(5), config, 1, np.random.default_rng(0))
    assert sorted(n for batch in batches for n, _ in batch) == [0, 1, 2, 3, 4]
    assert all(len({examples[n].hw for n, _ in batch}) == 1 for batch in batches)


def test_few_defects_are_drawn_again_each_as_often_as_another():
    examples = [example(str(n), (32, 32), bad=n < 3) for n in range(43)]
    config = SMALL.model_copy(update={"good_per_defect": 1.0, "fewest_images": 40})
    batches = _batches(examples, range(43), config, 4, np.random.default_rng(0))
    drawn = [number for batch in batches for number, _ in batch]
    assert len(drawn) == 40
    times = [drawn.count(number) for number in range(3)]
    assert sum(times) == 20
    assert max(times) - min(times) <= 1
    assert len({number for number in drawn if number > 2}) == 20


def test_two_trainings_are_equal_and_share_their_features(dataset):
    runs = [
        train_segmenter(dataset, SMALL, name=name, folds=[0], reporter=SilentReporter())
        for name in ("first", "second")
    ]
    files = [
        (run / "predictions" / "images.csv").read_bytes() + (run / "fold-0/best.pt").read_bytes()
        for run in runs
    ]
    assert files[0] == files[1]
    kept = sorted((dataset.root / ".features").iterdir())
    assert len(kept) >= SMALL.cached_views
    assert all(path.suffix == ".npy" for path in kept)
    assert check_dataset(dataset).problems == ()
    stored = read_predictions(runs[0], dataset)
    assert stored.about["model"] == "hybrid resnet18"
    sample = dataset.by_id[dataset.split.folds[0].test[0]]
    again = load_segmenter(runs[0], 0, device="cpu")
    found = again.predict(sample.image_id, read_image_rgb(sample.image_path))
    assert found.image_score == stored.raw_scores[sample.image_id]


def test_a_run_of_an_earlier_version_opens_and_one_with_a_retired_setting_says_so(
    dataset, tmp_path
):
    config = SMALL.model_copy(update={"heads": 2})
    run = train_segmenter(dataset, config, name="several", folds=[0], reporter=SilentReporter())
    # As version 0.1 wrote it: settings and buffers that are no more, with nothing in them.
    settings = run / "config.yaml"
    text = settings.read_text(encoding="utf-8")
    old = text.replace("config:\n", "config:\n  memory_patches: 0\n  drawn_defects: 0.0\n")
    settings.write_text(old, encoding="utf-8")
    weights = run / "fold-0" / "best.pt"
    state = torch.load(weights, weights_only=True)
    state |= {
        "heads.memory": torch.zeros(0, 5),
        "heads.distance_mean": torch.zeros(()),
        "heads.distance_deviation": torch.ones(()),
    }
    torch.save(state, weights)
    stored = read_predictions(run, dataset)
    sample = dataset.by_id[dataset.split.folds[0].test[0]]
    again = load_segmenter(run, 0, device="cpu")
    found = again.predict(sample.image_id, read_image_rgb(sample.image_path))
    assert found.image_score == stored.raw_scores[sample.image_id]
    settings.write_text(old.replace("memory_patches: 0", "memory_patches: 40"), encoding="utf-8")
    with pytest.raises(
        InputError, match="trained with memory_patches, which the program no longer"
    ):
        load_segmenter(run, 0, device="cpu")


def test_without_room_for_features_training_is_slower_and_says_so(dataset):
    said = []

    class Says(SilentReporter):
        def say(self, text):
            said.append(text)

    config = SMALL.model_copy(update={"cache_gb": 0.0})
    run = train_segmenter(dataset, config, name="no-cache", folds=[0], reporter=Says())
    assert any("none of them kept" in line for line in said)
    assert (run / "fold-0" / "best.pt").is_file()


def test_good_images_alone_teach_under_the_official_protocol(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path, ConvertOptions(protocol="official")))
    run = train_segmenter(dataset, SMALL, name="x", folds=[0], reporter=SilentReporter())
    stored = read_predictions(run, dataset)
    assert "good validation images" in stored.folds[0].chosen_on
    assert set(stored.image_scores) == set(dataset.split.folds[0].test)


def test_one_good_image_teaches_and_none_is_refused(tmp_path):
    dataset = load_dataset(drawn_dataset(tmp_path, ConvertOptions(protocol="official")))
    fold = dataset.split.folds[0]
    for kept in (1, 0):
        split = replace(dataset.split, folds=(replace(fold, train=fold.train[:kept], val=()),))
        small = replace(dataset, split=split)
        if kept:
            run = train_segmenter(small, SMALL, name="one", folds=[0], reporter=SilentReporter())
            assert read_predictions(run, small).folds[0].raw_threshold == 0.5
            continue
        with pytest.raises(TrainingError, match="no image to learn from"):
            train_segmenter(small, SMALL, name="none", folds=[0], reporter=SilentReporter())


@pytest.mark.parametrize("hw", [(7, 300), (300, 7), (1, 1), (33, 65)])
@pytest.mark.parametrize("tiles", [1, 2])
def test_images_of_any_size_and_gray_ones_are_looked_at(hw, tiles):
    network = HybridNetwork(SMALL, 2, weights="none")
    predictor = HybridPredictor(network, SMALL, device=torch.device("cpu"), tiles=tiles)
    gray = np.repeat(image(hw)[:, :, :1], 3, axis=2)
    found = predictor.predict("x", gray)
    assert found.pixel_scores.shape == hw
    assert 0 <= found.image_score <= 1


def test_a_score_is_what_one_head_says_in_the_mean():
    # Thresholds come from scores by one head: the mean of several must not lie beside them.
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"heads": 3})
    network = HybridNetwork(config, 2, weights="none").eval()

    def log_odds(only):
        predictor = HybridPredictor(network, config, device=torch.device("cpu"), only=only)
        score = predictor.predict("x", image((64, 96))).image_score
        return np.log(score / (1 - score))

    alone = [log_odds((head,)) for head in range(3)]
    assert np.ptp(alone) > 1e-3
    assert log_odds(None) == pytest.approx(np.mean(alone), abs=1e-5)
    network.score_rule = 1
    assert log_odds(None) < np.mean(alone) - 1e-4


def test_a_run_of_before_keeps_its_scores(tmp_path, dataset):
    config = SMALL.model_copy(update={"heads": 2})
    run = train_segmenter(dataset, config, name="before", folds=[0], reporter=SilentReporter())
    noted = run / "fold-0" / "tiles.json"
    assert load_segmenter(run, 0, device="cpu").trained.score_rule == 2
    kept = {k: v for k, v in json.loads(noted.read_text()).items() if k != "score_rule"}
    noted.write_text(json.dumps(kept))
    assert load_segmenter(run, 0, device="cpu").trained.score_rule == 1


def test_an_aim_is_one_of_two():
    assert build_config(HybridConfig, {"max_escape": 0.1}, []).aim == ThresholdAim(0.1, None)
    with pytest.raises(UsageError, match="not both"):
        build_config(HybridConfig, {"max_escape": 0.1, "max_overkill": 0.1}, [])


def test_a_stack_scores_each_image_without_it():
    rng = np.random.default_rng(0)
    maps, flags = [], []
    for number in range(40):
        one = rng.uniform(0, 0.2, (20, 30)).astype(np.float32)
        # Specks in every image: the highest places tell nothing, the area of a region does.
        one[15, rng.integers(0, 15, 4)] = rng.uniform(0.8, 0.92)
        if number % 2:
            one[5:9, 5:9] = 0.9
        maps.append(one)
        flags.append(bool(number % 2))
    groups = [str(number // 4) for number in range(40)]
    stack, held_out = fit_stack(maps, flags, groups)
    assert min(held_out[1::2]) > max(held_out[::2])
    again, same = fit_stack(maps, flags, groups)
    assert same == held_out
    assert (again.weights == stack.weights).all()
    assert fit_stack(maps[:15], flags[:15], groups[:15]) is None
    assert fit_stack([], [], []) is None


def test_a_stack_comes_back_exactly_and_a_damaged_one_is_refused(tmp_path):
    maps = [np.full((8, 8), v, np.float32) for v in np.linspace(0, 1, 20)]
    flags = np.arange(20) > 9
    # The quantile parts these as well: nothing is fitted.
    assert fit_stack(maps, flags, [str(v) for v in range(20)]) is None
    stack = fit_logistic(np.stack([map_statistics(one) for one in maps]), flags)
    path = tmp_path / "image_score.json"
    assert read_stack(path) is None
    stack.write(path)
    again = read_stack(path)
    assert again.bias == stack.bias
    assert (again.weights == stack.weights).all()
    assert len(again.mean) == len(NAMES)
    path.write_text(path.read_text().replace("log area", "area"))
    with pytest.raises(InputError, match="another version"):
        read_stack(path)


def drawn_maps(rng, n, strength):
    """Maps whose highest places tell defective images from good ones more or less well."""
    flags = np.arange(n) % 2 == 1
    maps = []
    for flag in flags:
        one = rng.uniform(0, 0.3, (12, 12)).astype(np.float32)
        one[3:6, 3:6] += np.float32(np.clip(rng.normal(0.2 + strength * flag, 0.15), 0, 0.6))
        maps.append(one)
    return maps, flags


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("how", ["random", "inverted"])
def test_validation_images_that_mislead_do_no_harm(n, how):
    """Labels that say nothing, or the opposite: the score stays as good as the quantile."""
    lost = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        maps, flags = drawn_maps(rng, n, 0.3)
        said = ~flags if how == "inverted" else rng.permutation(flags)
        fitted = fit_stack(maps, said, [str(v) for v in range(n)])
        new, truth = drawn_maps(rng, 60, 0.3)
        statistics = np.stack([map_statistics(one) for one in new])
        default = roc_auc_score(truth, statistics[:, 1])
        scores = [fitted[0].score(row) for row in statistics] if fitted else statistics[:, 1]
        lost.append(default - roc_auc_score(truth, scores))
    assert np.mean(lost) <= 0.02


@given(st.integers(0, 10_000))
def test_more_of_a_defect_is_never_a_lower_score(seed):
    rng = np.random.default_rng(seed)
    maps, flags = drawn_maps(rng, 24, 0.2)
    stack = fit_logistic(np.stack([map_statistics(one) for one in maps]), rng.permutation(flags))
    assert (stack.weights >= 0).all()
    more = np.clip(maps[0] + rng.uniform(0, 0.4, maps[0].shape).astype(np.float32), 0, 1)
    assert stack.score(map_statistics(more)) >= stack.score(map_statistics(maps[0])) - 1e-12


def test_without_bounds_it_would_be_scikit_learns_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    maps, flags = drawn_maps(rng, 60, 0.5)
    # Only the statistics that rise with the defect, so that no bound is met.
    given = np.stack([map_statistics(one) for one in maps])[:, :3]
    stack = fit_logistic(given, flags)
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000, tol=1e-8)
    model.fit((given - stack.mean) / stack.deviation, flags)
    assert stack.weights == pytest.approx(model.coef_[0], abs=1e-3)
    assert stack.bias == pytest.approx(model.intercept_[0], abs=1e-3)
