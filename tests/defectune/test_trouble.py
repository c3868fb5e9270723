"""Full disks, missing rights, odd files: one clear paragraph, and nothing half-written."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from annotations import DefectuneError, load_dataset
from converters import convert
from converters.synthetic import draw_category
from tests.drawn import SMALL, drawn_dataset

NAMESPACE = ["unshare", "--net", "--map-root-user"]


def call(*arguments, cwd, before=()):
    return subprocess.run(
        [*before, sys.executable, "-m", "defectune", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1"},
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
    trained = call(
        "train", "classify", root, "--weights", "none", "--device", "cpu", "--image-size", "64",
        cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    for sample in load_dataset(root).samples:
        sample.image_path.unlink()
    done = call("report", root, cwd=tmp_path)
    assert done.returncode == 1
    assert "None of the" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_needs_a_network(tmp_path):
    probe = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False) if shutil.which(
        NAMESPACE[0]
    ) else None  # fmt: skip
    if probe is None or probe.returncode:
        pytest.skip("no network namespaces on this system")
    source = draw_category(tmp_path / "source", SMALL)
    root = tmp_path / "out"
    small = ("--weights", "none", "--device", "cpu", "--image-size", "64", "--epochs", "1")
    for arguments in (
        ("convert", source, root, "--folds", "2"),
        ("train", "classify", root, "--name", "base", *small),
        ("evaluate", root),
        ("report", root),
        ("predict", root / "runs" / "base", source / "test", "--output", tmp_path / "new"),
        ("check", root, "--no-reshots"),
        ("export", root, tmp_path / "coco"),
    ):
        done = call(*arguments, cwd=tmp_path, before=NAMESPACE)
        assert done.returncode == 0, (arguments, done.stderr)
