"""`defectune doctor`: what works on this machine."""

import importlib.metadata
import sys

import pytest

from annotations import WeightsNotFoundError
from defectune import doctor


@pytest.fixture(autouse=True)
def shown(monkeypatch, tmp_path):
    """The table's rows, by their first cell; no weights are to be found."""
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(tmp_path))
    rows = {}

    def keep(table, *, title):
        assert title == "defectune doctor"
        rows.update({first: rest for first, *rest in table})

    monkeypatch.setattr("defectune.doctor.show_table", keep)
    return rows


def test_it_says_what_is_here_and_where_the_rest_belongs(shown, tmp_path):
    assert doctor.doctor()
    assert shown["EfficientNet-Lite0, ImageNet"][0].endswith("tensors")
    assert shown["yolo11n.pt"][0] == "not here"
    assert "https://" in shown["yolo11n.pt"][1]
    assert shown["DEFECTUNE_WEIGHTS"][0] == str(tmp_path)
    assert all(version[0].isdigit() for version, _ in (shown[name] for name in doctor.PACKAGES))


def test_a_missing_part_of_the_installation_is_a_failure(shown, monkeypatch):
    def missing():
        raise WeightsNotFoundError("Install the package again.")

    monkeypatch.setattr("training.efficientnet_lite0_state_dict", missing)
    assert not doctor.doctor()
    assert shown["EfficientNet-Lite0, ImageNet"] == ["missing", "Install the package again."]


@pytest.mark.parametrize(
    ("headless", "healthy", "remedy"),
    [
        ("5.0.0.93", True, ""),
        (
            "4.11.0.86",
            False,
            "pip uninstall -y opencv-python opencv-python-headless; pip install opencv-python",
        ),
    ],
)
def test_two_wheels_of_opencv_serve_while_they_have_one_version(
    shown, monkeypatch, headless, healthy, remedy
):
    versions = {"opencv-python": "5.0.0.93", "opencv-python-headless": headless}
    real = importlib.metadata.version
    monkeypatch.setattr(
        "importlib.metadata.packages_distributions", lambda: {"cv2": list(versions)}
    )
    monkeypatch.setattr("importlib.metadata.version", lambda n: versions.get(n) or real(n))
    assert doctor.doctor() is healthy
    assert shown["OpenCV"] == [
        f"opencv-python 5.0.0.93, opencv-python-headless {headless}",
        remedy,
    ]


def test_an_opencv_that_cannot_be_imported_is_a_failure(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert not doctor.doctor()
    assert "import of cv2 halted" in shown["OpenCV"][0]
    assert shown["OpenCV"][1].endswith("pip install opencv-python")
