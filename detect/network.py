"""A detector as data: weights as safetensors, architecture as JSON of numbers and names.

Nothing is unpickled to open one. A checkpoint in ultralytics' own format, from the look-up order
or given by hand, is read with weights only and a list of allowed classes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save

from annotations import InputError, UsageError
from annotations.errors import shortened
from annotations.files import read_json, write_bytes_atomic, write_json_atomic
from annotations.run_files import (
    DETECTOR_ARCHITECTURE_FILE,
    DETECTOR_WEIGHTS_FILE,
    OLD_DETECTOR_WEIGHTS_FILE,
)
from annotations.yaml_files import read_yaml
from detect import lite0
from detect.checkpoint_scan import scan_checkpoint
from detect.ultralytics_setup import import_ultralytics

WEIGHTS_FILE: Final = DETECTOR_WEIGHTS_FILE
ARCHITECTURE_FILE: Final = DETECTOR_ARCHITECTURE_FILE
OLD_WEIGHTS_FILE: Final = OLD_DETECTOR_WEIGHTS_FILE
"""As runs of 0.1.0's beginnings hold it: ultralytics' own checkpoint."""
FORMAT: Final = "defectune-detector-1"
_KEYS: Final = (
    *("nc", "scales", "scale", "depth_multiple", "width_multiple", "activation"),
    *("end2end", "reg_max", "backbone", "head"),
)
_LAYERS: Final = frozenset(
    [
        "A2C2f",
        "AConv",
        "ADown",
        "Bottleneck",
        "C2",
        "C2PSA",
        "C2f",
        "C2fCIB",
        "C3",
        "C3Ghost",
        "C3k2",
        "CBFuse",
        "CBLinear",
        "Concat",
        "Conv",
        "Detect",
        "ELAN1",
        "GhostConv",
        "PSA",
        "RepNCSPELAN4",
        "SCDown",
        "SPP",
        "SPPELAN",
        "SPPF",
        "nn.ConvTranspose2d",
        "nn.Identity",
        "nn.MaxPool2d",
        "nn.Upsample",
        "nn.ZeroPad2d",
        "v10Detect",
    ]
)
"""Layers of ultralytics' published detectors. Others that it knows read files, or download."""
_WORDS: Final = frozenset({"nearest", "bilinear", "nc", "None", "True", "False"})
MAX_LAYERS: Final = 200
MAX_REPEATS: Final = 100
MAX_CHANNELS: Final = 8192

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a detector's layers are.

    Attributes:
        layers: ultralytics' description: numbers and names.
        class_names: in the order of their numbers.
    """

    layers: Mapping[str, Any]
    class_names: tuple[str, ...]

    def build(self) -> Any:
        """The network, with random weights.

        Raises:
            InputError: these are no layers of a YOLO detector.
        """
        import_ultralytics()
        from ultralytics.nn import tasks

        make: Any = tasks.DetectionModel
        try:
            _check_layers(self.layers)
            layers = json.loads(json.dumps(dict(self.layers)))
            own = lite0.has_stages(layers)
            plain = lite0.with_convolutions(layers) if own else layers
            network = make(plain, ch=3, nc=len(self.class_names), verbose=False)
            if own:
                lite0.put_stages_in(network, layers)
        except Exception as error:  # ultralytics and torch raise many kinds
            raise InputError(
                f"This description of a detector's layers is none ({shortened(error)})."
            ) from error
        network.names = dict(enumerate(self.class_names))
        network.task = "detect"
        return network


def published_architecture(model: str) -> Architecture:
    """The architecture of a published model, `yolo11n.pt`, from ultralytics' own files, or of
    `yolo-lite0`.

    Raises:
        UsageError: ultralytics has no YOLO detector of this name.
    """
    if model == lite0.MODEL:
        return Architecture(lite0.layers(), tuple(f"class {n}" for n in range(80)))
    name = model.removesuffix(".pt")
    found = re.fullmatch(r"(yolov?\d+)([nslmxtbce]?)u?", name)
    library = import_ultralytics()
    root = Path(library.__file__).resolve().parent / "cfg" / "models"
    stems = [found[1] + found[2], found[1]] if found else []
    places = [path for stem in stems for path in sorted(root.glob(f"*/{stem}.yaml"))]
    # By absolute path: ultralytics itself would take a file in the current folder.
    document = read_yaml(places[0], what="an architecture") if places and found else {}
    head = document.get("head") or [[None]]
    if not found or not model.endswith(".pt") or "Detect" not in str(head[-1][-2:]):
        raise UsageError(
            f"The model {shortened(model)!r} should be the name of an ultralytics YOLO detector, "
            f"such as yolo11n.pt, or {lite0.MODEL}. Your own file goes to --weights FILE."
        )
    layers = {key: document[key] for key in _KEYS if key in document}
    if "scales" in layers:
        layers["scale"] = found[2]
        if found[2] not in layers["scales"]:
            raise UsageError(
                f"ultralytics has no size {found[2]!r} of {found[1]}; it has "
                f"{', '.join(layers['scales'])}."
            )
    return Architecture(layers, tuple(f"class {n}" for n in range(int(layers.get("nc", 80)))))


def _check_layers(layers: Mapping[str, Any]) -> None:
    """Bounds, so that no small text asks for a network that fills the memory."""
    if set(layers) - set(_KEYS):
        raise ValueError(f"unknown keys {sorted(set(layers) - set(_KEYS))}")
    rows = [*layers["backbone"], *layers["head"]]
    if len(rows) > MAX_LAYERS:
        raise ValueError(f"{len(rows)} layers; at most {MAX_LAYERS} are built")
    for number, (_source, repeats, name, arguments) in enumerate(rows):
        if name == lite0.LAYER:
            if fault := lite0.stage_fault(rows[number], number):
                raise ValueError(fault)
            continue
        if name not in _LAYERS or not 0 < int(repeats) <= MAX_REPEATS:
            raise ValueError(f"the layer {shortened(name)}, {shortened(repeats)} times")
        if any(isinstance(a, str) and a not in _WORDS for a in arguments):
            raise ValueError(f"the arguments {shortened(arguments)} of {name}")
        if any(n > MAX_CHANNELS for n in _numbers(arguments)):
            raise ValueError(f"more than {MAX_CHANNELS} channels in {name}")
    if any(abs(n) > MAX_CHANNELS for n in _numbers(layers.get("scales", {}))):
        raise ValueError("a scale out of bounds")


def single_scale(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The same layers, described so that no file name is needed to choose their size."""
    own = {key: value for key, value in layers.items() if key != "scale"}
    if "scale" in layers:
        own["scales"] = {layers["scale"]: layers["scales"][layers["scale"]]}
    return own


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for one in value for n in _numbers(one)]
    return [float(value)] if isinstance(value, int | float) else []


