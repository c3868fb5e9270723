"""`defectune doctor`: what works on this machine, and what to do about what doesn't."""

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len

from annotations import DefectuneError
from annotations.errors import shortened
from defectune.console import out, show_text

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
    # Said before PyTorch is imported, which takes seconds.
    out.print("Looking at what is installed …", markup=False)
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
    rows.append(["bytecode of PyTorch", *bytecode(Path(torch.__file__))])
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
    show_findings(rows[1:], healthy=healthy)
    return healthy


def show_findings(rows: Sequence[Sequence[str]], *, healthy: bool) -> None:
    """Print what was found, a line each, then what to do, and one line that sums it up.

    Args:
        rows: what, found, and what to do; the last empty for nothing.
        healthy: whether all is there that the default settings need.
    """
    wide = max(cell_len(what) for what, _, _ in rows) + 2
    for what, found, _ in rows:
        # A terminal breaks what is too long; a line that is broken here could not be copied.
        out.print(f"{what:<{wide}}{found}", markup=False, soft_wrap=True)
    todo = [(what, remedy) for what, _, remedy in rows if remedy]
    for what, remedy in todo:
        out.print(f"- {what}: {remedy}", markup=False, soft_wrap=True)
    show_text(
        "All that the default settings need is here."
        if healthy
        else "Something that the default settings need is missing: see the lines above."
    )


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


def bytecode(source: Path) -> tuple[str, str]:
    """Whether Python has compiled a file of a library and kept that, and what to do if it may not.

    Examples:
        >>> bytecode(Path("nowhere/new.py"))[0] in ("yes", "no, and Python is told to keep none")
        True
    """
    if not sys.dont_write_bytecode or Path(importlib.util.cache_from_source(source)).is_file():
        return "yes", ""
    return "no, and Python is told to keep none", (
        "every command compiles its libraries anew, which takes seconds; unset "
        "PYTHONDONTWRITEBYTECODE, or run `uv sync --compile-bytecode`"
    )


def _links() -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / "link").symlink_to(Path(folder))
        except OSError:
            return "no", "images are copied instead"
    return "yes", ""
