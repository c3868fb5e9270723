"""`stress` through the command, on a drawn category: window, page, resumption and refusals."""

import json
import re
import shutil
from pathlib import Path

import pytest

import defectune as dt
from annotations import InputError, UsageError
from annotations.run_files import CONFIG_FILE
from defectune.cli import app
from tests.drawn import trained_category
from tests.line import CliRunner

QUICK = {"kinds": ["exposure", "focus-blur"], "steps": 2, "draws": 1, "progress": False}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return trained_category(tmp_path_factory.mktemp("stressed"))


@pytest.fixture
def there(world, tmp_path, monkeypatch):
    shutil.copytree(world / "source", tmp_path / "source")
    shutil.copytree(world / "out", tmp_path / "out", symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(folder: Path) -> list[str]:
    (path,) = (folder / "out/runs/quick/stress").glob("*.jsonl")
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def test_the_command_makes_window_and_page_and_accept_takes_them_in(there) -> None:
    done = CliRunner().invoke(
        app,
        [
            "stress",
            "out",
            "quick",
            "--kinds",
            "exposure",
            "--kinds",
            "focus-blur",
            "--steps",
            "2",
            "--draws",
            "1",
        ],
    )
    assert done.exit_code == 0, done.output
    run = there / "out/runs/quick"
    document = json.loads((run / "stress.json").read_text(encoding="utf-8"))
    assert [row["change"] for row in document["window"]] == ["exposure", "focus-blur"]
    assert document["unchanged"]["largest_difference"] == 0
    assert document["n_images"] == document["n_test_images"] == len(dt.load("out").split.test_ids)
    assert len(document["cells"]) == 4
    assert document["pairs"][0]["kinds"] == ["exposure", "focus-blur"]
    for row in document["window"]:
        held = {
            cell["changes"][row["change"]]: cell["flips"]["value"]
            for cell in document["cells"]
            if row["change"] in cell["changes"]
        }
        for value, share in held.items():
            if row["alone_low"] <= value <= row["alone_high"]:
                assert share <= document["max_flips"]
        assert row["alone_low"] <= row["low"] <= row["unchanged"] <= row["high"]
    page = (run / "stress.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    accepted = json.loads(dt.accept("out", "quick", progress=False).document.read_text())
    window = accepted["window"]
    assert [row["low"] for row in window["rows"]] == [row["low"] for row in document["window"]]
    assert window["check"]["n"] == document["check"]["n"]
    link = there / "out/acceptance/quick" / window["page"]
    assert link.resolve() == (run / "stress.html").resolve()
    assert window["page"] in (there / "out/acceptance/quick/acceptance.html").read_text()
    elsewhere = dt.accept("out", "quick", output="elsewhere", progress=False).document
    assert "page" not in json.loads(elsewhere.read_text())["window"]
    assert dt.check("out").problems == ()


def test_flips_are_those_of_the_model_that_has_not_seen_the_part(there) -> None:
    from annotations.images import read_image_rgb
    from evaluation.stress import Change, changed

    made = dt.stress("out", "quick", **QUICK)
    document = json.loads(made.document.read_text())
    stored = dt.Run("out/runs/quick").predictions
    data = dt.load("out")
    cell = document["cells"][0]
    ((kind, value),) = cell["changes"].items()
    flipped = []
    for image_id in stored.image_scores:
        image = read_image_rgb(data.by_id[image_id].image_path)
        dark = changed(image, [Change(kind, value)], image_id=image_id, seed=0)
        fold = stored.fold_of[image_id]
        said = dt.Run("out/runs/quick").predict(dark, fold=fold, device="cpu")
        if said.defective != (stored.verdict(image_id) == "defective"):
            flipped.append(image_id)
    assert sorted(cell["flipped"]) == sorted(flipped)


def test_a_killed_call_goes_on_and_measures_nothing_twice(there, monkeypatch) -> None:
    whole = json.loads(dt.stress("out", "quick", **QUICK).document.read_text())
    every = lines(there)
    (path,) = (there / "out/runs/quick/stress").glob("*.jsonl")
    # Killed in the middle of a line.
    path.write_text("".join(every[:20]) + every[20][:15], encoding="utf-8")
    (there / "out/runs/quick/stress.json").unlink()
    again = json.loads(dt.stress("out", "quick", **QUICK).document.read_text())
    assert lines(there)[:20] == every[:20]
    assert sorted(lines(there)) == sorted(every)
    assert {**again, "made_at": ""} == {**whole, "made_at": ""}

    def none(*_args: object, **_more: object) -> None:
        raise AssertionError("a model was opened, with nothing left to measure")

    monkeypatch.setattr("defectune.families.open_predictor", none)
    third = json.loads(dt.stress("out", "quick", **QUICK).document.read_text())
    assert {**third, "made_at": ""} == {**whole, "made_at": ""}


def test_more_kinds_and_images_measure_only_what_is_new(there) -> None:
    few = dt.stress("out", "quick", **{**QUICK, "kinds": "exposure"}, images=5)
    assert json.loads(few.document.read_text())["n_images"] == 5
    begun = lines(there)
    dt.stress("out", "quick", **QUICK)
    assert lines(there)[: len(begun)] == begun
    assert len({tuple(json.loads(line)[:2]) for line in lines(there)}) == len(lines(there))


def test_other_scores_than_those_of_training_are_refused(there, monkeypatch) -> None:
    from annotations import FoldThresholds

    calibrate = FoldThresholds.calibrate
    monkeypatch.setattr(
        FoldThresholds, "calibrate", lambda self, raw: calibrate(self, raw) * (1 - 1e-4)
    )
    with pytest.raises(InputError, match="was stored by the training"):
        dt.stress("out", "quick", **QUICK)
    assert not (there / "out/runs/quick/stress.json").exists()


def test_names_are_escaped_on_the_page(there) -> None:
    from report.stress import Flipped, stress_page

    document = json.loads(dt.stress("out", "quick", **QUICK).document.read_text())
    image = dt.Run("out/runs/quick").predict(next((there / "source").rglob("*.png"))).image_rgb
    evil = "<img src=x onerror=alert(1)>"
    one = Flipped(evil, evil, "exposure 1 stops", 0.1, 0.9, image, image)
    page = stress_page(evil, {**document, "run": evil}, [one]).decode()
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x") >= 4
    assert page.count("data:image/jpeg;base64,") == 2


def test_the_page_says_how_the_window_was_narrowed_and_checked(there) -> None:
    from report.stress import stress_page

    document = json.loads(dt.stress("out", "quick", **QUICK).document.read_text())

    def page(narrowing: list[dict[str, float]], count: int, n: int) -> str:
        rate = {"count": count, "n": n, "value": 0.0125, "low": 0.0, "high": 0.05}
        found = {**document, "narrowing": narrowing, "check": rate}
        return " ".join(stress_page("out", found, []).decode().split())

    first = {"part": 1.0, "flips": 5, "n": 80}
    text = page([first, {"part": 0.75, "flips": 0, "n": 80}], 1, 80)
    assert "5 of 80 verdicts flipped at 100 % of it), so the window is 75 % of it." in text
    assert "not used to state it: 1 of 80 verdicts flipped, 1.25 % (0 % to 5 %)" in text
    text = page([{"part": 1.0, "flips": 0, "n": 80}], 1, 80)
    assert "at once that held, so it is the window" in text
    text = page([{"part": 1.0, "flips": 0, "n": 0}], 0, 0)
    assert "no step holds alone" in text
    assert "Checked with" not in text
    text = page([first, {"part": 0.0, "flips": 0, "n": 0}], 0, 0)
    assert "so the window is 0 % of it." in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ["blur"]}, "'blur' is no kind of change"),
        ({"pairs": ["exposure"]}, "takes two kinds of change"),
        ({"pairs": ["gamma+exposure"]}, "needs gamma among the kinds"),
        ({"max_flips": 1.0}, "at least 0 and below 1"),
        ({"steps": 1}, "at least 2"),
        ({"images": -1}, "at least 0"),
    ],
)
def test_wrong_calls_are_refused(there, given, message) -> None:
    with pytest.raises(UsageError, match=message):
        dt.stress("out", "quick", **{**QUICK, **given})


def test_runs_without_a_model_or_with_another_one_are_refused(there) -> None:
    run = there / "out/runs/quick"
    with pytest.raises(UsageError, match="is a file"):
        dt.stress("out", run / CONFIG_FILE, **QUICK)
    with (run / "fold-0/model.npz").open("ab") as file:
        file.write(b"0")
    with pytest.raises(InputError, match="were changed after training"):
        dt.stress("out", "quick", **QUICK)
    (run / CONFIG_FILE).unlink()
    with pytest.raises(InputError, match="no model to show"):
        dt.stress("out", "quick", **QUICK)
