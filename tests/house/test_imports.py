"""The arrows between the packages, as the table of the design allows them.

Files are parsed, not imported: an import inside a function or behind a condition is an arrow too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from defectune.shadowing import PACKAGES

WHEEL_PACKAGES = {*PACKAGES, "defectune"}

# Which of our packages each root folder may import, besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "annotations": set(),
    "converters": {"annotations"},
    "inference": {"annotations"},
    "training": {"annotations", "inference"},
    "detect": {"annotations", "inference", "training"},
    "segment": {"annotations", "inference", "training"},
    "classify": {"annotations", "inference", "training"},
    "evaluation": {"annotations", "inference"},
    "report": {"annotations", "inference", "evaluation"},
    # Only deployment/export.py may import the families, see below.
    "deployment": {"annotations", "inference"},
    "defectune": WHEEL_PACKAGES,
    "benchmarks": WHEEL_PACKAGES,
    "tests": WHEEL_PACKAGES | {"benchmarks"},
}

# What a label is must be readable with little installed; everything rests on this package.
# A bundle's runtime is installed without torch: this is all that it needs; paho for --mqtt
# alone, openvino for --format openvino.
ONLY_THIRD_PARTY = {
    "deployment": {"numpy", "cv2", "onnxruntime", "openvino", "paho", "threadpoolctl"},
    "annotations": {"numpy", "cv2", "pycocotools", "pydantic", "PIL", "yaml"},
    # SciPy for bounds alone, inside a function: the runtime without torch has none.
    "inference": {"numpy", "cv2", "pycocotools", "scipy"},
}

# Labels, formats, metrics and drawing never need a network's framework.
FRAMEWORKS = {
    "lightning",
    "pytorch_lightning",
    "segmentation_models_pytorch",
    "timm",
    "torch",
    "torchvision",
    "ultralytics",
}
WITHOUT_FRAMEWORKS = {
    "annotations",
    "inference",
    "deployment",
    "converters",
    "evaluation",
    "report",
}

# `defectune --help` answers in half a second only if these are imported where they are used.
ONLY_INSIDE_FUNCTIONS = {
    "inference": {"scipy"},
    "defectune": FRAMEWORKS
    | {"albumentations", "cv2", "scipy", "sklearn"}
    | {"classify", "detect", "evaluation", "report", "segment", "training"},
}


@dataclass(frozen=True)
class Arrow:
    target: str  # the root of what is imported: "torch" for `from torch.nn import Module`
    line: int
    deferred: bool  # inside a function or under TYPE_CHECKING: not run when the file is imported


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _imported_by_call(node: ast.Call) -> str | None:
    """`import_module("torch")` is an import, whatever it looks like."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else None
    name = node.func.id if isinstance(node.func, ast.Name) else name
    if name not in {"import_module", "__import__"} or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def arrows_in(source: str) -> Iterator[Arrow]:
    def walk(node: ast.AST, deferred: bool) -> Iterator[Arrow]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Call) and (called := _imported_by_call(node)):
            names = [called]
        for name in names:
            if not name.startswith("."):
                yield Arrow(name.partition(".")[0], node.lineno, deferred)

        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            # Defaults, annotations and decorators do run at import; none of ours imports there.
            deferred = True
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, True)
            for child in node.orelse:
                yield from walk(child, deferred)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, deferred)

    return walk(ast.parse(source), False)


# The files that make graphs of trained models; the runtime never imports them.
MAKES_GRAPHS = "deployment/export.py"
MAY_MAKE_GRAPHS = {
    "annotations", "classify", "deployment", "detect", "inference", "segment", "training",
}  # fmt: skip