def architecture_of(network: Any) -> Architecture:
    """The architecture of a network in memory."""
    layers = {key: network.yaml[key] for key in _KEYS if network.yaml.get(key) is not None}
    # ultralytics notes what it made of the description in it: numbers and names again.
    names = network.names
    return Architecture(layers, tuple(str(names[number]) for number in range(len(names))))


def half_state(network: Any) -> dict[str, torch.Tensor]:
    """A network's weights in half precision, as ultralytics keeps them: finite, on the CPU."""
    state = {}
    for name, value in network.state_dict().items():
        kept = value.detach().cpu()
        if kept.is_floating_point():
            kept = torch.nan_to_num(kept.half())
        state[name] = kept.clone().contiguous()
    return state


def open_detector(architecture: Architecture, state: State) -> Any:
    """The network of an architecture with these weights, float32, in evaluation mode.

    ultralytics chooses the hidden width of the class branches by the number of classes when it
    builds a network, and takes the source's width when it loads weights of another number of
    classes. The widths are therefore read from the weights, which know them.

    Args:
        architecture: layers and class names.
        state: weights by name, as `half_state` gives them.

    Raises:
        InputError: these are no layers of a YOLO detector.
        RuntimeError: the weights do not fit the layers.
    """
    network = architecture.build()
    changed = _take_class_widths(network, state)
    network.load_state_dict(dict(state))
    network.float().eval()
    if changed:
        with torch.inference_mode():
            network(torch.zeros(1, 3, 64, 64))
    return network


def _take_class_widths(network: Any, state: State) -> bool:
    """Whether a width was another one."""
    head, changed = network.model[-1], False
    for attribute in ("cv3", "one2one_cv3"):
        branches = getattr(head, attribute, None)
        if branches is None:
            continue
        prefix = f"model.{len(network.model) - 1}.{attribute}"
        for name, module in list(branches.named_modules()):
            weight = state.get(f"{prefix}.{name}.weight")
            if weight is None or not 0 < max(weight.shape) <= MAX_CHANNELS:
                continue
            fitting = _of_shape(module, tuple(weight.shape))
            if fitting is not None:
                parent, _, child = name.rpartition(".")
                setattr(branches.get_submodule(parent), child, fitting)
                changed = True
    return changed


