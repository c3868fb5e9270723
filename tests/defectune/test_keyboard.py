"""What a person types, and what an interruption says."""

import pytest

from defectune.cli import app
from defectune.keyboard import KEPT
from tests.line import CliRunner


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def test_the_version():
    from importlib.metadata import version

    done = invoke("--version")
    assert (done.exit_code, done.output) == (0, f"defectune {version('defectune')}\n")


@pytest.mark.parametrize("command", ["", *sorted(KEPT), "doctor"])
def test_h_is_help(command):
    arguments = [command] if command else []
    done, long = invoke(*arguments, "-h"), invoke(*arguments, "--help")
    assert done.exit_code == 0
    assert "Usage" in done.output
    assert done.output == long.output


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("yolo", "detect"), ("YOLO11n.pt", "detect"), ("unet", "segment"), ("U-Net", "segment"),
     ("resnet", "classify"), ("resnet18", "classify"), ("detection", "detect"),
     ("patchcore", "classify")],
)  # fmt: skip
def test_a_networks_name_gets_its_family(typed, meant):
    done = invoke("train", typed, "OUT")
    assert done.exit_code == 2
    assert f"Did you mean {meant}?" in str(done.exception)


def interrupt(*_arguments, **_options):
    raise KeyboardInterrupt


def leave_as_lightning_does(*_arguments, **_options):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise SystemExit(1)  # noqa: B904


@pytest.mark.parametrize("way", [interrupt, leave_as_lightning_does])
@pytest.mark.parametrize("command", sorted(KEPT))
def test_ctrl_c_answers_in_words(command, way, monkeypatch, tmp_path):
    import defectune.library.progress

    monkeypatch.setattr(defectune.library.progress.BarReporter, "__enter__", way)
    given = {
        "convert": ("SRC", "OUT"),
        "train": ("detect", "OUT"),
        "predict": ("RUN", "x", "--output", "y"),
        "export": ("OUT", "FOLDER"),
        "stress": ("OUT", "RUN"),
        "overlay": ("RUN",),
        "demo": (),
        "bundle": ("RUN", str(tmp_path / "file.bundle")),
        "sweep": ("GRID", "--output", "y"),
        "watch": ("BUNDLE", "FOLDER", "--output", "y"),
    }.get(command, (tmp_path,))
    if command == "evaluate":
        monkeypatch.setattr("defectune.library.evaluating.check_request", lambda *_a, **_k: None)
    if command == "bundle":
        monkeypatch.setattr("defectune.library.bundling.find_run", way)
    if command == "train":
        monkeypatch.setattr("defectune.library.training_runs.as_dataset", way)
    if command == "watch":
        monkeypatch.setattr("deployment.open_bundle", way)
    done = invoke(command, *given)
    assert done.exit_code == 130
    assert "Interrupted." in done.output
    assert KEPT[command].split(",")[0] in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "OUT", "--external", "a=b", "--region-threshold", "nan"),
         "--region-threshold must be a finite"),
        (("evaluate", "OUT", "--external", "a=b", "--region-threshold", "inf"),
         "--region-threshold must be a finite"),
        (("evaluate", "OUT", "--max-escape", "2"), "--max-escape must be"),
        (("predict", "RUN", "x", "--output", "y", "--threshold", "nan"), "--threshold is on the"),
        (("predict", "RUN", "x", "--output", "y", "--threshold", "0"), "--threshold is on the"),
        (("predict", "RUN", "x", "--output", "y", "--threshold", "1", "--operating-point"),
         "not both"),
        (("overlay", "RUN", "--only", "right"), "--only takes"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_before_anything_is_read(arguments, words):
    done = invoke(*arguments)
    # The words are those of an error of ours, which `main` prints.
    assert words in str(done.exception)
    assert done.exception.exit_status == 2