def forbidden_arrows(package: str, source: str) -> list[str]:
    """One line for each import in `source` that a file of `package` may not have."""
    found = []
    for arrow in arrows_in(source):
        target = arrow.target
        if target == package:
            continue
        if target in MAY_IMPORT:
            if target not in MAY_IMPORT[package]:
                found.append(f"line {arrow.line}: {package} may not import {target}")
        elif (
            package in ONLY_THIRD_PARTY
            and target not in ONLY_THIRD_PARTY[package]
            and target not in sys.stdlib_module_names
        ):
            found.append(
                f"line {arrow.line}: {package} may import only "
                f"{', '.join(sorted(ONLY_THIRD_PARTY[package]))}, and this is {target}"
            )
        elif package in WITHOUT_FRAMEWORKS and target in FRAMEWORKS:
            found.append(f"line {arrow.line}: {package} may never import {target}")
        if target in ONLY_INSIDE_FUNCTIONS.get(package, set()) and not arrow.deferred:
            found.append(f"line {arrow.line}: {package} may import {target} only in a function")
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_only_allowed_arrows(package: str, repo_root: Path) -> None:
    found = [
        f"{path.relative_to(repo_root)}, {line}"
        for path in sorted((repo_root / package).rglob("*.py"))
        if path.relative_to(repo_root).as_posix() != MAKES_GRAPHS
        for line in forbidden_arrows(package, path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(["imports that the table does not allow:", *found])


def test_the_export_imports_families_and_nobody_of_the_runtime_imports_it(repo_root: Path) -> None:
    ours = WHEEL_PACKAGES | {"tests", "benchmarks"}
    source = (repo_root / MAKES_GRAPHS).read_text(encoding="utf-8")
    assert {a.target for a in arrows_in(source)} & ours <= MAY_MAKE_GRAPHS
    for path in (repo_root / "deployment").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        module = MAKES_GRAPHS.removesuffix(".py").replace("/", ".")
        assert module not in text or path.as_posix().endswith(MAKES_GRAPHS)


def test_the_table_knows_every_root_folder(repo_root: Path) -> None:
    try:
        listing = subprocess.run(
            ["git", "ls-files", "*.py"], cwd=repo_root, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git
        listing = [path.relative_to(repo_root).as_posix() for path in repo_root.glob("[!.]*/*.py")]
    folders = {name.partition("/")[0] for name in listing if "/" in name}
    assert folders <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("converters", "import training"),
        ("converters", "from training.device import pick"),
        ("detect", "from segment.network import UNet"),
        ("annotations", "import evaluation.metric as m"),
        ("evaluation", "from report import page"),
        ("report", "import defectune.cli"),
        ("training", "import tests.conftest"),
        ("annotations", "import scipy"),
        ("annotations", "def f():\n    import scipy"),
        ("evaluation", "def f():\n    from torch.nn import functional"),
        ("converters", "from importlib import import_module\nimport_module('torch.nn')"),
        ("report", "__import__('ultralytics')"),
        ("defectune", "import torch"),
        ("defectune", "class A:\n    import cv2"),
        ("defectune", "try:\n    from detect import train\nexcept ImportError:\n    pass"),
        ("defectune", "if TYPE_CHECKING:\n    pass\nelse:\n    import training"),
    ],
)
def test_the_checker_catches(package: str, source: str) -> None:
    assert len(forbidden_arrows(package, source)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("annotations", "import json, os.path\nimport numpy as np\nfrom PIL import Image"),
        ("annotations", "from . import regions\nfrom annotations.errors import InputError"),
        ("segment", "import torch\nfrom training import device"),
        ("report", "from evaluation import leaderboard\nimport jinja2"),
        ("defectune", "def f():\n    import torch\n    from detect import train"),
        ("defectune", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("defectune", "import typing\nif typing.TYPE_CHECKING:\n    from training import TrainJob"),
    ],
)
def test_the_checker_lets_through(package: str, source: str) -> None:
    assert forbidden_arrows(package, source) == []


def modules_in(root: Path) -> dict[str, str]:
    """Source of every file of the wheel's packages, by the name it is imported under."""
    found = {}
    for package in WHEEL_PACKAGES:
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def circles(sources: dict[str, str]) -> set[frozenset[str]]:
    """Files that reach each other by imports, in functions too; imports for types do not count."""
    arrows = {
        name: files_imported(source, set(sources) - {name}) for name, source in sources.items()
    }
    reached: dict[str, set[str]] = {}
    for start in arrows:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = arrows[ahead.pop()] - seen
            seen |= new
            ahead += new
        reached[start] = seen
    return {frozenset(b for b in reached[a] if a in reached[b]) for a in reached if a in reached[a]}


def files_imported(source: str, known: set[str]) -> set[str]:
    """Which of the `known` files a source imports; a package's own file stands for its names."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        elif isinstance(node, ast.Call) and (called := _imported_by_call(node)):
            names = [called]
        found.update(known.intersection(names))
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.orelse:
                walk(child)
        else:
            for child in ast.iter_child_nodes(node):
                walk(child)

    walk(ast.parse(source))
    return found


def test_no_files_import_each_other_in_a_circle(repo_root: Path) -> None:
    found = circles(modules_in(repo_root))
    assert not found, "\n".join(
        ["files that import each other:", *(" <-> ".join(sorted(circle)) for circle in found)]
    )


def test_circles_are_found() -> None:
    sources = {
        "room": "",
        "room.a": "from room.b import f",
        "room.b": "def f():\n    from room import c",
        "room.c": "import room.a",
        "room.d": "from room.a import f\nfrom room.e import g",
        "room.e": "if TYPE_CHECKING:\n    from room.d import D",
    }
    assert circles(sources) == {frozenset({"room.a", "room.b", "room.c"})}
