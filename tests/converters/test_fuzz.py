"""A few hundred rounds of broken input (benchmarks/fuzz.py has the thousands), and a kill."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.fuzz import run
from converters.synthetic import SyntheticConfig, draw_category


@pytest.mark.filterwarnings("ignore")
def test_broken_input_is_converted_or_refused():
    ends, wrong = run(400, 1_000_000, print)
    assert wrong == []
    assert sum(ends.values()) == 400
    assert ends["converted"] > 10
    assert ends["InputError"] > 100


CONVERT = """
import sys
from pathlib import Path
from converters import ConvertOptions, convert
convert(Path(sys.argv[1]), Path(sys.argv[2]), ConvertOptions(folds=2),
        progress=lambda done, total: print(done, flush=True))
"""


def digest(folder):
    """Content of every file, by name; links by where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_killed_and_run_again_the_result_is_the_same(tmp_path, delay, repo_root: Path):
    config = SyntheticConfig(n_train_good=30, n_test_good=6, n_per_type=8, image_hw=(64, 64))
    source = draw_category(tmp_path / "source", config)
    command = [sys.executable, "-c", CONVERT, str(source), str(tmp_path / "out")]
    undisturbed = [*command[:-1], str(tmp_path / "calm")]
    subprocess.run(undisturbed, cwd=repo_root, check=True, capture_output=True)
    process = subprocess.Popen(command, cwd=repo_root, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.kill()
    process.wait()
    process.stdout.close()
    if not (tmp_path / "out").exists():
        subprocess.run(command, cwd=repo_root, check=True, capture_output=True)
    assert digest(tmp_path / "out") == digest(tmp_path / "calm")
