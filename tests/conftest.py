"""What holds for every test: nothing is fetched, and nothing is left in the user's folders."""

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return Path(__file__).resolve().parents[1]
