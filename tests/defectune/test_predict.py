"""Prediction of new images: folders, what is passed over, broken files, and killed calls."""

import csv
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import defectune as dt
from annotations import InputError, OutputExistsError, UsageError, write_png
from annotations.locks import LOCK_FILE, hold_lock
from converters.synthetic import draw_category
from defectune import families
from defectune.cli import app
from defectune.inputs import gather_images, listed_images
from defectune.library.decoding import decoded
from defectune.library.kept_results import Tally, partial_folder
from defectune.library.recipe import Recipe
from defectune.runs import find_run
from tests.drawn import SMALL
from tests.line import CliRunner


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return draw_category(tmp_path_factory.mktemp("source"), SMALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory, source):
    root = tmp_path_factory.mktemp("out") / "dataset"
    for arguments in (
        ("convert", source, root, "--folds", 2, "--no-find-groups"),
        ("train", "classify", root, "--name", "run", "--model", "resnet18", "--image-size", 64,
         "--weights", "none", "--device", "cpu"),
    ):  # fmt: skip
        assert invoke(*arguments).exit_code == 0
    return root


@pytest.fixture
def images(tmp_path):
    """Two images at the top, one of the same name below, and what is no image."""
    folder = tmp_path / "new"
    (folder / "sub" / "deep").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for name in ("a.png", "b.JPG", "sub/deep/a.bmp"):
        Image.fromarray(picture).save(folder / name)
    (folder / "notes.txt").write_text("x")
    (folder / "line.mp4").write_bytes(b"x")
    return folder


