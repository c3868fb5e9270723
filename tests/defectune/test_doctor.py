"""`defectune doctor`: what works on this machine."""

import importlib.metadata
import io
import py_compile
import sys

import pytest
from rich.console import Console

from annotations import WeightsNotFoundError
from defectune import doctor


@pytest.fixture(autouse=True)
def shown(monkeypatch, tmp_path):
    """The table's rows, by their first cell; no weights are to be found."""
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(tmp_path))
    rows = {}

    def keep(table, *, healthy):
        rows.update({first: rest for first, *rest in table})
        return printed(table, healthy=healthy)

    printed = doctor.show_findings
    monkeypatch.setattr("defectune.doctor.show_findings", keep)
    return rows


def test_it_says_what_is_here_and_where_the_rest_belongs(shown, tmp_path):
    assert doctor.doctor()
    assert shown["EfficientNet-Lite0, ImageNet"][0].endswith("tensors")
    assert shown["yolo11n.pt"][0] == "not here"
    assert "https://" in shown["yolo11n.pt"][1]
    assert shown["DEFECTUNE_WEIGHTS"][0] == str(tmp_path)
    assert all(version[0].isdigit() for version, _ in (shown[name] for name in doctor.PACKAGES))


def test_at_80_columns_paths_stay_whole_and_the_last_line_sums_up(shown, monkeypatch, tmp_path):
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=80, highlight=False, soft_wrap=True,
                       color_system=None)  # fmt: skip
    for module in ("doctor", "console"):
        monkeypatch.setattr(f"defectune.{module}.out", terminal)
    deep = tmp_path / ("folder-with-a-long-name/" * 6)
    monkeypatch.setenv("DEFECTUNE_WEIGHTS", str(deep))
    assert doctor.doctor()
    lines = file.getvalue().splitlines()
    assert any(line.startswith("DEFECTUNE_WEIGHTS  ") and str(deep) in line for line in lines)
    todo = [line for line in lines if line.startswith("- yolo11n.pt: ")]
    assert "https://github.com/ultralytics/assets/releases/download/v8.4.0/yolo11n.pt" in todo[0]
    assert lines[-1] == "All that the default settings need is here."
    columns = {line.index(found) for name, (found, _) in shown.items() if found
               for line in lines if line.startswith(f"{name}  ")}  # fmt: skip
    assert len(columns) == 1


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


def test_a_python_that_may_keep_no_bytecode_is_named(monkeypatch, tmp_path):
    source = tmp_path / "library.py"
    source.write_text("x = 1\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found, remedy = doctor.bytecode(source)
    assert found.startswith("no")
    assert "PYTHONDONTWRITEBYTECODE" in remedy
    py_compile.compile(str(source))
    assert doctor.bytecode(source) == ("yes", "")
    source.with_name("other.py").touch()
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert doctor.bytecode(source.with_name("other.py")) == ("yes", "")
