"""The U-Net, or another network of segmentation-models-pytorch."""

import difflib
from typing import cast

import torch

from annotations import UsageError, WeightsNotFoundError
from annotations.errors import shortened
from segment.config import SegmentConfig
from training import efficientnet_lite0_state_dict
from training.weights import with_hub

LITE0 = "tu-tf_efficientnet_lite0"


def build_network(config: SegmentConfig, n_classes: int, *, pretrained: bool) -> torch.nn.Module:
    """Make the network: (N, 3, S, S) to logits (N, n_classes + 1, S, S).

    Args:
        config: architecture and encoder.
        n_classes: without the background, which is channel 0.
        pretrained: load the encoder's ImageNet weights.

    Raises:
        UsageError: an unknown architecture or encoder.
        WeightsNotFoundError: the encoder's weights are neither here nor reachable.
    """
    # Takes seconds, and the hybrid segmenter does without.
    import segmentation_models_pytorch as smp

    names = [n for n in dir(smp) if isinstance(getattr(smp, n), type) and n[0].isupper()]
    if config.architecture not in names:
        near = difflib.get_close_matches(config.architecture, names, n=3) or names
        raise UsageError(
            f"Unknown architecture {config.architecture!r}; segmentation-models-pytorch has "
            f"{', '.join(near)}."
        )
    library_weights = "imagenet" if pretrained and config.encoder != LITE0 else None

    def make() -> torch.nn.Module:
        network: torch.nn.Module = getattr(smp, config.architecture)(
            encoder_name=config.encoder,
            encoder_weights=library_weights,
            in_channels=3,
            classes=n_classes + 1,
        )
        return network

    try:
        network = make() if library_weights is None else with_hub(make)
    except (KeyError, ValueError, RuntimeError) as error:  # timm's word for an unknown name
        raise UsageError(
            f"segmentation-models-pytorch cannot make the encoder "
            f"{config.encoder!r}: {shortened(error)}"
        ) from error
    except OSError as error:
        raise WeightsNotFoundError(
            f"The ImageNet weights of {config.encoder} cannot be downloaded "
            f"({shortened(error)}). Use the "
            f"encoder {LITE0}, whose weights are installed, or --weights none."
        ) from error
    if pretrained and config.encoder == LITE0:
        load_lite0(network)
    return network


def load_lite0(network: torch.nn.Module) -> int:
    """Load ImageNet weights into an encoder `tu-tf_efficientnet_lite0`.

    Returns:
        The number of tensors loaded.

    Raises:
        WeightsNotFoundError: a tensor of the encoder has no counterpart of its shape.
    """
    encoder = cast(torch.nn.Module, network.encoder)
    own = encoder.state_dict()
    theirs = {f"model.{key}": value for key, value in efficientnet_lite0_state_dict().items()}
    loaded = {}
    for key, value in own.items():
        if key.endswith("num_batches_tracked"):
            loaded[key] = theirs.get(key, value)
        elif key in theirs and theirs[key].shape == value.shape:
            loaded[key] = theirs[key]
        else:
            raise WeightsNotFoundError(
                f"The installed EfficientNet-Lite0 weights have no tensor for {key}: the versions "
                "of timm and of the weights do not fit. Use `uv sync` to install the locked ones."
            )
    encoder.load_state_dict(loaded)
    return len(loaded)
