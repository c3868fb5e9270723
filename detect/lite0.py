"""A YOLO detector on EfficientNet-Lite0, whose ImageNet weights come with the installation.

Where the COCO weights of ultralytics' own detectors are neither at hand nor reachable, a detector
would start from random numbers, and find nothing in the few epochs that a few defects allow. This
one keeps ultralytics' neck and head, at the size of YOLO11n, and takes its maps at strides 8, 16
and 32 from EfficientNet-Lite0's stages.

ultralytics builds networks from a description, in which only its own layers can stand. The stages
are therefore described to it as convolutions of the same strides and channels, which are exchanged
for the stages as soon as the network stands.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final

import torch

from training.backbones import empty_lite0
from training.weights import efficientnet_lite0_state_dict

MODEL: Final = "yolo-lite0"
LAYER: Final = "Lite0Stage"
_BLOCKS: Final = ((0, 1), (2,), (3, 4), (5, 6))
"""Of EfficientNet-Lite0, for each stage; the first has the stem before them."""
_CHANNELS: Final = (24, 40, 112, 320)
_STRIDES: Final = (4, 2, 2, 2)
"""From the layer before, so that stages end at strides 4, 8, 16 and 32."""

Layers = Mapping[str, Any]


def layers() -> dict[str, Any]:
    """The description: rows of [from, repeats, layer, arguments], as ultralytics writes them."""
    return {
        "nc": 80,
        "backbone": [
            *([-1, 1, LAYER, [number]] for number in range(len(_BLOCKS))),
            [-1, 1, "SPPF", [256, 5]],
            [-1, 1, "C2PSA", [256]],
        ],
        "head": [
            [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
            [[-1, 2], 1, "Concat", [1]],
            [-1, 1, "C3k2", [128, False]],
            [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
            [[-1, 1], 1, "Concat", [1]],
            [-1, 1, "C3k2", [64, False]],
            [-1, 1, "Conv", [64, 3, 2]],
            [[-1, 8], 1, "Concat", [1]],
            [-1, 1, "C3k2", [128, False]],
            [-1, 1, "Conv", [128, 3, 2]],
            [[-1, 5], 1, "Concat", [1]],
            [-1, 1, "C3k2", [256, True]],
            [[11, 14, 17], 1, "Detect", ["nc"]],
        ],
    }


class Lite0Stage(torch.nn.Module):
    """Some of EfficientNet-Lite0's blocks, one after the other; the first stage has the stem."""

    def __init__(self, network: Any, number: int) -> None:
        """Take a stage of timm's network.

        Args:
            network: timm's `tf_efficientnet_lite0`.
            number: 0 to 3.
        """
        super().__init__()
        self.is_first = number == 0
        stem = [network.conv_stem, network.bn1] if self.is_first else []
        blocks = [network.blocks[block] for block in _BLOCKS[number]]
        self.parts = torch.nn.Sequential(*stem, *blocks)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Images float (n, 3, h, w) from 0 to 1, or the maps of the stage before, to maps."""
        # These weights were trained on images from -1 to 1.
        answer: torch.Tensor = self.parts(given * 2 - 1 if self.is_first else given)
        return answer


def has_stages(described: Layers) -> bool:
    """Whether layers are those of this detector."""
    return any(row[2] == LAYER for row in described["backbone"])


def stage_fault(row: Any, number: int) -> str | None:
    """What is wrong with a row of a backbone that names a stage; None where nothing is.

    Args:
        row: [from, repeats, layer, arguments].
        number: of the row; stages are the first ones, in their order.
    """
    if number >= len(_BLOCKS) or list(row) != [-1, 1, LAYER, [number]]:
        return f"{LAYER} as row {number}: stages are the first {len(_BLOCKS)} rows, in their order"
    return None


def with_convolutions(described: Layers) -> dict[str, Any]:
    """The same description with convolutions in place of stages, for ultralytics to build."""
    plain: dict[str, Any] = copy.deepcopy(dict(described))
    for number, row in enumerate(plain["backbone"]):
        if row[2] == LAYER:
            plain["backbone"][number] = [-1, 1, "Conv", [_CHANNELS[number], 3, _STRIDES[number]]]
    return plain


def put_stages_in(network: Any, described: Layers) -> None:
    """Exchange the convolutions of a network for stages, with random weights."""
    source = empty_lite0()
    for number, row in enumerate(described["backbone"]):
        if row[2] != LAYER:
            continue
        stage: Any = Lite0Stage(source, number)
        before = network.model[number]
        # How ultralytics finds a layer's inputs, and names it.
        stage.i, stage.f, stage.type = before.i, before.f, f"{__name__}.{LAYER}"
        stage.np = sum(parameter.numel() for parameter in stage.parameters())
        network.model[number] = stage
    network.yaml["backbone"] = copy.deepcopy(list(described["backbone"]))


def load_imagenet(network: Any) -> None:
    """Give the stages of a network their ImageNet weights.

    Raises:
        WeightsNotFoundError: the package that holds them is not installed whole.
    """
    source = empty_lite0()
    source.load_state_dict(efficientnet_lite0_state_dict())
    for number in range(len(_BLOCKS)):
        network.model[number].load_state_dict(Lite0Stage(source, number).state_dict())
