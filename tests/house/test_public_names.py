"""What a package offers is what it says it offers, and `--help` stays quick."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from defectune.shadowing import PACKAGES

NAMING = sorted({*PACKAGES, "defectune"} - {"deployment"})

# Each takes a noticeable part of the half second in which `defectune --help` is to answer.
HEAVY = {
    "PIL",
    "albumentations",
    "cv2",
    "lightning",
    "matplotlib",
    "numpy",
    "pandas",
    "polars",
    "pycocotools",
    "scipy",
    "segmentation_models_pytorch",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
    "ultralytics",
}


@pytest.mark.parametrize("package", NAMING)
def test_every_public_name_resolves(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    # The order (constants, classes, functions) is ruff's to check: RUF022, in scripts/lint.
    assert len(names) == len(set(names)), f"{package}.__all__ repeats a name"
    missing = [name for name in names if not hasattr(module, name)]
    assert not missing, f"{package}.__all__ names what {package} does not have: {missing}"


def test_the_command_line_imports_nothing_heavy(repo_root: Path) -> None:
    code = "import sys, defectune.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    # A fresh interpreter: this one has long imported whatever other tests needed.
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert HEAVY & set(answer.stdout.split()) == set()
