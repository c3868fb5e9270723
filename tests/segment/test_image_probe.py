"""The probe of the image as a whole: fitted by shares, used only where it ranks clearly better."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import defectune as dt
from annotations import InputError, load_dataset, read_predictions
from annotations.images import read_image_rgb
from segment import load_segmenter, train_segmenter
from segment.hybrid.image_probe import (
    PROBE_FILE,
    STRENGTH,
    ImageProbe,
    fit_probe,
    pooled,
    read_probe,
)
from tests.drawn import drawn_dataset
from tests.segment.small import SMALL
from training import SilentReporter

pytestmark = pytest.mark.filterwarnings("ignore")


def drawn(seed, n=60, width=5, *, signal):
    """Features, scores without any signal, flags, groups and shares of n images."""
    rng = np.random.default_rng(seed)
    flags = np.arange(n) % 2 == 0
    features = rng.normal(0, 1, (n, width))
    features[:, 0] += signal * flags
    return (
        features,
        rng.uniform(0.1, 0.9, n).tolist(),
        flags.tolist(),
        [str(i) for i in range(n)],
        (np.arange(n) // 2 % 3).tolist(),
    )


def test_pooled_features_are_mean_spread_and_maximum():
    level = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    found = pooled([level])[0]
    np.testing.assert_allclose(found, [4, 2, 5**0.5, 0, 7, 2], atol=1e-6)


def test_a_probe_that_tells_is_taken_and_scores_held_out_images():
    features, scores, flags, groups, shares = drawn(0, signal=4)
    fitted = fit_probe(features, scores, flags, groups, shares)
    assert fitted is not None
    assert roc_auc_score(flags, fitted.scores) > 0.95
    held = np.array(shares) == 1
    oracle = LogisticRegression(C=STRENGTH, class_weight="balanced", tol=1e-10)
    rest = features[~held]
    mean, deviation = rest.mean(axis=0), rest.std(axis=0)
    oracle.fit((rest - mean) / deviation, np.array(flags)[~held])
    expected = oracle.decision_function((features[held] - mean) / deviation)
    # Beside scores without any signal it stands alone.
    assert fitted.probe.part == 1
    got = np.log(np.array(fitted.scores)[held] / (1 - np.array(fitted.scores)[held]))
    np.testing.assert_allclose(got * fitted.probe.spreads[1], expected, atol=1e-3)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_probe_of_noise_is_hardly_ever_taken(seed):
    """Beside scores that rank well there is nothing to gain."""
    features, _, flags, groups, shares = drawn(seed, signal=0)
    good = np.where(flags, 0.8, 0.2) + np.random.default_rng(seed).normal(0, 0.05, len(flags))
    assert fit_probe(features, good.tolist(), flags, groups, shares) is None


def test_images_of_one_kind_fit_nothing():
    features, scores, _, groups, shares = drawn(0, signal=4)
    assert fit_probe(features, scores, [True] * len(scores), groups, shares) is None


def test_a_probe_comes_back_exactly_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / PROBE_FILE
    assert read_probe(path) is None
    probe = ImageProbe(np.arange(6.0), -0.5, 0.5, (2.0, 3.0))
    probe.write(path)
    levels = [torch.rand(2, 2, 4, 4)]
    logit = torch.tensor([1.0, -2.0])
    again = read_probe(path)
    assert again is not None
    torch.testing.assert_close(again(logit, levels), probe(logit, levels))
    mine = pooled(levels) @ torch.arange(6.0) - 0.5
    torch.testing.assert_close(probe(logit, levels), 0.25 * logit + mine / 6)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"image_probe\.npz is damaged"):
        read_probe(path)


def test_a_run_with_a_probe_is_predicted_and_bundled_as_it_was_scored(tmp_path, monkeypatch):
    monkeypatch.setattr("segment.hybrid.image_probe.clearly_better", lambda *_: True)
    root = drawn_dataset(tmp_path)
    data = load_dataset(root)
    config = SMALL.model_copy(update={"heads": 2})
    run = train_segmenter(data, config, name="p", folds=[0], reporter=SilentReporter())
    assert (run / "fold-0" / PROBE_FILE).is_file()
    stored = read_predictions(run, data)
    opened = load_segmenter(run, 0, device="cpu")
    for image_id in data.split.folds[0].test[:3]:
        image_rgb = read_image_rgb(data.by_id[image_id].image_path)
        again = opened.predict(image_id, image_rgb).image_score
        assert again == pytest.approx(stored.raw_scores[image_id], abs=1e-6)
    made = dt.bundle(run, root / "p.bundle", progress=False)
    found = dt.check_bundle(made.path, root, progress=False)
    assert not found.flips
    assert found.largest_score_difference <= 1e-4
