"""Our packages have plain names, so nothing else in the environment may carry them."""

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import pytest

from defectune import shadowing

ROOT = Path(__file__).resolve().parents[2]
PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "hatch"
]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def shipped_by() -> dict[str, set[str]]:
    return {
        name: set(distributions)
        for name, distributions in importlib.metadata.packages_distributions().items()
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_ships_our_name(name: str, shipped_by: dict[str, set[str]]) -> None:
    # An editable install lists no packages at all, so our own name may be missing here.
    assert shipped_by.get(name, set()) <= {"defectune"}


@pytest.mark.parametrize("name", PACKAGES)
def test_our_name_leads_to_our_folder(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None, f"{name} has no __init__.py"
    assert Path(spec.origin).resolve() == ROOT / name / "__init__.py"


def test_exactly_one_distribution_ships_cv2(shipped_by: dict[str, set[str]]) -> None:
    # Two of them overwrite each other's files; pyproject.toml overrides one away.
    assert shipped_by["cv2"] == {"opencv-python"}


def test_the_wheel_brings_nothing_but_its_packages() -> None:
    # A folder of data beside the packages would become a top-level name of everybody's environment.
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
        "build"
    ]["targets"]["wheel"]
    assert set(wheel) == {"packages"}
    assert set(PACKAGES) == {"defectune", *shadowing.PACKAGES}
