"""Full disks, missing rights, odd files: one clear paragraph, and nothing half-written."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import defectune as dt
from annotations import (
    DefectuneError,
    load_dataset,
    read_image_rgb,
    read_predictions,
    write_png,
)
from converters import ConvertOptions, convert
from converters.synthetic import draw_category
from tests.drawn import SMALL, drawn_dataset

NAMESPACE = ["unshare", "--net", "--map-root-user"]


def call(*arguments, cwd, before=(), environment=None, without=()):
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [*before, sys.executable, "-m", "defectune", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
        env={
            **kept, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1",
            **(environment or {}),
        },
    )  # fmt: skip


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    source = draw_category(tmp_path / "source", SMALL)
    write, count = Path.write_bytes, 0

    def full(self, data):
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        convert(source, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_a_folder_without_rights_is_named(tmp_path):
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    source = draw_category(tmp_path / "source", SMALL)
    (tmp_path / "closed").mkdir(mode=0o500)
    done = call("convert", source, tmp_path / "closed" / "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "closed" in done.stderr


def test_an_output_under_a_file_is_one_paragraph(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    (tmp_path / "file").write_text("mine")
    done = call("convert", source, tmp_path / "file" / "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_in_place_of_an_image_does_not_hang(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    os.mkfifo(source / "train" / "good" / "x.png")
    os.mkfifo(source / "ground_truth" / "broken_large" / "x_mask.png")
    report = convert(source, tmp_path / "out")
    assert sum(report.n_images.values()) == 22


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    first = source / "train" / "good" / "000.png"
    shutil.copyfile(first, first.with_name("a.png"))
    shutil.copyfile(source / "train" / "good" / "001.png", first.with_name("A.png"))
    with pytest.raises(DefectuneError, match="ignores case"):
        convert(source, tmp_path / "out")


def test_a_name_that_is_not_utf8_is_one_paragraph(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    odd = os.fsencode(source / "train" / "good") + b"/\xff.png"
    try:
        Path(os.fsdecode(odd)).write_bytes((source / "train/good/000.png").read_bytes())
    except OSError:
        pytest.skip("this file system keeps no such name")
    with pytest.raises(DefectuneError, match="not UTF-8"):
        convert(source, tmp_path / "out")


def test_a_terminal_of_ascii_gets_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    source = draw_category(tmp_path / "source", SMALL)
    done = call("convert", source, tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "split digest" in done.stdout


def test_the_folder_in_which_the_person_stands_can_be_the_output(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    (tmp_path / "here").mkdir()
    done = call("convert", source, ".", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert len(load_dataset(tmp_path / "here").samples) == 22


def test_deleted_pictures_are_an_error_of_the_report(tmp_path):
    root = drawn_dataset(tmp_path)
    dt.train(
        root, "classify", weights="none", device="cpu", image_size=64, name="base", progress=False
    )
    dt.evaluate(root, progress=False)
    for sample in load_dataset(root).samples:
        sample.image_path.unlink()
    with pytest.raises(DefectuneError, match="None of the 16 test images"):
        dt.report(root, progress=False)


def namespace():
    """What runs a command without any network, where the system can."""
    if shutil.which(NAMESPACE[0]) is None:
        return []
    probe = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return NAMESPACE if probe.returncode == 0 else []


def test_no_command_needs_a_network_or_writes_outside_of_its_output_and_the_cache(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    environment = {"HOME": str(home), "USERPROFILE": str(home)}
    names = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DEFECTUNE_WEIGHTS", "MPLCONFIGDIR")
    small = ("--weights", "none", "--device", "cpu", "--image-size", "64")
    root = tmp_path / "out"
    said = ""
    for arguments in (
        ("convert", source, root, "--folds", "2"),
        (
            "train",
            "detect",
            root,
            "--recipe",
            "fast",
            "--fold",
            "0",
            "--name",
            "yolo",
            "--epochs",
            "1",
            *small,
        ),
        ("train", "classify", root, "--name", "base", *small),
        ("evaluate", root, "base"),
        ("report", root, "base"),
        ("predict", root / "runs" / "yolo", source / "test", "--output", tmp_path / "new"),
        ("check", root, "--no-reshots"),
        ("export", root, tmp_path / "coco"),
        ("doctor",),
    ):
        done = call(
            *arguments, cwd=here, before=namespace(), environment=environment, without=names
        )
        assert done.returncode == 0, (arguments, done.stderr)
        said = done.stdout
    assert "cache folder" in said
    assert list(here.iterdir()) == []
    assert [p.relative_to(home).as_posix() for p in home.iterdir()] == [".cache"]
    assert [p.name for p in (home / ".cache").iterdir()] == ["defectune"]
    assert {p.name for p in tmp_path.iterdir()} == {"source", "home", "here", "out", "new", "coco"}


def test_images_of_12_bits_are_predicted_as_they_were_learned(tmp_path):
    source = draw_category(tmp_path / "source", SMALL)
    for path in [*source.glob("train/*/*.png"), *source.glob("test/*/*.png")]:
        gray = read_image_rgb(path)[..., 0].astype(np.uint16)
        path.unlink()
        write_png(path.with_suffix(".png"), gray * 16)
    convert(source, tmp_path / "out", ConvertOptions(folds=2))
    dataset = load_dataset(tmp_path / "out")
    assert dataset.bit_depth == 12
    run = dt.train(
        dataset, "classify", weights="none", device="cpu", image_size=64, name="base",
        progress=False,
    )  # fmt: skip
    stored = read_predictions(tmp_path / "out" / "runs" / "base", dataset)
    image_id = dataset.split.folds[0].test[0]
    kind, _, stem = image_id.partition("/")
    verdict = run.predict(source / "test" / kind / f"{stem}.png")
    assert verdict.score == stored.image_scores[image_id]


def test_a_threshold_of_nobody_and_a_run_of_another_name(tmp_path):
    import defectune as dt
    from annotations import InputError, UsageError
    from defectune.runs import find_run
    from tests.drawn import drawn_dataset

    root = drawn_dataset(tmp_path)
    settings = {"method": "patch-memory", "model": "resnet18", "weights": "none", "image_size": 32}
    dt.train(root, "classify", name="segment-fast", device="cpu", progress=False, **settings)
    for option in ({"threshold": 0.3}, {"region_threshold": 0.3}):
        with pytest.raises(UsageError, match=r"threshold=?.* is of predictions made elsewhere"):
            dt.evaluate(root, progress=False, **option)
    for text in (root / "runs" / "segment", root / "segment"):
        with pytest.raises(InputError, match=r"runs in .*: segment-fast \(did you mean segment-fa"):
            find_run(text)
