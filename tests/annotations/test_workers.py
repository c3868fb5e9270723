"""Processes that need no guard, and take nothing from the folder that the caller stands in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from annotations import InputError
from annotations import workers as home
from annotations.workers import Worker, WorkerEnded, can_start

HOME = Path(home.__file__).parents[1]


@pytest.fixture
def worker():
    made = Worker({"DEFECTUNE_TRIED": "yes"})
    yield made
    made.end()


class UnsendableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"only one of {one}, {two}")


def raises_unsendable():
    raise UnsendableError(1, 2)


def raises_input_error():
    raise InputError("What was found.")


def test_it_answers_one_call_after_another(worker):
    assert worker.call(divmod, 7, 2) == (3, 1)
    assert worker.call(os.getenv, "DEFECTUNE_TRIED") == "yes"
    pid = worker.call(os.getpid)
    assert pid == worker.call(os.getpid) != os.getpid()
    assert worker.call(len, b"x" * 3_000_000) == 3_000_000


def test_errors_arrive_with_the_place_where_they_arose(worker):
    with pytest.raises(InputError, match="What was found") as caught:
        worker.call(raises_input_error)
    assert str(caught.value) == "What was found."
    assert "raises_input_error" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="only one"):
        worker.call(raises_unsendable)
    with pytest.raises(TypeError, match="pickle"):
        worker.call(compile, "lambda: 0", "x", "eval")
    assert worker.call(abs, -1) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_worker_is_known(worker):
    with pytest.raises(WorkerEnded):
        worker.call(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(WorkerEnded):
        worker.call(abs, -1)


def test_a_frozen_program_has_none(monkeypatch):
    assert can_start()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not can_start()


SCRIPT = """
import os, time
from annotations.workers import Worker
print("begun", flush=True)
worker = Worker()
print(worker.call(os.getpid), flush=True)
if {kill}:
    os.kill(os.getpid(), 9)
worker.end()
"""


def python(folder, text, *, how="file", **more):
    command = [sys.executable, "script.py"] if how == "file" else [sys.executable, "-"]
    (folder / "script.py").write_text(text)
    return subprocess.run(
        command,
        cwd=folder,
        input=text if how == "stdin" else None,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HOME), **more},
    )


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_a_script_needs_no_guard(tmp_path, how):
    done = python(tmp_path, SCRIPT.format(kill=False), how=how)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "begun"
    assert len(done.stdout.splitlines()) == 2


def test_what_is_printed_or_asked_there_harms_nothing(tmp_path):
    text = (
        "from annotations.workers import Worker\n"
        "worker = Worker()\n"
        "worker.call(print, 'hello')\n"
        "try: worker.call(input, 'asked')\n"
        "except EOFError: print('not answered')\n"
        "print(worker.call(abs, -1))\n"
    )
    done = python(tmp_path, text)
    assert done.stdout == "not answered\n1\n"
    assert done.stderr.startswith("hello\n")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_worker_ends_with_the_process_that_started_it(tmp_path):
    done = python(tmp_path, SCRIPT.format(kill=True))
    pid = int(done.stdout.split()[-1])
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker goes on")


def test_modules_of_the_current_folder_are_not_run(tmp_path):
    for name in ("multiprocessing", "pickle", "random", "cv2", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('MARK', 'a').write(__name__)\n")
    text = (
        "import sys; sys.path.remove('')\n"
        "from converters.reading import read_one\n"
        "from annotations.workers import Worker\n"
        "sys.path.insert(0, '')\n"  # as an installed command may have it
        "import json\n"
        "worker = Worker()\n"
        "print(worker.call(json.loads, '[1]'))\n"
        "from converters.pool import read_chunk\n"
        "print(worker.call(read_chunk, [], None))\n"
    )
    done = python(tmp_path, text, how="stdin")
    assert (done.stdout, done.stderr) == ("[1]\n[]\n", "")
    assert not (tmp_path / "MARK").exists()
