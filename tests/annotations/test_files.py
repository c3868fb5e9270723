"""Folders moved into place: what is written, what killed calls left, where the person stands."""

import os
import subprocess
import sys

import pytest

from annotations import InputError, OutputExistsError
from annotations.files import (
    _machine,
    folder_moved_into_place,
    own_folder,
    refuse_links_in,
    remove_dead_files,
    remove_tree,
    write_text_atomic,
)
from annotations.locks import hold_lock

HINT = "Choose another."


def make(target, text="whole"):
    with folder_moved_into_place(target, hint=HINT) as folder:
        (folder / "a.txt").write_text(text)
        (folder / "inner").mkdir()


def ended_process():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_call_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        make(tmp_path / "out", text=b"not text")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="processes are told apart by number on POSIX")
def test_what_a_killed_call_left_is_removed_by_the_next_and_nothing_else(tmp_path):
    dead = ended_process()
    kept = [
        f".other.{dead}-{_machine()}abcd.part",  # of another target
        f".out.{os.getpid()}-{_machine()}abcd.part",  # of a living process
        f".out.{dead}-{_machine()[::-1]}x00.part",  # of another machine
        ".out.mine.part",
        "out.part",
    ]
    for name in [*kept, f".out.{dead}-{_machine()}abcd.part", f".out.{dead}-{_machine()}89ef.part"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("half")
    make(tmp_path / "out")
    assert names(tmp_path) == sorted([*kept, "out"])
    assert names(tmp_path / "out") == ["a.txt", "inner"]


@pytest.mark.skipif(os.name != "posix", reason="as above")
def test_a_folder_that_is_locked_by_another_machine_stays(tmp_path):
    left = tmp_path / f".out.{ended_process()}-{_machine()}abcd.part"
    left.mkdir()
    with hold_lock(left / ".lock", lambda who: OutputExistsError(who)):
        make(tmp_path / "out")
        assert names(tmp_path) == [left.name, "out"]


def test_the_folder_in_which_the_person_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / ".")
    assert names(tmp_path) == ["a.txt", "inner"]
    with pytest.raises(OutputExistsError, match="not empty"):
        make(tmp_path / ".")


def test_a_link_to_an_empty_folder_is_followed(tmp_path):
    (tmp_path / "disk" / "empty").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "empty")
    make(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk" / "empty") == ["a.txt", "inner"]


def test_a_name_without_room_for_a_temporary_one_is_refused(tmp_path):
    make(tmp_path / ("x" * 200))
    with pytest.raises(InputError, match="is too long"):
        make(tmp_path / ("x" * 250))


@pytest.mark.skipif(os.name != "posix", reason="as above")
def test_files_that_kills_left_are_removed_where_a_command_owns_the_folder(tmp_path):
    dead = ended_process()
    mine = tmp_path / f".a.json.{os.getpid()}-{_machine()}abcd.part"
    for path in (tmp_path / f".a.json.{dead}-{_machine()}abcd.part", mine, tmp_path / "b.part"):
        path.write_text("half")
    remove_dead_files(tmp_path)
    write_text_atomic(tmp_path / "a.json", "{}")
    assert names(tmp_path) == sorted(["a.json", "b.part", mine.name])


def test_a_link_in_place_of_our_own_folder_is_refused(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "photo.png").write_text("mine")
    link = tmp_path / "root" / "link"
    link.parent.mkdir()
    link.symlink_to(kept)
    for refused in (
        lambda: remove_tree(link),
        lambda: own_folder(link.parent, "link", "inner"),
        lambda: refuse_links_in(link.parent),
        lambda: refuse_links_in(link),
    ):
        with pytest.raises(InputError, match=r"link is a link, .* nothing was done"):
            refused()
    assert names(kept) == ["photo.png"]
    refuse_links_in(tmp_path, passed=[link.parent])
    remove_tree(link.parent)
    assert names(tmp_path) == ["kept"]
    assert names(kept) == ["photo.png"]
    remove_tree(link.parent)


def test_a_lock_empties_nothing_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="is a link"), hold_lock(tmp_path / ".lock", InputError):
        pass
    assert (tmp_path / "mine").read_text() == "text"
