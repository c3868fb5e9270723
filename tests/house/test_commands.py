"""The README's way to run the tests is the way in which the build server runs them."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml


def readme_test_command(readme: str) -> str:
    """The one line of a code block that installs what it needs and runs scripts/test."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    lines = {
        line.strip().removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if re.search(r"\bpip install\b.*\bscripts/test\b", line)
    }
    assert len(lines) == 1, f"README.md should give one test command, and gives {sorted(lines)}"
    return lines.pop()


def test_the_build_server_runs_the_readmes_command(repo_root: Path) -> None:
    command = readme_test_command((repo_root / "README.md").read_text(encoding="utf-8"))
    run = (repo_root / ".ci" / "run").read_text(encoding="utf-8")
    assert command in [line.strip() for line in run.splitlines()]


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        "scripts/check",
        "scripts/coverage",
        "scripts/format",
        "scripts/lint",
        "scripts/reference",
        "scripts/release",
        "scripts/test",
        "scripts/types",
    ],
)
def test_a_script_can_be_run(name: str, repo_root: Path) -> None:
    path = repo_root / name
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


def test_hooks_call_the_scripts_that_people_call(repo_root: Path) -> None:
    document = yaml.safe_load((repo_root / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in document["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in document["repos"]] == ["local"]
    for hook in hooks:
        assert (repo_root / hook["entry"].split()[0]).is_file()
    assert {hook["entry"].split()[0] for hook in hooks} == {
        "scripts/lint",
        "scripts/test",
        "scripts/types",
    }


def test_the_image_gets_every_package(repo_root: Path) -> None:
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    kept = (repo_root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (*packages, "LICENSE", "README.md", "pyproject.toml", "uv.lock"):
        assert f"!{name}" in kept
