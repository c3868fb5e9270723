"""Every way of learning from good images, over one set of expectations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import NearestNeighbors

from annotations import InputError, ProtocolError, load_dataset, read_predictions
from annotations.images import read_image_rgb
from classify import all_methods, load_classifier, train_classifier
from classify.anomaly.autoencoder import error_maps
from classify.anomaly.memory import PatchMemory, greedy_centers, patches_of
from classify.config import SupervisedConfig
from classify.supervised.classifier import missing_images
from classify.supervised.deepsmote import CodeNetwork, interpolate
from converters import ConvertOptions
from converters.synthetic import SyntheticConfig
from evaluation import evaluate_runs
from inference.nearest import NearestGood
from inference.reconstruction import UsualErrors, top_mean
from tests.drawn import classify_config, drawn_dataset
from training import SilentReporter
from training.array_files import load_arrays
from training.lightning_loop import Progress

GOOD_ONLY = ("knn", *(name for name, kind in all_methods().items() if not kind.needs_defects))
MAPS = {name for name, kind in all_methods().items() if kind.has_map}
QUICK = {"epochs": 2, "latent": 4, "batch_size": 4, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    return load_dataset(drawn_dataset(root, ConvertOptions(protocol="official")))


@pytest.fixture(scope="module")
def defects(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


def train(dataset, method, name, reporter=None, **options):
    values = {
        "weights": "none",
        "image_size": 64,
        "memory_size": 50,
        "device": "cpu",
        "smote_size": 32,
        "smote_epochs": 1,
        **QUICK,
        **options,
    }
    config = classify_config(method, **values)
    return train_classifier(
        dataset, config, name=name, folds=[0], reporter=reporter or SilentReporter()
    )


@pytest.mark.parametrize("method", GOOD_ONLY)
class TestEveryMethod:
    def test_it_scores_every_image_twice_the_same(self, dataset, method):
        first = read_predictions(train(dataset, method, f"{method}-a"), dataset)
        second = read_predictions(train(dataset, method, f"{method}-b"), dataset)
        assert set(first.image_scores) == set(dataset.split.test_ids)
        assert first.raw_scores == second.raw_scores
        assert len(set(first.raw_scores.values())) > 1
        assert first.folds[0].chosen_on.startswith("98.0% quantile")
        assert first.validation_scores
        assert bool(first.map_ranges) == (method in MAPS)
        assert not first.predicted_types

    def test_a_stored_model_scores_as_the_trained_one(self, dataset, method):
        run = train(dataset, method, f"{method}-a")
        stored = read_predictions(run, dataset)
        predictor = load_classifier(run, 0, device="cpu")
        image_id = dataset.split.test_ids[0]
        image = read_image_rgb(dataset.by_id[image_id].image_path)
        got = predictor.predict(image_id, image)
        assert got.image_score == pytest.approx(stored.raw_scores[image_id], rel=1e-5)
        if method in MAPS:
            assert got.pixel_scores.shape == image.shape[:2]
            low, high = stored.map_ranges[image_id]
            kept = stored.pixel_scores(image_id)
            assert np.abs(kept - got.pixel_scores).max() <= (high - low) / 65535 + 1e-5

    def test_validation_scores_are_of_models_that_never_saw_the_image(self, dataset, method):
        run = train(dataset, method, f"{method}-a")
        stored = read_predictions(run, dataset)
        predictor = load_classifier(run, 0, device="cpu")
        thresholds = stored.folds[0]
        seen = []
        for (_, image_id), score in stored.validation_scores.items():
            image = read_image_rgb(dataset.by_id[image_id].image_path)
            own = thresholds.calibrate(predictor.predict(image_id, image).image_score)
            seen.append((score, own))
        if method in ("pretrained", "knn"):
            # The stored model was fitted to these images, and so finds them nearer.
            assert all(score > own for score, own in seen)
        else:
            assert all(score == pytest.approx(own, rel=1e-4) for score, own in seen)

    def test_it_enters_the_table_where_it_can(self, dataset, method):
        (row,) = evaluate_runs(dataset, [train(dataset, method, f"{method}-a")]).rows
        assert row.metrics["image_auroc"].value is not None
        assert (row.metrics["aupro_30"] is not None) == (method in MAPS)
        assert row.metrics["dice"] is None
        recall, overkill = row.metrics["recall"].value, row.metrics["overkill_rate"].value
        assert row.metrics["balanced_accuracy"].value == pytest.approx((recall + 1 - overkill) / 2)
        assert row.metrics["type_accuracy"] is None

    def test_a_damaged_model_is_refused(self, dataset, method):
        run = train(dataset, method, f"{method}-damaged")
        path = run / "fold-0" / "model.npz"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match="is damaged"):
            load_classifier(run, 0, device="cpu")
        path.unlink()
        with pytest.raises(InputError, match="is missing"):
            load_classifier(run, 0, device="cpu")

    def test_nothing_but_good_training_images_is_read(self, dataset, method, monkeypatch):
        allowed = {
            dataset.by_id[i].image_path
            for i in (*dataset.split.folds[0].train, *dataset.split.folds[0].val)
            if not dataset.by_id[i].is_defective
        }
        read: set[Path] = set()

        class Watch(SilentReporter):
            def track(self, what, total):
                del total
                if "test and validation images" in what:
                    read.update(seen)
                return lambda _note: None

        seen: list[Path] = []
        for module in ("method", "anomaly.pretrained", "anomaly.patch_memory", "loop"):
            monkeypatch.setattr(
                f"classify.{module}.read_image_rgb",
                lambda path: (seen.append(path), read_image_rgb(path))[1],
            )
        train(dataset, method, f"{method}-watched", Watch())
        assert read
        assert read <= allowed

    def test_one_image_is_too_few(self, dataset, method):
        fold = dataset.split.folds[0]
        good = [i for i in fold.train if not dataset.by_id[i].is_defective]
        alone = replace(fold, train=(good[0],), val=())
        lonely = replace(dataset, split=replace(dataset.split, folds=(alone,)))
        with pytest.raises(InputError, match="good training images"):
            train(lonely, method, f"{method}-lonely")


@pytest.mark.parametrize("method", ["finetuned", "autoencoder", "gan"])
def test_an_interrupted_training_ends_with_the_same_weights(dataset, method, monkeypatch):
    whole = train(dataset, method, f"{method}-whole", keep="last")
    begun = Progress.on_train_epoch_end

    def stop(self, trainer, module):
        begun(self, trainer, module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_epoch_end", stop)
        # Lightning turns Ctrl+C into an orderly exit of its own.
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(dataset, method, f"{method}-cut", keep="last")
    assert list((dataset.root / "runs" / f"{method}-cut").rglob("last.ckpt"))
    cut = train(dataset, method, f"{method}-cut", keep="last")
    first, second = (load_arrays(run / "fold-0" / "model.npz") for run in (whole, cut))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert (value == second[name]).all(), name
    assert not list(cut.rglob("*.ckpt"))


class TestSupervised:
    @pytest.mark.parametrize("oversample", ["none", "repeat", "injection"])
    def test_it_names_a_type_and_enters_the_table(self, defects, oversample):
        run = train(defects, "supervised", f"supervised-{oversample}", oversample=oversample)
        stored = read_predictions(run, defects)
        assert set(stored.predicted_types) == set(stored.image_scores)
        assert set(stored.predicted_types.values()) <= {"good", *defects.class_names}
        assert "images that did not train what scored them" in stored.folds[0].chosen_on
        (row,) = evaluate_runs(defects, [run], fold=0).rows
        truth = [defects.by_id[i].defect_type for i in stored.predicted_types]
        expected = balanced_accuracy_score(truth, list(stored.predicted_types.values()))
        assert row.metrics["type_accuracy"].value == pytest.approx(expected)
        predictor = load_classifier(run, 0, device="cpu")
        image_id = defects.split.folds[0].test[0]
        got = predictor.predict(image_id, read_image_rgb(defects.by_id[image_id].image_path))
        assert got.image_score == pytest.approx(stored.raw_scores[image_id], rel=1e-5)
        assert got.predicted_type == stored.predicted_types[image_id]
        assert (run / "fold-0" / "injected.png").is_file() == (oversample == "injection")

    def test_it_refuses_a_protocol_without_defects(self, dataset):
        with pytest.raises(ProtocolError, match="classify --method supervised"):
            train(dataset, "supervised", "impossible")

    def test_deepsmote_needs_six_of_a_type(self, defects):
        with pytest.raises(InputError, match="needs 6 images of a type"):
            train(defects, "supervised", "too-few", oversample="deepsmote")

    def test_deepsmote_draws_from_the_training_side_alone(self, tmp_path):
        config = SyntheticConfig(n_train_good=16, n_test_good=4, n_per_type=12, image_hw=(64, 64))
        many = load_dataset(drawn_dataset(tmp_path, ConvertOptions(folds=3), config))
        run = train(many, "supervised", "smote", oversample="deepsmote")
        document = json.loads((run / "fold-0" / "deepsmote.json").read_text())
        fold = many.split.folds[0]
        assert set(document["all_parents"]) <= set(fold.train)
        assert not set(document["all_parents"]) & {*fold.test, *fold.val}
        labels = [many.by_id[i].defect_type for i in fold.train]
        most = max(labels.count(name) for name in set(labels))
        lacking = {n: most - labels.count(n) for n in many.class_names if labels.count(n) < most}
        assert document["made"] == lacking
        for shown in document["shown"]:
            assert {many.by_id[p].defect_type for p in shown["parents"]} == {shown["type"]}
        sheet = read_image_rgb(run / "fold-0" / "deepsmote.png")
        assert sheet.shape[0] == 4 * 96


class TestDeepSmote:
    @given(st.integers(2, 9), st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
    def test_codes_lie_between_an_image_and_one_of_its_nearest(self, n, count, k, seed):
        rng = np.random.default_rng(seed)
        codes = rng.normal(size=(n, 3)).astype(np.float32)
        drawn, parents, nearness = interpolate(codes, count, k=k, rng=rng)
        assert drawn.shape == (count, 3)
        for code, (first, second), near in zip(drawn, parents, nearness, strict=True):
            assert 0 <= near < 1
            between = codes[first] + near * (codes[second] - codes[first])
            assert code == pytest.approx(between, abs=1e-5)
            gaps = np.linalg.norm(codes - codes[first], axis=1)
            assert first != second
            closer = int((gaps < gaps[second]).sum()) - 1
            assert closer < min(k, n - 1)

    def test_one_code_is_too_few(self):
        with pytest.raises(ValueError, match="fewer than two"):
            interpolate(np.zeros((1, 3), np.float32), 1, k=5, rng=np.random.default_rng(0))

    def test_the_penalty_compares_with_another_images_code_and_reaches_the_encoder(self):
        torch.manual_seed(0)
        network = CodeNetwork(SupervisedConfig(smote_size=32, smote_latent=4)).eval()
        images = torch.rand(3, 3, 32, 32)
        penalty = network.penalty(images)
        decoded = [network.decoder(network.encoder(images[i : i + 1])) for i in (2, 0, 1)]
        expected = ((torch.cat(decoded) - images) ** 2).mean().detach()
        assert float(penalty.detach()) == pytest.approx(float(expected), rel=1e-5)
        torch.autograd.backward(penalty)
        for part in (network.encoder, network.decoder):
            gradients = [p.grad for p in part.parameters()]
            assert all(g is not None for g in gradients)
            assert sum(float(g.abs().sum()) for g in gradients) > 0

    def test_what_is_missing_to_the_largest_class(self):
        labels = [0] * 10 + [1] * 4 + [2] * 7
        assert missing_images(labels, 4, 1.0) == {1: 6, 2: 3, 3: 0}
        assert missing_images(labels, 4, 0.5) == {1: 1, 2: 0, 3: 0}


class TestReconstruction:
    def test_errors_are_counted_against_what_is_usual_at_their_place(self):
        rng = np.random.default_rng(0)
        edge = np.zeros((32, 32), np.float32)
        edge[:, 12:20] = 1.0
        good = [edge + rng.normal(0, 0.05, edge.shape).astype(np.float32) for _ in range(20)]
        usual = UsualErrors.of(good)
        spot = good[0].copy()
        spot[24:28, 24:28] += 1.0
        calm, found = usual.unusual(good[0]), usual.unusual(spot)
        assert found[26, 26] > 3 * calm.max()
        assert found[16, 16] < found[26, 26] / 3
        assert top_mean(found) > top_mean(calm) > 0
        again = UsualErrors.from_arrays(usual.arrays())
        assert (again.unusual(spot) == found).all()

    def test_a_perfect_reconstruction_has_no_error(self):
        images = torch.rand(2, 3, 32, 32)
        for share in (0.0, 0.5, 1.0):
            error = error_maps(images, images, share)
            assert error.shape == (2, 32, 32)
            assert float(error.abs().max()) < 1e-5
        other = torch.rand(2, 3, 32, 32)
        squared = 10 * ((images - other) ** 2).mean(dim=1)
        assert torch.allclose(error_maps(images, other, 0.0), squared)
        # As Wang et al. 2004 define it, with SciPy's filter.
        pairs = zip(images[0].numpy().astype(float), other[0].numpy().astype(float), strict=True)
        likeness = np.stack([_ssim(x, y) for x, y in pairs])
        inner = (slice(8, -8), slice(8, -8))
        ours = error_maps(images, other, 1.0)[0].numpy()
        assert ours[inner] == pytest.approx(1 - likeness.mean(axis=0)[inner], abs=1e-3)


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 99))
def test_nearest_neighbors_are_scikit_learns(n, k, seed):
    rng = np.random.default_rng(seed)
    stages = [rng.normal(size=(n, 3)), 100 * rng.normal(size=(n, 2))]
    new = [rng.normal(size=(4, 3)), 100 * rng.normal(size=(4, 2))]
    model = NearestGood.fit(stages, k=k)
    scales = [np.sqrt(s.var(axis=0).sum()) for s in stages]
    good, rows = (
        np.concatenate([s / c for s, c in zip(part, scales, strict=True)], 1)
        for part in (stages, new)
    )
    expected, _ = NearestNeighbors(n_neighbors=min(k, n)).fit(good).kneighbors(rows)
    assert model.distances(new) == pytest.approx(expected.mean(axis=1), abs=1e-6)
    again = NearestGood.from_arrays(model.arrays())
    assert (again.distances(new) == model.distances(new)).all()
    with pytest.raises(InputError, match="at least 2 good images"):
        NearestGood.fit([s[:1] for s in stages])


@given(st.integers(1, 15), st.integers(1, 15), st.integers(0, 99))
def test_each_center_is_the_farthest_from_those_before(n, count, seed):
    points = np.random.default_rng(seed).integers(0, 4, (n, 2)).astype(np.float32)
    chosen = greedy_centers(points, min(count, n), np.random.default_rng(seed)).tolist()
    assert len(set(chosen)) == len(chosen) <= count
    for place in range(1, len(chosen)):
        gaps = np.linalg.norm(points[:, None] - points[chosen[:place]][None], axis=2).min(axis=1)
        assert gaps[chosen[place]] == pytest.approx(gaps.max())
    if len(chosen) < min(count, n):
        assert len(np.unique(points, axis=0)) == len(chosen)


def test_a_patch_is_as_far_as_its_nearest_good_one():
    rng = np.random.default_rng(0)
    good, new = (rng.normal(size=(n, 5)).astype(np.float32) for n in (40, 7))
    memory = PatchMemory.fit(good, size=10, seed=3)
    assert len(memory.patches) == 10
    expected = np.linalg.norm(new[:, None] - memory.patches[None], axis=2).min(axis=1)
    assert memory.distances(new) == pytest.approx(expected, abs=1e-4)
    assert memory.distances(memory.patches) == pytest.approx(np.zeros(10), abs=2e-3)
    everything = PatchMemory.fit(good, size=99, seed=3)
    assert {tuple(p) for p in everything.patches} == {tuple(p) for p in good}
    with pytest.raises(InputError, match="at least one good image"):
        PatchMemory.fit(good[:0], size=3, seed=0)


def test_stages_are_joined_place_by_place():
    large, small = torch.zeros(1, 1, 4, 6), torch.ones(1, 2, 2, 3)
    large[0, 0, 1, 2] = 9.0
    patches = patches_of([large, small])
    assert patches.shape == (1, 3, 4, 6)
    # The mean of nine places, one of them 9.
    assert patches[0, 0, 1, 2] == pytest.approx(1.0)
    assert patches[0, 0, 3, 5] == 0.0


def _ssim(x, y):
    def mean(values):
        return gaussian_filter(values, 1.5, truncate=3.5)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
