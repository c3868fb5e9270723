"""The command line, as a person calls it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from converters import ConvertOptions, convert
from converters.synthetic import draw_category
from defectune.cli import app
from tests.drawn import SMALL
from tests.line import CliRunner


def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "defectune", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return draw_category(tmp_path_factory.mktemp("source"), SMALL)


def test_the_whole_job(tmp_path, source):
    out = tmp_path / "a dataset"
    done = call("convert", source, out, "--folds", 2)
    assert done.returncode == 0, done.stderr
    assert "12 of 12" in done.stdout
    shared = ("--weights", "none", "--device", "cpu")
    for arguments in (
        ("classify", out, "--model", "resnet18", "--image-size", 64, *shared),
        (
            "segment",
            out,
            "--model",
            "resnet18",
            "--image-size",
            32,
            "--epochs",
            1,
            "--heads",
            1,
            "--fewest-images",
            8,
            "--views",
            1,
            *shared,
        ),
        (
            "detect",
            out,
            "--image-size",
            64,
            "--epochs",
            1,
            "--batch-size",
            4,
            "--views",
            1,
            *shared,
        ),
    ):
        done = call("train", *arguments)
        assert done.returncode == 0, done.stderr
    done = call("evaluate", out)
    assert done.returncode == 0, done.stderr
    assert "image_auroc" in done.stdout
    assert "random weights" in done.stdout
    board = json.loads((out / "leaderboard.json").read_text())
    assert board["n_images"] == 16
    assert {row["family"] for row in board["rows"]} == {"classify", "segment", "detect"}
    done = call("report", out)
    assert done.returncode == 0, done.stderr
    assert (out / "report" / "index.html").is_file()
    run = out / "runs" / "detect"
    new = [source / "test" / "good" / "000.png", source / "test" / "broken_large"]
    done = call("predict", run, *new, "--output", tmp_path / "verdicts", "--overlays", "all")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "verdicts" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert {row["verdict"] for row in rows} <= {"good", "defective"}
    # Two images have the name 000.png; neither overlay is lost.
    overlays = [tmp_path / "verdicts" / row["overlay"] for row in rows]
    assert len(set(overlays)) == 5
    assert all(path.is_file() for path in overlays)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("convert", "NOWHERE", "out"), 1, ("There is no folder", "NOWHERE")),
        (("convert", "SOURCE/..", "out"), 1, ("No known layout fits", "drawn_bottle")),
        (("convert", "SOURCE", "out", "--protocol", "nested"), 2, ("Unknown protocol",)),
        (("convert", "SOURCE", "full"), 1, ("already exists", "nothing is overwritten")),
        (("train", "segment", "full"), 1, ("not a converted dataset", "defectune convert")),
        (("train", "paint", "full"), 2, ("paint",)),
        (("evaluate", "full"), 1, ("not a converted dataset",)),
        (("predict", "full", "SOURCE/test/good", "--output", "new"), 1, ("is not a run",)),
    ],
)
def test_a_mistake_gets_one_paragraph_and_no_traceback(tmp_path, source, arguments, status, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    given = [str(a).replace("SOURCE", str(source)) for a in arguments]
    done = call(*given, cwd=tmp_path)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["full", "mine.txt"]


def test_official_is_refused_for_what_learns_from_defects(tmp_path, source):
    convert(source, tmp_path / "out", ConvertOptions(protocol="official"))
    for words in (("segment", tmp_path / "out", "--method", "unet"), ("detect", tmp_path / "out")):
        done = CliRunner().invoke(app, ["train", *map(str, words)])
        assert done.exit_code == 1
        assert "--protocol kfold" in str(done.exception)
        assert not (tmp_path / "out" / "runs").exists()


def test_doctor_and_help():
    assert "convert" in call("--help").stdout
    done = call("doctor")
    assert done.returncode == 0, done.stdout
    assert "EfficientNet-Lite0" in done.stdout
