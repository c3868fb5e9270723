"""`defectune doctor`: what works on this machine."""

import pytest
from typer.testing import CliRunner

from annotations import WeightsNotFoundError
from defectune.cli import app


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


def test_it_says_what_is_here_and_where_the_rest_belongs(tmp_path):
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "EfficientNet-Lite0, ImageNet" in said
    assert "tensors" in said
    assert "yolo11n.pt" in said
    assert "not here" in said
    assert str(tmp_path) in done.output.replace("\n", "")


def test_a_missing_part_of_the_installation_is_a_failure(monkeypatch):
    def missing():
        raise WeightsNotFoundError("Install the package again.")

    monkeypatch.setattr("training.efficientnet_lite0_state_dict", missing)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "Install the package again." in " ".join(done.output.split())
