"""What was skipped is said at the end of the tests, and fails them on a build server."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import BROWSER_TESTS, remedy

SKIPPED = """
import pytest

@pytest.mark.skipif(True, reason="no chromium on this machine")
@pytest.mark.parametrize("n", [1, 2])
def test_page(n):
    pass

def test_else():
    pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("ci", "status"), [("", 0), ("false", 0), ("true", 1)])
def test_a_skipped_browser_test_is_said_and_fails_a_build_server(
    repo_root, tmp_path, ci, status, workers
):
    place = tmp_path / BROWSER_TESTS
    place.parent.mkdir(parents=True)
    place.write_text(SKIPPED)
    shutil.copy(repo_root / "tests" / "conftest.py", tmp_path / "tests" / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider", BROWSER_TESTS],
        cwd=tmp_path,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    line = f"2 of {BROWSER_TESTS}: no chromium on this machine -> apt-get install chromium"
    assert line in done.stdout
    assert ("FAILED: CI is set" in done.stdout) == bool(status)


def test_a_reason_that_nobody_can_mend_has_no_remedy():
    assert remedy("could not import 'datumaro': No module") == "uv sync --frozen --group peers"
    assert remedy("no SIGKILL on this system") == ""
