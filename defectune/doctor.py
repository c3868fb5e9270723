"""`defectune doctor`: what works on this machine, and what to do about what doesn't."""

import importlib
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

from annotations import DefectuneError
from annotations.errors import shortened
from defectune.console import show_table

PACKAGES = (
    "torch",
    "torchvision",
    "ultralytics",
    "segmentation-models-pytorch",
    "albumentations",
    "pycocotools",
    "lightning",
    "timm",
)


def doctor() -> bool:
    """Say what works on this machine, and what to do about what doesn't.

    Returns:
        True where everything that the default settings need is there.
    """
    import torch

    from training import (
        TORCHVISION_FILES,
        efficientnet_lite0_state_dict,
        find_weights,
        yolo_file,
    )
    from training.weights import cache_folder

    rows = [["what", "found", "what to do"]]
    healthy = True
    for package in PACKAGES:
        try:
            rows.append([package, importlib.metadata.version(package), ""])
        except importlib.metadata.PackageNotFoundError:
            rows.append([package, "missing", "run `uv sync`, or install defectune again"])
            healthy = False
    found, remedy = _opencv()
    rows.append(["OpenCV", found, remedy])
    healthy = healthy and not remedy
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    rows.append(
        ["GPUs that torch can use", str(gpus), "" if gpus else "none is needed; it is slower"]
    )
    rows.append(["CPU threads", str(torch.get_num_threads()), ""])
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    rows.append(
        ["free disk here", f"{free:.0f} GB", "" if free > 2 else "make room: runs need about 2 GB"]
    )
    rows.append(["links", *_links()])
    rows.append(["cache folder", str(cache_folder()), ""])
    rows.append(
        ["DEFECTUNE_WEIGHTS", os.environ.get("DEFECTUNE_WEIGHTS", "not set"), ""],
    )
    try:
        count = len(efficientnet_lite0_state_dict())
        rows.append(["EfficientNet-Lite0, ImageNet", f"{count} tensors", ""])
    except DefectuneError as error:
        rows.append(["EfficientNet-Lite0, ImageNet", "missing", str(error)])
        healthy = False
    files = [yolo_file("yolo11n.pt"), *TORCHVISION_FILES.values()]
    for published in files:
        try:
            path = find_weights(published, download=False)
            rows.append([published.file_name, str(path), ""])
        except DefectuneError:
            rows.append(
                [
                    published.file_name,
                    "not here",
                    f"downloaded when needed, or fetch {published.url} into DEFECTUNE_WEIGHTS",
                ]
            )
    show_table(rows, title="defectune doctor")
    return healthy


def _opencv() -> tuple[str, str]:
    """The wheels that hold `cv2`, and what to do about them; empty where they serve.

    pip installs two: ultralytics asks for opencv-python and albumentations for the headless one.
    Both write the same files, so that it is harmless while they have one version.
    """
    owners = sorted(set(importlib.metadata.packages_distributions().get("cv2", [])))
    versions = {name: importlib.metadata.version(name) for name in owners}
    found = ", ".join(f"{name} {version}" for name, version in versions.items()) or "missing"
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        found += f"; {shortened(error)}"
    else:
        if len(set(versions.values())) <= 1:
            return found, ""
    names = " ".join(owners) or "opencv-python"
    return found, f"pip uninstall -y {names}; pip install opencv-python"


def _links() -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / "link").symlink_to(Path(folder))
        except OSError:
            return "no", "images are copied instead"
    return "yes", ""
