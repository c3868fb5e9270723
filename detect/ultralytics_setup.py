"""Importing ultralytics without its surprises.

Its checkpoints are read with a list of allowed classes, and never unpickled freely. It keeps its
settings in a folder of ours, looks nothing up in a network, and installs nothing.
"""

import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

from annotations import DefectuneError
from training.weights import cache_folder

SAFE_LOAD: Final = "ULTRALYTICS_SAFE_LOAD"
_INTEGRATIONS: Final = ("clearml", "comet", "dvc", "mlflow", "raytune", "wandb")
# GPUs that compute wrongly in half precision, as ultralytics lists them.
_BAD_HALF: Final = re.compile(r"(1660|1650|1630|t400|t550|t600|t1000|t1200|t2000|k40m)", re.I)


def import_ultralytics() -> Any:
    """Import ultralytics, settings first: it reads them while it is imported.

    Raises:
        DefectuneError: it was imported before without safe loading, or cannot do it.
    """
    os.environ.setdefault("YOLO_CONFIG_DIR", str(_settings_folder()))
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ[SAFE_LOAD] = "true"
    from PIL import Image

    pillow_open = Image.open
    import ultralytics
    from ultralytics import utils
    from ultralytics.data import dataset as label_cache
    from ultralytics.data import utils as data_utils
    from ultralytics.engine import trainer
    from ultralytics.nn import tasks

    # It replaces Pillow's `open` by one that wants to install a package for a damaged image.
    Image.open = pillow_open
    library: Any = ultralytics  # it ships no types for what it exports lazily
    loaded: Any = tasks
    if not loaded.SAFE_LOAD or not loaded._SafeLoad.SUPPORTED:
        raise DefectuneError(
            "ultralytics cannot read checkpoints safely here: it was imported before detect, or "
            f"torch is older than 2.6. Import detect first, or set {SAFE_LOAD}=true."
        )
    # A font for plots that are never drawn, and weights for a check on a picture: both would be
    # looked up in the current folder and fetched.
    fonts: Any = data_utils
    fonts.check_font = lambda *_args, **_options: None
    # Label caches are pickles that lie beside the data, and may be a stranger's: labels are read.
    caches: Any = label_cache
    caches.load_dataset_cache_file = fonts.load_dataset_cache_file = _no_cache
    half: Any = trainer
    half.check_amp = _half_precision_works
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    tools: Any = utils
    _silence(tools.TQDM)
    if library.settings.get("sync", False):
        library.settings.update({"sync": False})
    # Whatever of these is installed would be told of a training unasked, and write where it was
    # started. MLflow is asked for by its address, as in the other families. In memory alone: the
    # settings may be the user's own.
    asked = {"mlflow": bool(os.environ.get("MLFLOW_TRACKING_URI"))}
    for name in _INTEGRATIONS:
        dict.__setitem__(library.settings, name, asked.get(name, False))
    return library


def _no_cache(path: Path) -> dict[str, Any]:
    """Say that there is no cache, whatever there is."""
    raise FileNotFoundError(f"{path} is a pickle, and none is read.")


def _silence(bar: Any) -> None:
    """Have its progress bars say nothing: ours stand for the whole job."""
    loud = bar.__init__
    if getattr(loud, "is_silent", False):
        return

    def silent(self: Any, *arguments: Any, **options: Any) -> None:
        loud(self, *arguments, **{**options, "disable": True})

    silent.is_silent = True  # type: ignore[attr-defined]
    bar.__init__ = silent


def _settings_folder() -> Path:
    folder = cache_folder() / "ultralytics"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="defectune-ultralytics-"))
    return folder


def _half_precision_works(model: Any) -> bool:
    import torch

    device = next(model.parameters()).device
    if device.type != "cuda":
        return False
    return not _BAD_HALF.search(torch.cuda.get_device_name(device))
