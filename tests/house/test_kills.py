"""Commands killed at a file operation and called again; benchmarks/kills.py has all of them."""

import signal

import pytest

from benchmarks.kills import COMMANDS, measure


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("name", ["convert", "export"])
def test_killed_and_called_again_the_files_are_the_same(tmp_path, name):
    result = measure(tmp_path / "work", COMMANDS[name], 3, lambda _: None)
    assert result["faults"] == []
    assert result["differs undisturbed"] == []
    assert result["same"] == result["kills"] >= 3
