"""Any network of torchvision's or timm's can be looked through."""

import re

import pytest
import torch
from safetensors.torch import save_file

from annotations import UsageError, WeightsNotFoundError
from classify import ClassifyConfig, method_named
from training.backbones import STAGES, Backbone, model_names, patch_stages

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("model", "strides"),
    [
        ("resnet18", [4, 8, 16, 32]),
        ("vgg16", [2, 4, 8, 16, 32]),
        ("efficientnet_lite0", [2, 4, 8, 16, 16, 32, 32]),
        ("mobilenet_v3_small", None),
        ("squeezenet1_1", None),
        ("resnet10t", [2, 4, 8, 16, 32]),
        ("vit_tiny_patch16_224", None),
    ],
)
def test_a_network_gives_maps_of_its_stages(model, strides):
    backbone = Backbone(model, weights="none").eval()
    with torch.inference_mode():
        maps = backbone(torch.zeros(2, 3, 224, 224))
    assert len(maps) > 1
    assert all(one.ndim == 4 and len(one) == 2 for one in maps)
    if strides is not None:
        assert [224 // one.shape[-1] for one in maps] == strides
    assert 1 <= len(patch_stages(maps, 224)) <= 2


def test_the_studys_networks_are_torchvisions_with_its_preprocessing():
    for model in ("resnet18", "vgg16"):
        backbone = Backbone(model, weights="none")
        assert type(backbone.network).__module__.startswith("torchvision.models")
        assert backbone.normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert Backbone("efficientnet_lite0", weights="none").normalization == (
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
    )


def test_patches_are_read_at_an_eighth_and_a_sixteenth():
    for model, layers in (
        ("efficientnet_lite0", ("blocks.2", "blocks.4")),
        ("resnet18", ("layer2", "layer3")),
        ("vgg16", ("features.16", "features.23")),
    ):
        backbone = Backbone(model, weights="none").eval()
        with torch.inference_mode():
            maps = backbone(torch.rand(1, 3, 128, 128))
        chosen = [id(one) for one in patch_stages(maps, 128)]
        assert chosen == [id(maps[STAGES[model].index(layer)]) for layer in layers]


def test_layers_can_be_chosen_by_name():
    backbone = Backbone("resnet18", weights="none", stages=["layer1.0", "layer3"]).eval()
    with torch.inference_mode():
        assert [m.shape[1] for m in backbone(torch.zeros(1, 3, 64, 64))] == [64, 256]
    with pytest.raises(UsageError, match=r"no layer 'layer9'.*Did you mean layer"):
        Backbone("resnet18", weights="none", stages=["layer9"])
    with pytest.raises(UsageError, match="no map of features"):
        Backbone("resnet18", weights="none", stages=["fc"]).eval()(torch.zeros(1, 3, 64, 64))


def test_unknown_names_tell_near_ones():
    with pytest.raises(UsageError, match=r"Did you mean .*resnet18"):
        Backbone("resnet_18", weights="none")
    assert {"resnet18", "vgg16", "efficientnet_lite0", "convnext_tiny"} <= set(model_names())
    with pytest.raises(UsageError, match=r"Did you mean .*autoencoder"):
        method_named("autoencodr")


def test_images_smaller_than_the_network_sees_are_refused():
    backbone = Backbone("efficientnet_lite0", weights="none").eval()
    with torch.inference_mode():
        maps = backbone(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UsageError, match="larger --image-size"):
        patch_stages(maps, 16)
    with pytest.raises(UsageError, match="cannot look at images of 32 pixels"):
        Backbone("alexnet", weights="none").eval()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UsageError, match="32, 64, 128, 256 or 512 pixels; got 96"):
        method_named("autoencoder")(ClassifyConfig(method="autoencoder", image_size=96), CPU)


def test_weights_come_from_files_and_are_named_where_missing(tmp_path, monkeypatch):
    source = Backbone("resnet10t", weights="none").network
    state = {name: value.contiguous() for name, value in source.state_dict().items()}
    save_file(state, tmp_path / "own.safetensors")
    torch.manual_seed(1)
    loaded = Backbone("resnet10t", weights=str(tmp_path / "own.safetensors")).network
    pairs = zip(source.parameters(), loaded.parameters(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    with pytest.raises(UsageError, match="do not fit"):
        Backbone("resnet18", weights=str(tmp_path / "own.safetensors"))
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("training.weights._download", _unreachable)
    for model, named in (
        ("resnet10t", "resnet10t.safetensors"),
        ("mobilenet_v3_small", "mobilenet_v3_small-047dcff4.pth"),
    ):
        with pytest.raises(WeightsNotFoundError, match=named):
            Backbone(model, weights="auto")


def _unreachable(*_):
    raise OSError("no network")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2"])
def test_vision_transformers_look_at_images_of_any_size(name):
    backbone = Backbone(name, weights="none").eval()
    patch = int(re.search(r"patch(\d+)", name)[1])
    with torch.inference_mode():
        for side in (112, 224):
            maps = backbone(torch.zeros(1, 3, side, side))
            assert {tuple(one.shape[2:]) for one in maps} == {(side // patch, side // patch)}
        # What is no multiple of the patch is padded.
        assert backbone(torch.zeros(1, 3, 100, 100))[-1].shape[2:] == (-(-100 // patch),) * 2


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_a_network_that_is_fitted_to_a_size_answers_as_before(name):
    torch.manual_seed(0)
    backbone = Backbone(name, weights="none").eval()
    images = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        before = backbone(images)
        backbone.look_at(96)
        for one, other in zip(before, backbone(images), strict=True):
            assert torch.equal(one, other)
