"""Every way of learning from good images, over one set of expectations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from annotations import InputError, load_dataset, read_predictions
from annotations.images import read_image_rgb
from classify import ClassifyConfig, load_classifier, train_classifier
from classify.nearest import NearestGood
from classify.patch_memory import PatchMemory, greedy_centres, patches_of
from converters import ConvertOptions
from evaluation import evaluate_runs
from tests.drawn import drawn_dataset
from training import SilentReporter

METHODS = ("mahalanobis", "knn", "patch-memory")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    return load_dataset(drawn_dataset(root, ConvertOptions(protocol="official")))


def train(dataset, method, name, **options):
    config = ClassifyConfig(
        weights="none", image_size=64, method=method, memory_size=50, device="cpu", **options
    )
    return train_classifier(dataset, config, name=name, folds=[0], reporter=SilentReporter())


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_it_scores_every_image_twice_the_same(self, dataset, method):
        first = read_predictions(train(dataset, method, f"{method}-a"), dataset)
        second = read_predictions(train(dataset, method, f"{method}-b"), dataset)
        assert set(first.image_scores) == set(dataset.split.test_ids)
        assert first.raw_scores == second.raw_scores
        assert len(set(first.raw_scores.values())) > 1
        assert first.folds[0].chosen_on.startswith("98.0% quantile")
        assert first.validation_scores
        assert bool(first.map_ranges) == (method == "patch-memory")

    def test_a_stored_model_scores_as_the_trained_one(self, dataset, method):
        run = train(dataset, method, f"{method}-a")
        stored = read_predictions(run, dataset)
        predictor = load_classifier(run, 0, device="cpu")
        image_id = dataset.split.test_ids[0]
        image = read_image_rgb(dataset.by_id[image_id].image_path)
        got = predictor.predict(image_id, image)
        assert got.image_score == pytest.approx(stored.raw_scores[image_id], rel=1e-5)
        if method == "patch-memory":
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
        if method == "patch-memory":
            assert all(score == pytest.approx(own, rel=1e-4) for score, own in seen)
        else:
            # The stored model was fitted to these images, and so finds them nearer.
            assert all(score > own for score, own in seen)

    def test_it_enters_the_table_where_it_can(self, dataset, method):
        (row,) = evaluate_runs(dataset, [train(dataset, method, f"{method}-a")]).rows
        assert row.metrics["image_auroc"].value is not None
        assert (row.metrics["aupro_30"] is not None) == (method == "patch-memory")
        assert row.metrics["dice"] is None

    def test_a_damaged_model_is_refused(self, dataset, method):
        run = train(dataset, method, f"{method}-damaged")
        path = run / "fold-0" / "model.npz"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match="is damaged"):
            load_classifier(run, 0, device="cpu")
        path.unlink()
        with pytest.raises(InputError, match="is missing"):
            load_classifier(run, 0, device="cpu")


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 99))
def test_nearest_neighbours_are_scikit_learns(n, k, seed):
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
def test_each_centre_is_the_farthest_from_those_before(n, count, seed):
    points = np.random.default_rng(seed).integers(0, 4, (n, 2)).astype(np.float32)
    chosen = greedy_centres(points, min(count, n), np.random.default_rng(seed)).tolist()
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
    patches, place_hw = patches_of([large, small])
    assert place_hw == (4, 6)
    assert patches.shape == (1, 24, 3)
    # The mean of nine places, one of them 9.
    assert patches[0, 1 * 6 + 2, 0] == pytest.approx(1.0)
    assert patches[0, 3 * 6 + 5, 0] == 0.0


def test_a_memory_needs_images_to_hold_out(dataset):
    from dataclasses import replace

    fold = dataset.split.folds[0]
    alone = replace(fold, train=(*fold.train, *fold.val), val=())
    split = replace(dataset.split, folds=(alone,))
    with pytest.raises(InputError, match="others to choose the threshold on"):
        train(replace(dataset, split=split), "patch-memory", "alone")
