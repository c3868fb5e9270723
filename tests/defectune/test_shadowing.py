"""A user's folder may hold names of our packages."""

import subprocess
import sys

import pytest


@pytest.fixture
def folder(tmp_path):
    for name in ("detect", "report", "annotations"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    (tmp_path / "training.py").write_text("raise RuntimeError('the wrong one')\n")
    (tmp_path / "segment").mkdir()
    return tmp_path


def python(folder, *arguments, **environment):
    import os

    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("arguments", [("--version",), ("train", "segment", "nowhere")])
def test_the_program_starts_among_them(folder, arguments):
    done = python(folder, "-m", "defectune", *arguments)
    assert "the wrong one" not in done.stderr
    if arguments == ("--version",):
        assert (done.returncode, done.stdout[:10]) == (0, "defectune ")
    else:
        assert done.returncode == 1
        assert "nowhere is not a converted dataset" in done.stderr


def test_the_library_says_what_is_in_the_way(folder):
    done = python(folder, "-c", "import defectune as dt; dt.load('x')")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: defectune needs its own package 'annotations'")
    assert str(folder / "annotations" / "__init__.py") in last


def test_the_command_says_so_where_the_path_brings_them(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = python(elsewhere, "-m", "defectune", "doctor", PYTHONPATH=str(folder))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(folder / "annotations" / "__init__.py") in done.stderr


def test_folders_without_code_hide_nothing(tmp_path):
    (tmp_path / "training").mkdir()
    done = python(tmp_path, "-c", "import defectune as dt; print(dt.DefectuneError.__name__)")
    assert (done.returncode, done.stdout) == (0, "DefectuneError\n"), done.stderr