def rows_of(folder):
    with (folder / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_folders_are_read_to_the_bottom_and_what_is_passed_over_is_named(root, images, tmp_path):
    output = images / "verdicts"
    call = ("predict", root / "runs" / "run", images)
    done = invoke(*call, "--output", output, "--overlays", "all")
    assert done.exit_code == 0, done.output
    rows = rows_of(output)
    assert [Path(row["image"]).relative_to(images).as_posix() for row in rows] == [
        "a.png", "b.JPG", "sub/deep/a.bmp",
    ]  # fmt: skip
    assert [row["overlay"] for row in rows] == [
        "overlays/a.png", "overlays/b.png", "overlays/a-2.png",
    ]  # fmt: skip
    assert all((output / row["overlay"]).is_file() for row in rows if row["overlay"])
    assert "not named as an image: 1" in done.output
    assert "notes.txt" in done.output
    assert "videos (cut them into images to have them read): 1" in done.output
    meta = json.loads((output / "predictions.json").read_text())
    assert sum(map(len, meta["passed_over"].values())) == 2
    # Its own overlays are no new images.
    again = gather_images([images])
    assert len(again.images) == 3
    assert len(again.passed_over["written by an earlier call of predict"]) == 6
    assert sorted(path.name for path in output.iterdir()) == [
        "images.csv", "overlays", "predictions.json", "regions.json",
    ]  # fmt: skip


def test_results_do_not_tell_where_they_were_made(root, images, tmp_path):
    """The run is named as seen from the results, which may be passed on."""
    run = root / "runs" / "run"
    output = run.parent.parent / "verdicts-elsewhere"
    done = invoke("predict", run, images, "--output", output)
    assert done.exit_code == 0, done.output
    assert json.loads((output / "predictions.json").read_text())["run"] == "../runs/run"


def test_pictures_are_made_only_when_asked_for(root, images, tmp_path):
    done = invoke("predict", root / "runs" / "run", images, "--output", tmp_path / "plain")
    assert done.exit_code == 0, done.output
    assert [row["overlay"] for row in rows_of(tmp_path / "plain")] == ["", "", ""]
    assert not list((tmp_path / "plain").rglob("*.png"))


def test_a_black_or_tiny_image_gets_a_remark_that_is_counted(root, images, tmp_path):
    write_png(images / "black.png", np.zeros((64, 64, 3), np.uint8))
    write_png(images / "tiny.png", np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    done = invoke("predict", root / "runs" / "run", images, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    remarks = {Path(row["image"]).name: row["remark"] for row in rows_of(tmp_path / "out")}
    assert "black all over" in remarks.pop("black.png")
    assert "10×10 pixels" in remarks.pop("tiny.png")
    assert set(remarks.values()) == {""}
    notes = json.loads((tmp_path / "out" / "predictions.json").read_text())["notes"]
    assert any(note.startswith("2 of 5 images are tiny or of one color") for note in notes)


def test_a_run_has_no_provider(root, images, tmp_path):
    for option in (("--threads", 1), ("--provider", "cuda")):
        done = invoke("predict", root / "runs" / "run", images, "--output", tmp_path / "o", *option)
        assert isinstance(done.exception, UsageError)
        assert "make a bundle of it" in str(done.exception)


def test_a_broken_image_is_a_row_and_the_rest_goes_on(root, images, tmp_path):
    whole = (images / "a.png").read_bytes()
    (images / "a.png").write_bytes(whole[: len(whole) // 2])
    done = invoke("predict", root / "runs" / "run", images, "--output", tmp_path / "out")
    assert done.exit_code == 1
    first, *others = rows_of(tmp_path / "out")
    assert "a.png" in first["error"]
    assert (first["verdict"], first["image_score"], first["overlay"]) == ("", "", "")
    assert all(row["verdict"] and not row["error"] for row in others)
    assert "1 of 3 images could not be read" in done.output


def test_a_killed_call_goes_on(root, images, tmp_path, monkeypatch):
    output = tmp_path / "out"
    call = ("predict", root / "runs" / "run", images, "--output", output)
    seen = []
    real = families.open_predictor

    class Watched:
        def __init__(self, *arguments, **options):
            self.inner = real(*arguments, **options)

        def predict(self, name, image_rgb):
            if len(seen) == 2:
                seen.append("stopped")
                raise KeyboardInterrupt
            seen.append(name)
            return self.inner.predict(name, image_rgb)

    monkeypatch.setattr(families, "open_predictor", Watched)
    done = invoke(*call)
    assert done.exit_code == 130
    assert not output.exists()
    results = partial_folder(output) / "results.jsonl"
    # As a kill in the middle of a line leaves it.
    with results.open("a") as file:
        file.write('{"row": {"ima')
    other = invoke(*call, "--threshold", "0.7")
    assert isinstance(other.exception, OutputExistsError)
    # As a call that is still running holds it.
    with hold_lock(partial_folder(output) / LOCK_FILE, OutputExistsError):
        assert "Another call is writing" in str(invoke(*call).exception)
    assert invoke(*call).exit_code == 0
    assert seen == ["a.png", "b.JPG", "stopped", "a.bmp"]
    assert len(rows_of(output)) == 3
    assert not partial_folder(output).exists()
    assert not (output / LOCK_FILE).exists()
    monkeypatch.undo()
    whole = tmp_path / "whole"
    assert invoke(*call[:-1], whole).exit_code == 0
    assert rows_of(output) == rows_of(whole)


def test_a_video_is_named_as_such(images, tmp_path):
    with pytest.raises(InputError, match=r"line\.mp4 is a video.*ffmpeg"):
        gather_images([images / "line.mp4"])
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds no image.*not named as an image: 1 .*notes\.txt"):
        gather_images([tmp_path / "only"])


def test_a_full_disk_loses_nothing(root, images, tmp_path, monkeypatch):
    output = tmp_path / "out"
    call = ("predict", root / "runs" / "run", images, "--output", output, "--overlays", "all")
    drawn = []

    def full(path, *arguments, **options):
        if drawn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        drawn.append(path)
        return write_png(path, *arguments, **options)

    monkeypatch.setattr("defectune.library.deciding.write_png", full)
    done = invoke(*call)
    assert isinstance(done.exception, OSError)
    assert not output.exists()
    assert len((partial_folder(output) / "results.jsonl").read_text().splitlines()) == 1
    monkeypatch.undo()
    again = invoke(*call)
    assert "1 images were predicted by an earlier call" in again.output
    assert [bool(row["verdict"]) for row in rows_of(output)] == [True] * 3


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["a.png"]),
        ("*", ["a.png", "b.JPG"]),
        ("**/*", ["a.png", "b.JPG", "a.bmp"]),
        ("s?b/[cd]eep/*.bmp", ["a.bmp"]),
    ],
)
def test_patterns_name_images(images, pattern, names):
    found = gather_images([images / pattern])
    assert [path.name for path in found.images] == names


@pytest.mark.parametrize("pattern", ["*.tif", "no/*.png", "**x/*.png"])
def test_a_pattern_without_an_image_is_refused(images, pattern):
    with pytest.raises(InputError, match="There is no image"):
        gather_images([images / pattern])


def test_a_list_of_images_comes_from_standard_input(root, images, tmp_path):
    listed = f"{images / 'b.JPG'}\n\n{images / 'sub' / 'deep' / 'a.bmp'}\r\n"
    call = ["predict", str(root / "runs" / "run"), "-", "--output", str(tmp_path / "out")]
    assert CliRunner().invoke(app, call, input=listed).exit_code == 0
    assert [Path(row["image"]).name for row in rows_of(tmp_path / "out")] == ["b.JPG", "a.bmp"]
    with pytest.raises(InputError, match="empty"):
        listed_images(["\n", ""])
    with pytest.raises(InputError, match="Line 2"):
        listed_images(["a.png", "x" * 5000])


@pytest.mark.parametrize(
    ("overlays", "threshold", "drawn"),
    [("all", 1.0, 3), ("defective", 1.0, 0), ("defective", 1e-9, 3), ("none", 1e-9, 0)],
)
def test_pictures_are_drawn_of_the_images_asked_for(
    root, images, tmp_path, overlays, threshold, drawn
):
    run, output = root / "runs" / "run", tmp_path / "out"
    call = ("--output", output, "--overlays", overlays, "--threshold", threshold)
    assert invoke("predict", run, images, *call).exit_code == 0
    rows = rows_of(output)
    assert sum(bool(row["overlay"]) for row in rows) == drawn
    assert len(list(output.glob("overlays/*.png"))) == drawn
    assert all((output / row["overlay"]).is_file() for row in rows if row["overlay"])
    assert isinstance(json.loads((output / "regions.json").read_text()), list)


def test_an_unknown_word_for_overlays_is_refused(root, images, tmp_path):
    call = ("predict", root / "runs" / "run", images, "--output", tmp_path / "out")
    assert "all, defective, none" in str(invoke(*call, "--overlays", "some").exception)


def test_images_come_in_their_order_while_others_aredecoded(images):
    paths = [images / "a.png", images / "gone.png", images / "b.JPG", images / "notes.txt"] * 5
    seen = list(decoded(paths, None))
    assert [path for path, _ in seen] == paths
    for path, image in seen:
        assert isinstance(image, Exception) == (path.name in ("gone.png", "notes.txt"))


def test_a_verdict_that_seems_to_contradict_its_regions_is_explained():
    from annotations import FoldThresholds

    recipe = Recipe(
        Path("run"),
        0,
        ["chip"],
        FoldThresholds(0.5, "odds", 0.25, "x"),
        0.9,
        "x",
        (0, 1),
        False,
        "all",
        None,
    )
    rows = [
        {"image": str(n), "verdict": verdict, "regions": regions, "error": ""}
        for n, (verdict, regions) in enumerate(
            (("good", "2"), ("good", "0"), ("defective", "0"), ("defective", "1"), ("good", ""))
        )
    ]
    tally = Tally()
    for row in rows:
        tally.add(row)
    good, bare = tally.notes(recipe)
    assert good.startswith("1 images are good and yet have regions: the verdict compares")
    assert "with 0.9" in good
    assert bare.startswith("1 images are defective without a region")


def test_every_command_finds_a_run_in_the_same_way(root, tmp_path, monkeypatch):
    run = root / "runs" / "run"
    for text, base in ((run, None), (root / "run", None), ("run", root), (run, root)):
        assert find_run(text, base).resolve() == run.resolve()
    monkeypatch.chdir(root)
    assert find_run("run").resolve() == run.resolve()
    for text, base in (("rum", root), (root / "rum", None), (root, None)):
        with pytest.raises(InputError, match=r"finished runs in .*: run"):
            find_run(text, base)
    for command in (("evaluate", root), ("report", root)):
        for name in ("run", run):
            assert invoke(*command, name).exit_code == 0
    for number, name in enumerate((run, "run")):
        done = invoke("overlay", name, "good/000", "--output", tmp_path / f"o{number}")
        assert done.exit_code == 0, done.exception


def test_an_operating_point_that_was_never_chosen(root, images, tmp_path):
    call = ("predict", root / "run", images, "--output", tmp_path / "x", "--operating-point")
    (root / "leaderboard.json").unlink(missing_ok=True)
    assert "no operating point was chosen" in str(invoke(*call).exception)
    assert invoke("evaluate", root).exit_code == 0
    assert "holds no operating point of run" in str(invoke(*call).exception)
    assert not (tmp_path / "x").exists()


def test_an_operating_point_of_predictions_that_are_gone_is_refused(root, images, tmp_path):
    import defectune as dt
    from defectune.runs import operating_threshold

    own = tmp_path / "own"
    shutil.copytree(root, own, symlinks=True)
    dt.evaluate(own, own / "run", max_escape=0.5, progress=False)
    assert 0 < operating_threshold(own / "runs" / "run", 0) < 1
    # As a run has it that was deleted and trained again under its name.
    path = own / "runs" / "run" / "predictions" / "meta.json"
    path.write_text(path.read_text().replace('"chosen_on": "', '"chosen_on": "anew, '))
    with pytest.raises(InputError, match="was trained again since"):
        operating_threshold(own / "runs" / "run", 0)


def test_a_run_made_elsewhere_has_no_model(root, images, tmp_path):
    document = json.loads((root / "split.json").read_text())
    scores = tmp_path / "scores.csv"
    ids = [image_id for fold in document["folds"] for image_id in fold["test"]]
    scores.write_text("image_id,image_score\n" + "".join(f"{i},0.5\n" for i in ids))
    assert invoke("evaluate", root, "theirs", "--external", f"theirs={scores}").exit_code == 0
    done = invoke("predict", root / "theirs", images, "--output", tmp_path / "x")
    assert "made elsewhere" in str(done.exception)


def test_images_of_one_name_get_overlays_of_their_own():
    from defectune.library.shards import overlay_names

    paths = [Path(f"{n}/a.png") for n in range(3)] + [Path("a-2.png"), Path("A.png"), Path("b.png")]
    assert list(overlay_names(paths)) == ["a", "a-2", "a-3", "a-2-2", "A-4", "b"]


def test_parts_that_are_predicted_apart_make_the_same_lines(root, images, tmp_path):
    from defectune.library.deciding import predict_part
    from defectune.library.recipe import PredictOptions, open_model, run_recipe
    from defectune.library.shards import parts_of

    options = PredictOptions(device="cpu")
    recipe = run_recipe(root / "runs" / "run", options)
    model = open_model(recipe, options)
    paths = gather_images([images]).images
    texts = []
    for size in (256, 2):
        rows, found = [], {}
        for part in reversed(list(parts_of(tmp_path, paths, size=size))):
            place = tmp_path / f"{size}-{part.start}.jsonl"
            with place.open("w") as file:
                predict_part(model, recipe, part, file, rows.append)
            found[part.start] = place.read_text()
        assert len(rows) == len(paths) == 3
        texts.append("".join(found[start] for start in sorted(found)))
    assert len(found) == 2
    assert texts[0] == texts[1]


def test_the_first_rows_are_read_without_the_others(root, images, tmp_path):
    from defectune import predict

    done = predict(root / "runs" / "run", images, tmp_path / "out", progress=False)
    assert done.first_rows(2) == list(done.rows[:2])
    assert (done.n_images, done.n_failed) == (3, 0)
    assert done.n_defective == sum(row["verdict"] == "defective" for row in done.rows)


def test_a_video_is_refused_before_a_model_is_opened(tmp_path, monkeypatch):
    (tmp_path / "line.MP4").write_bytes(b"x")
    opened = []
    monkeypatch.setattr(
        "defectune.library.predicting.open_model", lambda *_a, **_k: opened.append(1)
    )
    with pytest.raises(InputError, match=r"line\.MP4 is a video.*ffmpeg"):
        dt.predict("run", tmp_path / "line.MP4", tmp_path / "out", progress=False)
    assert not opened
    assert not (tmp_path / "out").exists()


def test_unlabelled_images_of_a_dataset_are_ranked_for_labelling(root, images, tmp_path):
    dataset = tmp_path / "dataset"
    shutil.copytree(root, dataset, symlinks=True)
    run = dataset / "runs" / "run"
    call = ("predict", run, dataset, "--output", tmp_path / "verdicts")
    refused = invoke(*call)
    assert refused.exit_code == 1
    assert "without unlabelled images" in str(refused.exception)
    for seed, name in enumerate(("a.png", "b.JPG", "sub/deep/a.bmp")):
        pixels = np.random.default_rng(seed).integers(0, 80 * (seed + 1), (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(images / name)
    updated = invoke("update", dataset, "--unlabelled", images)
    assert updated.exit_code == 0, updated.output
    assert "unlabelled images added: 3" in updated.output
    done = invoke(*call)
    assert done.exit_code == 0, done.output
    assert "label-first.csv lists what to label first" in done.output
    verdicts = {row["image"]: row for row in rows_of(tmp_path / "verdicts")}
    with (tmp_path / "verdicts" / "label-first.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    assert sorted(row["image_id"] for row in ranked) == ["a.png", "b.JPG", "sub/deep/a.bmp"]
    assert [row["rank"] for row in ranked] == ["1", "2", "3"]
    distances = [abs(float(row["image_score"]) - 0.5) for row in ranked]
    assert distances == sorted(distances)
    for row, distance in zip(ranked, distances, strict=True):
        assert row["distance"] == f"{distance:.6f}"
        for name in ("verdict", "image_score", "predicted_type"):
            assert row[name] == verdicts[row["image"]][name]
    # From Python, the dataset itself; and other images stay a call of their own.
    same = dt.predict(run, dt.load(dataset), tmp_path / "same", progress=False)
    assert same.rows == tuple(verdicts.values())
    together = invoke("predict", run, dataset, images, "--output", tmp_path / "both")
    assert together.exit_code == 2
    assert "predicted alone" in str(together.exception)
    # A folder of images is predicted as ever, and needs no such list.
    assert invoke("predict", run, images, "--output", tmp_path / "plain").exit_code == 0
    assert not (tmp_path / "plain" / "label-first.csv").exists()
