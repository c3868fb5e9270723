"""The three families on a tiny drawn category: each trains, predicts the split's test images,
and opens again for new ones."""

import numpy as np
import pytest
import torch

from annotations import (
    ProtocolError,
    TrainingError,
    UsageError,
    WeightsNotFoundError,
    load_dataset,
    read_image_rgb,
    read_predictions,
)
from classify import ClassifyConfig, load_classifier, train_classifier
from classify.anomaly.mahalanobis import Gaussians, held_out_distances
from classify.features import FeatureNetwork
from converters import ConvertOptions
from detect import DetectConfig, load_box_predictor, train_detector
from segment import SegmentConfig, load_mask_predictor, train_segmenter
from segment.data import BalancedSampler, resize_class_mask
from segment.losses import defect_loss
from segment.network import LITE0, build_network
from tests.drawn import drawn_dataset
from training import SilentReporter, efficientnet_lite0_state_dict
from training.backbones import STAGES

TRAIN = {
    "detect": (
        train_detector,
        load_box_predictor,
        DetectConfig(weights="none", epochs=1, image_size=64, batch_size=4, views=1, device="cpu"),
    ),
    "segment": (
        train_segmenter,
        load_mask_predictor,
        SegmentConfig(
            weights="none",
            encoder="tu-test_resnet",
            epochs=1,
            image_size=32,
            batch_size=4,
            device="cpu",
        ),
    ),
    "classify": (
        train_classifier,
        load_classifier,
        ClassifyConfig(weights="none", model="resnet18", image_size=64, device="cpu"),
    ),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(drawn_dataset(tmp_path_factory.mktemp("drawn")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", TRAIN)
def test_a_family_predicts_exactly_the_test_images(dataset, family):
    train, load, config = TRAIN[family]
    run = train(dataset, config, name=family, folds=[0], reporter=SilentReporter())
    stored = read_predictions(run, dataset)
    assert set(stored.image_scores) == set(dataset.split.folds[0].test)
    assert stored.about["family"] == family
    assert (stored.regions is None) == (family == "classify")
    sample = dataset.by_id[dataset.split.folds[0].test[0]]
    again = load(run, 0, device="cpu").predict(sample.image_id, read_image_rgb(sample.image_path))
    assert again.image_score == pytest.approx(stored.raw_scores[sample.image_id], rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_two_trainings_are_equal(dataset):
    train, _, config = TRAIN["segment"]
    states = []
    for name in ("first", "second"):
        run = train(dataset, config, name=name, folds=[1], reporter=SilentReporter())
        states.append(torch.load(run / "fold-1" / "best.pt", weights_only=True))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("family", ["detect", "segment"])
def test_official_is_refused(tmp_path, family):
    dataset = load_dataset(drawn_dataset(tmp_path, ConvertOptions(protocol="official")))
    train, _, config = TRAIN[family]
    with pytest.raises(ProtocolError, match="--protocol kfold"):
        train(dataset, config, name="x", folds=[0], reporter=SilentReporter())
    assert not (dataset.root / "runs").exists()


def test_missing_detector_weights_leave_no_run(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DEFECTUNE_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    config = DetectConfig(model="yolo11x.pt")
    with pytest.raises(WeightsNotFoundError, match=r"yolo11x\.pt"):
        train_detector(dataset, config, name="gone", folds=[0], reporter=SilentReporter())
    assert not (dataset.root / "runs" / "gone").exists()


def test_unknown_models_name_near_ones(dataset):
    with pytest.raises(UsageError, match="resnet18"):
        FeatureNetwork("resnet81", weights="none", device=torch.device("cpu"), image_size=64)
    with pytest.raises(UsageError, match="Unet"):
        build_network(SegmentConfig(architecture="Unett"), 3, pretrained=False)
    with pytest.raises(UsageError, match="encoder"):
        build_network(SegmentConfig(encoder="nothing"), 3, pretrained=False)


def test_the_encoder_gets_imagenet_weights_and_computes_what_they_were_trained_for():
    import timm

    config = SegmentConfig(encoder=LITE0)
    encoder = build_network(config, 3, pretrained=True).eval().encoder
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    reference.load_state_dict(efficientnet_lite0_state_dict())
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = []
    reference.blocks.register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.inference_mode():
        deepest = encoder(image)[-1]
        reference.eval()(image)
    assert torch.allclose(deepest, kept[0], atol=1e-5)


@pytest.mark.parametrize("model", STAGES)
def test_features_are_means_of_every_stage(model):
    network = FeatureNetwork(model, weights="none", device=torch.device("cpu"), image_size=64)
    image = np.zeros((50, 70, 3), np.uint8)
    stages = network([network.prepare(image), network.prepare(image + 200)])
    assert len(stages) == len(STAGES[model])
    assert all(len(stage) == 2 and np.isfinite(stage).all() for stage in stages)


def test_preprocessing_is_torchvisions_for_its_networks():
    from torchvision.models import ResNet18_Weights
    from torchvision.transforms.functional import normalize

    network = FeatureNetwork("resnet18", weights="none", device=torch.device("cpu"), image_size=64)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    preset = ResNet18_Weights.IMAGENET1K_V1.transforms()
    scaled = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)
    expected = normalize(scaled, preset.mean, preset.std)
    assert torch.allclose(network.prepare(image), expected, atol=1e-6)


def test_distances_are_mahalanobis():
    from scipy.spatial.distance import mahalanobis
    from sklearn.covariance import LedoitWolf

    rng = np.random.default_rng(0)
    good, new = rng.normal(size=(40, 6)), rng.normal(size=(5, 6)) * 3
    fit = LedoitWolf().fit(good)
    inverse = np.linalg.inv(fit.covariance_)
    expected = [mahalanobis(row, good.mean(axis=0), inverse) for row in new]
    got = Gaussians.fit([good, good]).distances([new, new])
    assert got == pytest.approx(2 * np.array(expected), rel=1e-5)


def test_a_held_out_group_is_never_in_its_own_fit():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(12, 3))
    groups = [f"part {n // 2}" for n in range(12)]
    got = held_out_distances([good], groups, parts=6, seed=0)
    for n in range(12):
        rest = np.array([g != groups[n] for g in groups])
        expected = Gaussians.fit([good[rest]]).distances([good[n : n + 1]])[0]
        assert got[n] == pytest.approx(expected)


def test_a_resized_mask_is_cut_at_half():
    mask = np.zeros((4, 4), np.uint8)
    mask[0, 0] = 1
    mask[0:2, 2:4] = [[2, 2], [2, 3]]
    mask[2:4, 0:2] = [[1, 1], [0, 0]]
    assert resize_class_mask(mask, (2, 2), 3).tolist() == [[0, 2], [1, 0]]


def test_good_images_teach_too_and_the_order_is_the_epochs():
    flags = [True, False, True, False, False]
    sampler = BalancedSampler(flags, good_per_defect=0.5, inject_per_defect=1.0, seed=1)
    first = list(sampler)
    assert len(first) == len(sampler) == 5
    assert {(0, 0), (0, 2), (0, 5), (0, 6)} <= set(first)
    assert list(sampler) == first
    sampler.set_epoch(3)
    third = list(sampler)
    assert {epoch for epoch, _ in third} == {3}
    fresh = BalancedSampler(flags, good_per_defect=0.5, inject_per_defect=1.0, seed=1)
    fresh.set_epoch(3)
    assert list(fresh) == third


def test_several_processes_share_an_epoch_without_overlap():
    flags = [True] * 5 + [False] * 4
    whole = list(BalancedSampler(flags, good_per_defect=0.5, seed=1))
    parts = [
        list(BalancedSampler(flags, good_per_defect=0.5, seed=1, rank=rank, world=2))
        for rank in (0, 1)
    ]
    assert [len(part) for part in parts] == [4, 4]
    assert sorted(parts[0] + parts[1]) == sorted(whole)


def test_the_loss_teaches_without_defects_and_rewards_the_truth():
    masks = torch.zeros(2, 8, 8, dtype=torch.int64)
    wrong = torch.zeros(2, 4, 8, 8, requires_grad=True)
    defect_loss(wrong, masks).backward()
    assert wrong.grad is not None
    assert float(wrong.grad.abs().sum()) > 0
    masks[0, 2:5, 2:5] = 3
    right = 20 * torch.nn.functional.one_hot(masks, 4).permute(0, 3, 1, 2).float()
    assert float(defect_loss(right, masks)) == pytest.approx(0, abs=1e-4)


def test_a_fold_without_masks_to_learn_from_says_so(tmp_path):
    from annotations import write_png
    from converters import convert
    from converters.synthetic import draw_category
    from tests.drawn import SMALL

    source = draw_category(tmp_path / "source", SMALL)
    for path in source.glob("ground_truth/*/*.png"):
        write_png(path, np.zeros((64, 64), np.uint8))
    convert(source, tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    train, _, config = TRAIN["detect"]
    with pytest.raises(TrainingError, match="no defective image with a mask"):
        train(dataset, config, name="detect", folds=[0], reporter=SilentReporter())
    # An empty mask leaves an image label, from which a segmenter learns.
    train, _, config = TRAIN["segment"]
    run = train(dataset, config, name="segment", folds=[0], reporter=SilentReporter())
    assert set(read_predictions(run, dataset).image_scores) == set(dataset.split.folds[0].test)
