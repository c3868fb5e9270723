"""What holds for every test: nothing is fetched, and nothing is left in the user's folders.

And what was skipped is said at the end, with what it takes to have it.
"""

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# ultralytics, huggingface_hub and albumentations read these once, when they are imported; so they
# are set here, before any test module is collected, and not in a fixture.
_settings_folder = tempfile.mkdtemp(prefix="defectune-tests-")
atexit.register(shutil.rmtree, _settings_folder, ignore_errors=True)
os.environ.update(
    {
        "YOLO_CONFIG_DIR": _settings_folder,
        "YOLO_OFFLINE": "true",
        "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "MPLBACKEND": "Agg",
    }
)


# A deadline would be an assertion about how busy the machine is. The examples are the same in
# every run, here and on a build server: what passes before a push does not fail after it.
# New examples are searched for with `pytest --hypothesis-profile search`.
settings.register_profile("search", deadline=None, derandomize=False, print_blob=True)
settings.register_profile("defectune", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("defectune")


class NetworkRefusedError(ConnectionError):
    """A test tried to leave the machine.

    It is an OSError, because that is what a machine without a network raises: code under test
    then takes the path that it takes there.
    """


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", errors="replace")
    # getaddrinfo() takes None, and connect() an empty name, for this machine.
    if host is None or host in {"", "localhost", "localhost.localdomain"}:
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def refuse_network() -> Iterator[None]:
    """Let no test leave the machine, so that a result never hangs on a download."""
    real_connect = socket.socket.connect
    real_connect_ex = socket.socket.connect_ex
    real_getaddrinfo = socket.getaddrinfo

    def refuse_unless_local(host: object) -> None:
        if not _is_loopback(host):
            raise NetworkRefusedError(f"tests may not use the network, and this one asked {host!r}")

    def check_address(sock: socket.socket, address: Any) -> None:
        # Sockets between processes have a path for an address, and go nowhere else.
        if sock.family in {socket.AF_INET, socket.AF_INET6}:
            refuse_unless_local(address[0])

    def connect(self: socket.socket, address: Any) -> None:
        check_address(self, address)
        real_connect(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        check_address(self, address)
        return real_connect_ex(self, address)

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_unless_local(host)
        return real_getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect_ex)
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


# Words of a reason for skipping, and what a person does to have the test.
_REMEDIES = (
    ("chromium", "apt-get install chromium"),
    ("could not import", "uv sync --frozen --group peers"),
    ("root may write", "run the tests as another user than root"),
)
BROWSER_TESTS = "tests/report/test_browser.py"


def skipped_reasons(reports: list[Any]) -> Counter[tuple[str, str]]:
    """Count skipped tests by file and reason; a file skipped whole counts as one."""
    counted: Counter[tuple[str, str]] = Counter()
    for report in reports:
        words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        file = report.nodeid.partition("::")[0]
        counted[file, words.removeprefix("Skipped: ")] += 1
    return counted


def remedy(reason: str) -> str:
    """What to do to have a test that was skipped for this reason; empty if nothing is known."""
    found = (what for words, what in _REMEDIES if words in reason.casefold())
    return next(found, "")


def _is_build_server() -> bool:
    return os.environ.get("CI", "").casefold() not in ("", "0", "false")


def _reporter(config: pytest.Config) -> Any:
    return config.pluginmanager.get_plugin("terminalreporter")


def _browser_tests_skipped(config: pytest.Config) -> bool:
    reporter = _reporter(config)
    # Workers of pytest-xdist report to the first process, which alone decides.
    if reporter is None or hasattr(config, "workerinput"):
        return False
    counted = skipped_reasons(reporter.stats.get("skipped", []))
    return any(file == BROWSER_TESTS for file, _ in counted)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """On a build server a browser test that was skipped is a failure: it proves nothing."""
    if _is_build_server() and session.exitstatus == 0 and _browser_tests_skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was skipped and how to have it, below all else."""
    counted = skipped_reasons(terminalreporter.stats.get("skipped", []))
    if not counted:
        return
    terminalreporter.section("not tested here")
    for (file, reason), n in sorted(counted.items()):
        what = remedy(reason)
        terminalreporter.write_line(f"{n} of {file}: {reason}" + (f" -> {what}" if what else ""))
    if _is_build_server() and _browser_tests_skipped(config):
        terminalreporter.write_line(
            "FAILED: CI is set, and tests of the report in a browser were skipped.", red=True
        )


MARKS = {
    "browser": ("tests/report/test_browser.py", "tests/report/test_page_words.py"),
    "peers": (
        "tests/converters/test_peers.py",
        "tests/defectune/sweeps/",
        "tests/defectune/test_on_ray.py",
        "tests/detect/test_integrations.py",
        "tests/house/test_notebooks.py",
    ),
    "chain": (
        "tests/defectune/",
        "tests/deployment/",
        "tests/house/test_commands.py",
        "tests/house/test_docs",
        "tests/house/test_kills.py",
        "tests/report/test_one_fold.py",
    ),
    "slow": (
        "tests/detect/",
        "tests/families/",
        "tests/segment/",
        "tests/training/test_backbones.py",
        "tests/training/test_training.py",
    ),
}
"""What `scripts/test --fast` leaves out, by the beginning of a test's path: one table, so that a
new file in one of these folders is marked too."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: left out by `scripts/test --fast`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by where they stand."""
    for item in items:
        for mark, places in MARKS.items():
            if item.nodeid.startswith(places):
                item.add_marker(mark)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return Path(__file__).resolve().parents[1]
