"""`update`, `log` and `diff` at the line and from Python."""

import json
import shutil

import pytest

import defectune as dt
from converters.synthetic import draw_category
from defectune.cli import app
from tests.drawn import SMALL, drawn_dataset
from tests.line import CliRunner


@pytest.fixture
def grown(tmp_path, monkeypatch):
    """A dataset, and in `two` one image of it under another class."""
    monkeypatch.chdir(tmp_path)
    drawn_dataset(tmp_path)
    source = draw_category(tmp_path / "again", SMALL)
    for folder, name in (("test", "000.png"), ("ground_truth", "000_mask.png")):
        (tmp_path / "two" / folder / "dent").mkdir(parents=True)
        shutil.copyfile(
            source / folder / "broken_large" / name, tmp_path / "two" / folder / "dent" / name
        )
    return tmp_path / "dataset"


def line(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output + str(done.exception or "")


def test_update_log_and_diff_at_the_line(grown):
    code, text = line("log", "dataset")
    assert (code, "was never updated" in text) == (0, True)
    code, text = line("update", "dataset", "two", "--dry-run")
    assert code == 0, text
    assert "Would update dataset" in text
    assert dt.log(grown) == []
    code, text = line("update", "dataset", "two", "--by", "anna", "--message", "corrected")
    assert code == 0, text
    assert "defectune diff dataset 1 2" in text
    code, text = line("log", "dataset")
    assert code == 0
    assert "Version 2, " in text
    assert "by anna, corrected" in text
    assert "  relabelled 1: dent 1" in text
    code, text = line("log", "dataset", "--json")
    assert json.loads(text) == dt.log(grown)
    code, text = line("diff", "dataset", "1", "2", "--json")
    found = json.loads(text)
    assert list(found["relabelled"]) == ["broken_large/000"]
    old, new = found["relabelled"]["broken_large/000"]
    assert (old.split(",")[0], new.split(",")[0]) == ("broken_large", "dent")
    assert found["classes"][1] == [*found["classes"][0], "dent"]
    code, text = line("check", "dataset", "--no-reshots")
    assert code == 0, text


def test_wrong_calls_end_with_2(grown):
    for words, says in (
        (("update", "dataset"), "give SRC"),
        (("update", "dataset", "--rename-class", "nothing=dent"), "there is no class 'nothing'"),
        (("update", "dataset", "--rename-class", "dent"), "--rename-class takes OLD=NEW"),
        (("update", "dataset", "two", "--prefix", "../up"), "--prefix should be a name"),
        (("update", "dataset", "--restore", "3"), "no version 3"),
        (("diff", "dataset", "1", "2"), "no version 1; it has no version yet"),
    ):
        done = CliRunner().invoke(app, list(words))
        assert says in str(done.exception) + done.output, words
        assert getattr(done.exception, "exit_status", done.exit_code) == 2, words


def test_a_class_is_renamed_from_python(grown):
    done = dt.update(grown, rename_class={"broken_small": "chip"}, progress=False)
    assert done.record["renamed"] == {"broken_small": "chip"}
    data = dt.load(grown)
    assert data.version is not None
    assert (data.version.number, data.class_names[1]) == (2, "chip")
    dt.update(grown, restore=1, message="back", progress=False)
    assert [record["restored"] for record in dt.log(grown)] == [None, None, 1]
    assert dt.diff(grown, 1, 3).to_json() | {"second": 1} == dt.diff(grown, 1, 1).to_json()


def test_an_older_version_is_exported(grown, tmp_path):
    before = dt.load(grown)
    gone = before.samples[0].image_id
    (tmp_path / "list").write_text(gone)
    dt.update(grown, remove=tmp_path / "list", progress=False)
    code, text = line("export", "dataset", "now", "--format", "coco")
    assert code == 0, text
    code, text = line("export", "dataset", "then", "--format", "coco", "--version", "1")
    assert code == 0, text
    counts = [len(list((tmp_path / name).rglob("*.png"))) for name in ("now", "then")]
    assert counts[1] == counts[0] + 1
    code, text = line("export", "dataset", "never", "--version", "3")
    assert "no version 3" in text
    assert not (tmp_path / "never").exists()


def test_a_split_is_taken_from_a_dataset_as_it_is_now(grown, tmp_path):
    gone = sorted(dt.load(grown).split.test_ids)[0]
    (tmp_path / "list").write_text(gone)
    dt.update(grown, remove=tmp_path / "list", progress=False)
    now = dt.load(grown).split
    made = dt.convert(
        tmp_path / "again" / "drawn_bottle", tmp_path / "other", split=grown, progress=False
    )
    assert [fold.test for fold in made.split.folds] == [fold.test for fold in now.folds]
    assert gone in made.split.left_out[0]


def test_a_split_is_taken_from_a_version_of_a_dataset(grown, tmp_path):
    then = dt.load(grown).split
    gone = sorted(then.test_ids)[0]
    (tmp_path / "list").write_text(gone)
    dt.update(grown, remove=tmp_path / "list", progress=False)
    source = tmp_path / "again" / "drawn_bottle"
    made = dt.convert(source, tmp_path / "first", split=f"{grown}@1", progress=False)
    assert made.split.folds == then.folds
    code, text = line("convert", str(source), "second", "--split", "dataset@2")
    assert code == 0, text
    assert gone in dt.load("second").split.left_out[0]
    for named, says in (
        ("dataset@3", "dataset has no version 3; it has versions 1 to 2."),
        ("dataset@0", "dataset has no version 0"),
        ("dataset@x", "--split names dataset@x, which does not exist."),
        ("nothing@1", "--split names nothing@1, which does not exist."),
    ):
        done = CliRunner().invoke(app, ["convert", str(source), "third", "--split", named])
        assert says in str(done.exception), named
        assert not (tmp_path / "third").exists()
    # A dataset whose own name ends so is that dataset.
    shutil.copytree(grown, tmp_path / "dataset@1", symlinks=True)
    (tmp_path / "list").write_text(sorted(then.test_ids)[1])
    dt.update("dataset@1", remove=tmp_path / "list", progress=False)
    own = dt.convert(source, tmp_path / "fourth", split="dataset@1", progress=False)
    assert [fold.test for fold in own.split.folds] == [
        fold.test for fold in dt.load("dataset@1").split.folds
    ]
