"""Any torchvision or timm network as maps of features, one for each of its stages."""

import contextlib
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torchvision

from annotations import UsageError
from annotations.errors import shortened
from training.weights import (
    WeightsFile,
    efficientnet_lite0_state_dict,
    find_weights,
    load_state_dict,
)

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
_HALF: Final[Normalization] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET: Final[Normalization] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STAGES: Final[dict[str, tuple[str, ...]]] = {
    "efficientnet_lite0": tuple(f"blocks.{n}" for n in range(7)),
    "resnet18": ("layer1", "layer2", "layer3", "layer4"),
    "vgg16": ("features.4", "features.9", "features.16", "features.23", "features.30"),
}
"""Where the study's networks are read: the end of every stage (for VGG-16, its five pooling
layers). Of other torchvision networks it is the last layer at every resolution, of timm's what
timm calls their intermediate features."""
PATCH_STRIDES: Final = (8, 16)
"""Patches are read where a place stands for so many pixels of the image's side."""
_LOWEST_SIDE: Final = 2


class _Complete(Exception):  # noqa: N818 - no error: every map that is wanted is there
    """Ends a forward pass of which nothing more is needed."""


class Backbone(torch.nn.Module):
    """A network whose forward pass gives the maps of its stages.

    Attributes:
        normalization: mean and standard deviation, by channel, that images are normalized with.
    """

    normalization: Normalization

    def __init__(self, model: str, *, weights: str, stages: Sequence[str] = ()) -> None:
        """Load a network.

        Args:
            model: `efficientnet_lite0`, or any name that torchvision or timm knows; torchvision
                goes first.
            weights: `auto` for the published ImageNet weights, `none` for random ones, else a
                file of a state dict (.pth or .safetensors).
            stages: names of layers to read; none reads the end of every stage.

        Raises:
            UsageError: an unknown model or layer, or weights that do not fit.
            WeightsNotFoundError: ImageNet weights are neither here nor reachable.
        """
        super().__init__()
        self.network, self.normalization, hooked = _build(model, weights)
        self._names: tuple[str, ...] = tuple(stages) or STAGES.get(model, ())
        self._maps: dict[str, torch.Tensor] = {}
        self._intermediates = not hooked and not self._names
        if not self._intermediates and not self._names:
            self._names = _stage_ends(self.network)
        known = dict(self.network.named_modules())
        for name in self._names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                hint = f" Did you mean {' or '.join(near)}?" if near else ""
                raise UsageError(f"The model {model!r} has no layer {name!r}.{hint}")
            # Hooks and not torch.fx: timm's SAME padding branches on the image's size.
            known[name].register_forward_hook(self._keep(name))
        self._kept: tuple[int, ...] | None = None
        # The faster layout on CPUs and GPUs alike.
        self.to(memory_format=torch.channels_last)

    def look_at(self, side: int) -> None:
        """Fit a transformer to square images of `side` pixels for good.

        It would fit its positions to every image anew, which says the same, but no graph can hold.
        """
        if hasattr(self.network, "set_input_size"):
            fit: Any = self.network.set_input_size
            fit(img_size=(side, side))

    def keep(self, stages: Sequence[int]) -> None:
        """Give the maps of these stages alone from now on, in this order, and compute no further
        than the last of them: a network's last stage and head are a third of its time.

        Args:
            stages: numbers of what `forward` gave before.
        """
        self._kept = tuple(stages)
        if not self._intermediates:
            self._names = tuple(self._names[number] for number in stages)

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            if not isinstance(output, torch.Tensor) or output.ndim != 4:
                raise UsageError(
                    f"The layer {name!r} gives no map of features (channels by height by width), "
                    "and so cannot be a stage."
                )
            self._maps[name] = output
            # A graph that is traced loses what it does not need without our help, and cannot
            # follow an exception.
            done = self._kept is not None and all(one in self._maps for one in self._names)
            if done and not torch.compiler.is_compiling():
                raise _Complete

        return hook

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Normalized float32 (n, 3, S, S) to one (n, channels, h, w) a stage, in their order.

        Raises:
            UsageError: the images are smaller than the network can look at.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        try:
            if self._intermediates:
                forward: Any = self.network.forward_intermediates
                if self._kept is None:
                    return list(forward(images, intermediates_only=True))
                # timm gives them in the network's order, whatever order is asked for.
                ordered = sorted(set(self._kept))
                maps = forward(images, indices=ordered, intermediates_only=True, stop_early=True)
                return [maps[ordered.index(number)] for number in self._kept]
            self._maps.clear()
            with contextlib.suppress(_Complete):
                self.network(images)
        except (RuntimeError, ValueError, AssertionError) as error:
            said = str(error)
            if not any(word in said for word in ("too small", "Kernel size", "doesn't match")):
                raise
            raise UsageError(
                f"This network cannot look at images of {images.shape[-1]} pixels ({said}). Use "
                "another --image-size."
            ) from error
        return [self._maps[name] for name in self._names]


