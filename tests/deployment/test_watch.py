"""A watch predicts every new file once, waits for half-written ones, and survives a kill."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import defectune as dt
from annotations import InputError, OutputExistsError, load_dataset, write_png
from annotations.images import encode_png
from annotations.locks import LOCK_FILE, hold_lock
from classify import ClassifyConfig, train_classifier
from deployment import open_bundle, seen, watching
from deployment.seen import FolderView, Memory, facts_of
from deployment.watching import VERDICTS_FILE, WatchOptions, watch
from tests.drawn import drawn_dataset
from training import SilentReporter

ONCE = WatchOptions(interval_s=0.02, patience_s=0.1, once=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    root = drawn_dataset(tmp_path_factory.mktemp("drawn"))
    config = ClassifyConfig(
        method="autoencoder", image_size=32, epochs=1, weights="none", device="cpu"
    )
    run = train_classifier(
        load_dataset(root), config, name="r", folds=[0], reporter=SilentReporter()
    )
    return dt.bundle(run, root / "r.bundle", progress=False).path


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "incoming"
    for number in range(4):
        write_png(place / f"{number}.png", picture(number))
    return place


def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)


def rows_of(output):
    return [json.loads(line) for line in (output / VERDICTS_FILE).read_text().splitlines()]


def test_every_file_gets_one_line(path, folder, tmp_path):
    bundle, output = open_bundle(path), tmp_path / "out"
    (folder / "notes.txt").write_text("x")
    assert watch(bundle, folder, output, ONCE) == 4
    assert watch(bundle, folder, output, ONCE) == 0
    write_png(folder / "sub" / "new.png", picture(9))
    write_png(folder / "0.png", picture(10))
    assert watch(bundle, folder, output, ONCE) == 2
    rows = rows_of(output)
    assert [row["file"] for row in rows] == [
        "0.png", "1.png", "2.png", "3.png", "0.png", "sub/new.png",
    ]  # fmt: skip
    for row in rows:
        assert row["bundle"] == bundle.digest
        assert row["threshold"] == 0.5
        assert row["verdict"] == ("defective" if row["score"] >= 0.5 else "good")
        assert len(row["image_sha256"]) == 64
    assert rows[1]["score"] == bundle.predict(folder / "1.png").score


def test_a_half_written_file_is_waited_for_and_a_broken_one_is_a_row(path, folder, tmp_path):
    whole = encode_png(picture(5))
    late = folder / "late.png"
    late.write_bytes(whole[: len(whole) // 2])
    bundle, output, seen = open_bundle(path), tmp_path / "out", []

    def on_row(row):
        seen.append(row["file"])
        if row["file"] == "3.png":
            late.write_bytes(whole)

    patient = WatchOptions(interval_s=0.02, patience_s=30, once=True)
    assert watch(bundle, folder, output, patient, on_row=on_row) == 5
    assert seen[-1] == "late.png"
    assert rows_of(output)[-1]["error"] is None
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    assert watch(bundle, folder, output, ONCE) == 1
    last = rows_of(output)[-1]
    assert (last["verdict"], last["score"]) == (None, None)
    assert "broken.png" in last["error"]


def test_a_line_that_a_kill_left_half_is_predicted_again(path, folder, tmp_path):
    bundle, output = open_bundle(path), tmp_path / "out"
    watch(bundle, folder, output, ONCE)
    file = output / VERDICTS_FILE
    data = file.read_bytes()
    file.write_bytes(data[:-20])
    assert watch(bundle, folder, output, ONCE) == 1
    assert sorted(row["file"] for row in rows_of(output)) == [f"{n}.png" for n in range(4)]


def test_a_killed_watch_loses_none_and_predicts_none_twice(path, folder, tmp_path, repo_root):
    for number in range(4, 60):
        write_png(folder / f"{number}.png", picture(number))
    output = tmp_path / "out"
    command = [
        sys.executable, "-m", "defectune", "watch", str(path), str(folder), "--output",
        str(output), "--interval", "0.02", "--once",
    ]  # fmt: skip
    for wanted in (5, 25):
        process = subprocess.Popen(command, cwd=repo_root, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            file = output / VERDICTS_FILE
            if file.is_file() and file.read_bytes().count(b"\n") >= wanted:
                break
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    watch(open_bundle(path), folder, output, ONCE)
    names = [row["file"] for row in rows_of(output)]
    assert len(names) == len(set(names)) == 60


def test_bad_places(path, folder, tmp_path):
    bundle = open_bundle(path)
    with pytest.raises(InputError, match="no folder"):
        watch(bundle, tmp_path / "none", tmp_path / "out", ONCE)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    with (
        hold_lock(out / LOCK_FILE, lambda who: InputError(who)),
        pytest.raises(OutputExistsError, match="Another watch"),
    ):
        watch(bundle, folder, out, ONCE)
    (out / VERDICTS_FILE).write_text("nonsense\n")
    with pytest.raises(InputError, match="is damaged"):
        watch(bundle, folder, out, ONCE)


def test_a_name_that_is_not_utf8_gets_a_line_and_gets_it_once(path, folder, tmp_path):
    odd = os.fsencode(folder) + b"/\xff.png"
    try:
        (folder / "0.png").rename(os.fsdecode(odd))
    except OSError:
        pytest.skip("this file system keeps no such name")
    (folder / "1.png").write_bytes(b"no image")
    bundle, output = open_bundle(path), tmp_path / "out"
    assert watch(bundle, folder, output, ONCE) == 4
    assert watch(bundle, folder, output, ONCE) == 0
    assert "\\udcff.png" in {row["file"] for row in rows_of(output)}


def test_verdicts_that_are_removed_meanwhile_end_the_watch(path, folder, tmp_path):
    output = tmp_path / "out"
    told = []

    def tell(row):
        told.append(row)
        (output / VERDICTS_FILE).unlink(missing_ok=True)

    with pytest.raises(InputError, match="was removed or replaced"):
        watch(open_bundle(path), folder, output, ONCE, on_row=tell)
    assert len(told) == 1
    assert watch(open_bundle(path), folder, output, ONCE) == 4


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 2, 3)])
def test_the_smallest_images_get_a_verdict(path, tmp_path, shape):
    write_png(tmp_path / "in" / "small.png", np.full(shape, 90, np.uint8))
    output = tmp_path / "out"
    assert watch(open_bundle(path), tmp_path / "in", output, ONCE) == 1
    assert rows_of(output)[0]["error"] is None


def test_an_output_that_holds_the_watched_folder_is_refused(path, folder, tmp_path):
    for output in (folder, tmp_path, folder / ".." / "incoming"):
        with pytest.raises(InputError, match="nothing would be judged"):
            watch(open_bundle(path), folder, output, ONCE)
    assert watch(open_bundle(path), folder, folder / "verdicts", ONCE) == 4
    assert watch(open_bundle(path), folder, folder / "verdicts", ONCE) == 0


@pytest.mark.parametrize("write", [shutil.copyfile, shutil.copy2, os.replace])
def test_new_content_of_the_same_size_and_time_is_seen(path, folder, tmp_path, write):
    bundle, output = open_bundle(path), tmp_path / "out"
    latest, other = folder / "latest.bmp", tmp_path / "other.bmp"
    for number, place in enumerate((latest, other)):
        place.write_bytes(encode_bmp(picture(20 + number)))
        os.utime(place, ns=(10**18, 10**18))
    assert watch(bundle, folder, output, ONCE) == 5
    assert watch(bundle, folder, output, ONCE) == 0
    write(other, latest)
    os.utime(latest, ns=(10**18, 10**18))
    assert watch(bundle, folder, output, ONCE) == 1
    rows = [row for row in rows_of(output) if row["file"] == "latest.bmp"]
    assert len({row["image_sha256"] for row in rows}) == 2
    assert len({(row["bytes"], row["mtime_ns"]) for row in rows}) == 1


def encode_bmp(image):
    done, data = cv2.imencode(".bmp", image)
    assert done
    return data.tobytes()


def test_a_file_that_was_only_moved_or_touched_gets_no_second_line(path, folder, tmp_path):
    bundle, output = open_bundle(path), tmp_path / "out"
    assert watch(bundle, folder, output, ONCE) == 4
    (folder / "0.png").chmod(0o600)
    kept = tmp_path / "kept.png"
    shutil.copy2(folder / "1.png", kept)
    (folder / "1.png").unlink()
    shutil.copy2(kept, folder / "1.png")
    assert watch(bundle, folder, output, ONCE) == 0


def test_lines_of_an_earlier_version_count(path, folder, tmp_path):
    bundle, output = open_bundle(path), tmp_path / "out"
    watch(bundle, folder, output, ONCE)
    rows = [
        {k: v for k, v in row.items() if k not in ("inode", "ctime_ns")} for row in rows_of(output)
    ]
    (output / VERDICTS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert watch(bundle, folder, output, ONCE) == 0


def damaged_tiff():
    """A TIFF whose second directory says no size: Pillow raises TypeError where it counts pages."""
    buffer = io.BytesIO()
    Image.fromarray(picture(1)).save(buffer, "tiff")
    data = bytearray(buffer.getvalue())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, len(data))
    return bytes(data) + struct.pack("<HHHIII", 1, 274, 3, 1, 1, 0)


def test_one_file_never_ends_the_watch(path, folder, tmp_path, monkeypatch):
    (folder / "0a.tif").write_bytes(damaged_tiff())
    honest = watching.read_image_rgb

    def stumbling(image, **options):
        if image.name == "2.png":
            raise ZeroDivisionError("of a decoder")
        return honest(image, **options)

    monkeypatch.setattr(watching, "read_image_rgb", stumbling)
    output = tmp_path / "out"
    assert watch(open_bundle(path), folder, output, ONCE) == 5
    errors = {row["file"]: row["error"] for row in rows_of(output) if row["error"]}
    assert sorted(errors) == ["0a.tif", "2.png"]
    assert "0a.tif" in errors["0a.tif"]
    assert "gets no verdict (ZeroDivisionError: of a decoder)" in errors["2.png"]


def test_folders_may_vanish_at_any_moment(path, folder, tmp_path, monkeypatch):
    for number in range(3):
        write_png(folder / f"day{number}" / "a" / "0.png", picture(number))
    scandir = os.scandir

    def removing(place):
        if isinstance(place, Path) and place.name == "day1":
            shutil.rmtree(place)
        return scandir(place)

    monkeypatch.setattr(seen.os, "scandir", removing)
    output = tmp_path / "out"
    assert watch(open_bundle(path), folder, output, ONCE) == 6
    assert {row["file"] for row in rows_of(output)} >= {"day0/a/0.png", "day2/a/0.png"}


def test_what_was_judged_costs_no_look_at_each_poll(tmp_path, monkeypatch):
    monkeypatch.setattr(seen, "AT_ONCE", 10)
    monkeypatch.setattr(seen, "_COARSE_NS", -1)
    for number in range(200):
        (tmp_path / f"{number:03d}.png").write_bytes(b"x")
    view = FolderView(tmp_path, tmp_path / "out")
    for name, _, facts in view.changed():
        view.settle(name, facts)
    looks = []
    monkeypatch.setattr(seen, "facts_of", lambda place: looks.append(place) or facts_of(place))
    assert list(view.changed()) == []
    assert len(looks) == 10
    # A new one is found at once, and one that was written to after 200 / 10 polls at the latest.
    (tmp_path / "new.png").write_bytes(b"x")
    (tmp_path / "150.png").write_bytes(b"longer")
    found = [{name for name, _, _ in view.changed()} for _ in range(20)]
    assert all("new.png" in names for names in found)
    assert any("150.png" in names for names in found)


def line_of(name):
    return {
        "file": name,
        "bytes": 1,
        "mtime_ns": 2,
        "ctime_ns": 3,
        "inode": 4,
        "image_sha256": None,
    }


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(seen, "MOST_REMEMBERED", 100)
    memory = Memory(lambda name: name.startswith("here"))
    for number in range(50):
        memory.add(line_of(f"here{number}"))
    for number in range(5000):
        memory.add(line_of(f"gone{number}"))
    assert len(memory) <= 111
    facts = seen.Facts(1, 2, 3, 4)
    assert all(memory.knows(f"here{n}", facts, lambda: "") for n in range(50))
    assert memory.knows("gone4999", facts, lambda: "")
    assert not memory.knows("gone0", facts, lambda: "")
