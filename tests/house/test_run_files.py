"""One module knows what a run's files are called."""

import ast
from pathlib import Path

from annotations import run_files
from tests.house.test_imports import WHEEL_PACKAGES

# What is brought from elsewhere is named as its maker named it, which happens to be the same;
# Supervisely's dataset has a meta.json of its own.
MAY_NAME = {
    "annotations/run_files.py",
    "evaluation/external.py",
    "converters/layouts/supervisely.py",
}


def test_no_other_module_spells_a_runs_file(repo_root: Path) -> None:
    names = {
        str(value)
        for name, value in vars(run_files).items()
        if name.endswith("_FILE") and "." in str(value)
    }
    assert {"config.yaml", "meta.json", "timing.json", "leaderboard.json"} <= names
    found = [
        f"{path.relative_to(repo_root)}, line {node.lineno}: {node.value!r}"
        for package in sorted(WHEEL_PACKAGES)
        for path in sorted((repo_root / package).rglob("*.py"))
        if path.relative_to(repo_root).as_posix() not in MAY_NAME
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not found, "\n".join(["take these from annotations.run_files:", *found])