def patch_stages(maps: Sequence[torch.Tensor], side: int) -> list[torch.Tensor]:
    """Of all maps, the last at an eighth of the image's side and the last at a sixteenth.

    Args:
        maps: one (n, channels, h, w) a stage.
        side: of the image, in pixels.

    Returns:
        One or two maps, the larger first; the last two stages where none is of these sizes.

    Raises:
        UsageError: the image is so small that a map has a single place.
    """
    # Plain numbers, so that a traced graph takes them for constants.
    by_stride = {round(side / int(one.shape[-1])): one for one in maps}
    chosen = [by_stride[stride] for stride in PATCH_STRIDES if stride in by_stride]
    if not chosen:
        chosen = sorted(maps[-2:], key=lambda one: -int(one.shape[-1]))
    if min(int(one.shape[-1]) for one in chosen) < _LOWEST_SIDE:
        raise UsageError(
            f"Images of {side} pixels are smaller than what one place of this network sees. Use a "
            "larger --image-size: 224 or 256 are usual."
        )
    return chosen


def model_names() -> list[str]:
    """Every name that `Backbone` takes, sorted."""
    import timm

    ours = ["efficientnet_lite0"]
    of_torchvision = torchvision.models.list_models(module=torchvision.models)
    return sorted({*ours, *of_torchvision, *timm.list_models()})


def _build(model: str, weights: str) -> tuple[torch.nn.Module, Normalization, bool]:
    """Network, normalization, and whether its stages are found by hooks."""
    network: torch.nn.Module
    if model == "efficientnet_lite0":
        network = empty_lite0()
        if weights == "auto":
            network.load_state_dict(efficientnet_lite0_state_dict())
        elif weights != "none":
            _load(network, Path(weights))
        return network, _HALF, True
    if model in torchvision.models.list_models(module=torchvision.models):
        # The flag spares Inception and GoogLeNet minutes of drawing random numbers.
        extra = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
        network = torchvision.models.get_model(model, weights=None, **extra)
        if weights != "none":
            published = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].url
            _load(network, find_weights(_published(published), given=weights))
        return network, _IMAGENET, True
    import timm

    if model not in timm.list_models():
        names = model_names()
        near = difflib.get_close_matches(model, names, n=4) or list(STAGES)
        raise UsageError(f"Unknown model {model!r}. Did you mean {' or '.join(near)}?")
    network = _any_size(model)
    config: Any = network.pretrained_cfg
    if weights != "none":
        _load(network, find_weights(_timm_file(model, config), given=weights))
    hooked = not hasattr(network, "forward_intermediates")
    return network, (tuple(config["mean"]), tuple(config["std"])), hooked


def empty_lite0() -> torch.nn.Module:
    """EfficientNet-Lite0 with random weights, in the names of its published ones."""
    # Here and below, not above: timm takes a second to load, and torchvision's networks do without.
    import timm

    # timm's plain `efficientnet_lite0` loads the same tensors and computes something else.
    network: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return network


def _any_size(model: str) -> torch.nn.Module:
    """A network of timm; a vision transformer looks at images of any size, and pads the last patch
    of a row or column."""
    import timm

    network: torch.nn.Module
    try:
        network = timm.create_model(
            model, pretrained=False, dynamic_img_size=True, dynamic_img_pad=True
        )
    except TypeError:
        # Convolutional networks have no such arguments, and no need of them.
        network = timm.create_model(model, pretrained=False)
    return network


def _published(url: str) -> WeightsFile:
    name = url.rsplit("/", 1)[-1]
    # torchvision ends the name with the first eight digits of the file's SHA-256.
    return WeightsFile(name, url, name.rsplit(".", 1)[0].rsplit("-", 1)[-1])


def _timm_file(model: str, config: Any) -> WeightsFile:
    hub = config.get("hf_hub_id")
    if not hub:
        raise UsageError(
            f"timm publishes no weights for {model!r}. Give a file with --weights FILE, or start "
            "from random ones with --weights none."
        )
    # Not through the hub's own client, which tries for most of a minute where there is no network.
    return WeightsFile(
        f"{model}.safetensors", f"https://huggingface.co/{hub}/resolve/main/model.safetensors"
    )


def _load(network: torch.nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_state_dict(path))
    except RuntimeError as error:
        raise UsageError(f"The weights {path} do not fit the model: {shortened(error)}") from error


def _stage_ends(network: torch.nn.Module) -> tuple[str, ...]:
    """The last layer, among the two outer levels of modules, at every resolution."""
    seen: dict[int, str] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
                seen[int(output.shape[-1])] = name

        return hook

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_modules()
        if name and name.count(".") <= 1
    ]
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    network.train(was_training)
    for handle in handles:
        handle.remove()
    names = tuple(seen[side] for side in sorted(seen, reverse=True))
    if not names:
        raise UsageError(
            "This network has no layer that gives a map of features, so that nothing can be read "
            "from it. Convolutional networks have them."
        )
    return tuple(dict.fromkeys(names))
