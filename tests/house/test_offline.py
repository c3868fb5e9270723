"""The guard in conftest.py really stops a test from leaving the machine."""

import socket
import urllib.error
import urllib.request

import pytest

# Kept for documentation (RFC 5737): no machine answers there, should the guard ever fail.
ELSEWHERE = "192.0.2.1"


def test_a_connection_to_elsewhere_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ConnectionError, match="may not use the network"):
        sock.connect((ELSEWHERE, 80))


def test_a_name_is_not_looked_up() -> None:
    with pytest.raises(ConnectionError, match=r"example\.invalid"):
        socket.getaddrinfo("example.invalid", 443)


def test_a_download_meets_an_error_as_on_a_machine_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(urllib.error.URLError, match="may not use the network"):
        urllib.request.urlopen(f"http://{ELSEWHERE}/weights.pt", timeout=1)


def test_this_machine_may_be_called() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
