"""Networks as maps of their stages."""

import pytest
import torch

from training.backbones import Backbone


@pytest.mark.parametrize("model", ["resnet18", "convnext_atto", "efficientnet_lite0"])
def test_stages_that_are_kept_are_those_of_the_whole_network(model):
    torch.manual_seed(0)
    network = Backbone(model, weights="none").eval()
    images = torch.randn(2, 3, 64, 96)
    deeper = []
    with torch.inference_mode():
        every = network(images)
        last = list(network.network.modules())[-1]
        last.register_forward_hook(lambda *_: deeper.append(1))
        network.keep([1, 0])
        kept = network(images)
    assert len(kept) == 2
    assert torch.equal(kept[0], every[1])
    assert torch.equal(kept[1], every[0])
    assert not deeper


def test_a_network_that_gives_two_stages_goes_on_to_learn():
    network = Backbone("resnet18", weights="none")
    network.keep([0, 1])
    maps = network(torch.randn(2, 3, 64, 64))
    torch.autograd.backward(maps[1].sum())
    assert network.network.layer1[0].conv1.weight.grad is not None
    assert network.network.layer4[0].conv1.weight.grad is None