def _of_shape(module: Any, shape: tuple[int, ...]) -> Any:
    """A layer like this one whose weight has the shape; None where it has it already, or where
    more than channels differ."""
    if isinstance(module, torch.nn.BatchNorm2d) and len(shape) == 1:
        if module.num_features == shape[0]:
            return None
        return torch.nn.BatchNorm2d(shape[0], eps=module.eps, momentum=module.momentum)
    if not isinstance(module, torch.nn.Conv2d) or len(shape) != 4:
        return None
    before = tuple(module.weight.shape)
    # The number of classes is the architecture's to say, and the kernels are ultralytics'.
    if before == shape or before[2:] != shape[2:]:
        return None
    outputs = module.out_channels if module.bias is not None else shape[0]
    groups = shape[0] if module.groups > 1 else 1
    return torch.nn.Conv2d(
        shape[1] * groups,
        outputs,
        module.kernel_size,  # type: ignore[arg-type]
        module.stride,  # type: ignore[arg-type]
        module.padding,  # type: ignore[arg-type]
        module.dilation,  # type: ignore[arg-type]
        groups,
        bias=module.bias is not None,
    )


def save_detector(folder: Path, architecture: Architecture, state: State) -> None:
    """Write a detector; the weights last, so that where they are, the rest is."""
    write_json_atomic(
        folder / ARCHITECTURE_FILE,
        {
            "format": FORMAT,
            "class_names": list(architecture.class_names),
            "layers": dict(architecture.layers),
        },
    )
    write_bytes_atomic(folder / WEIGHTS_FILE, save(dict(state)))


def load_detector(folder: Path) -> Any:
    """Open what `save_detector` wrote, or a checkpoint of ultralytics' in its place.

    Raises:
        InputError: missing, damaged, or not safe to read.
    """
    weights, described = folder / WEIGHTS_FILE, folder / ARCHITECTURE_FILE
    if not weights.is_file() and (folder / OLD_WEIGHTS_FILE).is_file():
        return read_checkpoint(folder / OLD_WEIGHTS_FILE)
    if not weights.is_file():
        raise InputError(f"The trained weights {weights} are missing. Train this fold again.")
    document = read_json(described, what="a detector's architecture")
    try:
        names = document["class_names"]
        if document["format"] != FORMAT or not 0 < len(names) <= MAX_CHANNELS:
            raise ValueError("another format")
        architecture = Architecture(dict(document["layers"]), tuple(map(str, names)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{described} is damaged ({shortened(error)}). Train this fold again."
        ) from error
    try:
        return open_detector(architecture, load_file(weights))
    except InputError as error:
        raise InputError(
            f"{described} is damaged ({shortened(error)}). Train this fold again."
        ) from error
    except Exception as error:  # safetensors and torch raise many kinds
        raise InputError(
            f"{weights} is damaged ({shortened(error)}). Train this fold again."
        ) from error


def read_checkpoint(path: Path) -> Any:
    """The network of a checkpoint in ultralytics' format; nothing in it is run.

    Raises:
        InputError: it needs more than weights and ultralytics' own layers, or is damaged.
    """
    import_ultralytics()
    from ultralytics.nn import tasks

    load: Any = tasks.load_checkpoint

    if not path.is_file():
        raise InputError(f"The weights {path} do not exist. Give a file, 'auto' or 'none'.")
    if path.suffix != ".pt":
        raise InputError(f"The weights {path} should be an ultralytics checkpoint, a .pt file.")
    try:
        scan_checkpoint(path)
        stored = load(path.resolve())[0]
        # Made again from numbers and names, so that nothing else of the file is ever called.
        return open_detector(architecture_of(stored), stored.float().state_dict())
    except Exception as error:  # torch and ultralytics raise many kinds
        raise InputError(
            f"{path} was refused, and nothing in it was run: expected weights and ultralytics' own "
            f"layers, found something else or a damaged file ({shortened(error, 160)}). A "
            "checkpoint can hold code of whoever made it. If you trust its maker, ask for the "
            "weights saved by a current ultralytics (8.3 or later), or convert it in a container "
            "without a network: ultralytics.YOLO(old).save(new)."
        ) from error
