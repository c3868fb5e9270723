"""A time limit for a whole exchange with a server."""

import contextlib
import http.client
import socket
import threading
import time
import urllib.request
from typing import Any, cast


class Deadline:
    """Ends the connections of one exchange after a time in all.

    A time limit of a socket begins anew with each byte, so that a server which sends one now and
    then would hold its client for ever.
    """

    def __init__(self) -> None:
        """Limit nothing yet."""
        self._until = 0.0
        self._ends: list[tuple[threading.Timer, socket.socket]] = []

    def begin(self, seconds: float) -> None:
        """Connections that are made from now on end then."""
        self._until = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() >= self._until

    def end(self) -> None:
        """The exchange is over."""
        for timer, handle in self._ends:
            timer.cancel()
            handle.close()
        self._ends.clear()

    def handlers(self) -> list[urllib.request.BaseHandler]:
        """What makes the connections of urllib end in time."""
        connect = self._connect

        def plain(host: str, **options: Any) -> http.client.HTTPConnection:
            made: Any = http.client.HTTPConnection(host, **options)
            made._create_connection = connect
            return cast(http.client.HTTPConnection, made)

        def secret(host: str, **options: Any) -> http.client.HTTPSConnection:
            made: Any = http.client.HTTPSConnection(host, **options)
            made._create_connection = connect
            return cast(http.client.HTTPSConnection, made)

        class Http(urllib.request.HTTPHandler):
            def http_open(self, request: urllib.request.Request) -> Any:
                return self.do_open(plain, request)

        class Https(urllib.request.HTTPSHandler):
            def https_open(self, request: urllib.request.Request) -> Any:
                return self.do_open(secret, request)

        return [Http(), Https()]

    def _connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """As `socket.create_connection`."""
        made = socket.create_connection(*arguments, **options)
        # A handle of its own: TLS takes the connection over, its handshake included.
        handle = made.dup()
        timer = threading.Timer(max(0.0, self._until - time.monotonic()), _shut, [handle])
        timer.daemon = True
        timer.start()
        self._ends.append((timer, handle))
        return made


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
