"""Handing a watch's verdicts to other programs: a webhook, or an MQTT broker.

verdicts.jsonl is the outbox. Beside it stands, for every receiver, how far it has been delivered,
so that a receiver that is away gets everything once it is back, and a watch that was killed goes
on. A verdict is delivered at least once: a kill between a delivery and its note repeats that one,
and its `id` tells.
"""

import base64
import hashlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from annotations.errors import InputError, UsageError, install_extra, shortened
from annotations.files import read_json, write_json_atomic
from deployment.deadline import Deadline

TIMEOUT_S: Final = 10.0
DEADLINE_S: Final = 20.0
"""For one delivery in all, however often the receiver sends a byte."""
REFUSALS: Final = 5
"""Times that a receiver may refuse a verdict before it is put aside."""
_NOT_THE_VERDICTS: Final = frozenset({401, 403, 404, 407, 408, 425, 429})
"""Of the statuses 400 to 499, those that speak of the address, the credentials or the moment."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
MQTT_PORT: Final = 1883
MQTTS_PORT: Final = 8883
TOPIC: Final = "defectune/verdicts"
_POLL_S: Final = 0.2
_OF_ADDRESSES: Final = "%/:=&?~+!$,;'@()*[]"
"""Signs that an address keeps; others, such as umlauts, are sent as %XX."""


class DeliveryError(Exception):
    """A receiver did not take a verdict; it is tried again."""


class RefusedError(DeliveryError):
    """A receiver took the verdict for wrong, and will do so again."""


class Receiver(Protocol):
    """Where verdicts go.

    Attributes:
        name: without credentials, for messages and for the note of what was delivered.
    """

    name: str

    def send(self, payload: bytes) -> None:
        """Deliver one verdict, JSON in UTF-8.

        Raises:
            DeliveryError: it was not taken.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would follow a redirected POST by a GET without its body, and call that a success."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


class Webhook:
    """POSTs a verdict as `application/json`; any status of 200 to 299 takes it.

    A redirect is not followed: the verdict would not arrive, and the password might elsewhere.
    """

    def __init__(self, url: str) -> None:
        """Take http[s]://[USER:PASSWORD@]HOST[:PORT][/PATH]; user and password are sent as basic
        authentication.

        Raises:
            UsageError: not an http or https address.
        """
        parts = _split(url, ("http", "https"), "--webhook")
        self.name = _without_credentials(parts)
        plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        self._url = quote(plain, safe=_OF_ADDRESSES)
        self._deadline = Deadline()
        self._open = urllib.request.build_opener(_NoRedirect, *self._deadline.handlers()).open
        self._headers = {"Content-Type": "application/json", "User-Agent": "defectune"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def send(self, payload: bytes) -> None:
        """See `Receiver`."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            self._url, data=payload, headers=self._headers, method="POST"
        )
        self._deadline.begin(DEADLINE_S)
        try:
            with self._open(request, timeout=TIMEOUT_S):
                # An answer that was cut off reads like one that has ended.
                if self._deadline.is_over:
                    raise TimeoutError
        except urllib.error.HTTPError as error:
            error.close()
            moved = " (a redirect; give the address it leads to)" if 300 <= error.code < 400 else ""
            wrong = 400 <= error.code < 500 and error.code not in _NOT_THE_VERDICTS
            kind = RefusedError if wrong else DeliveryError
            raise kind(f"{self.name} answered {error.code}{moved}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            late = f"no answer within {DEADLINE_S:g} s in all"
            words = late if self._deadline.is_over else _words(error)
            raise DeliveryError(f"{self.name}: {words}") from error
        finally:
            self._deadline.end()

    def close(self) -> None:
        """See `Receiver`."""


class MqttBroker:
    """Publishes a verdict with quality of service 1: the broker says that it has it."""

    def __init__(self, url: str) -> None:
        """Take mqtt://[USER:PASSWORD@]HOST[:PORT][/TOPIC], or mqtts:// for TLS.

        Raises:
            UsageError: not such an address, or paho-mqtt is not installed.
        """
        parts = _split(url, ("mqtt", "mqtts"), "--mqtt")
        self._topic = unquote(parts.path.strip("/")) or TOPIC
        if any(sign in self._topic for sign in "+#\0"):
            raise UsageError(f"--mqtt: {self._topic!r} is no topic to publish to.")
        self._tls = parts.scheme == "mqtts"
        self._host = str(parts.hostname)
        self._port = parts.port or (MQTTS_PORT if self._tls else MQTT_PORT)
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self.name = _without_credentials(parts)
        self._client: Any = None
        try:
            import paho.mqtt.client as mqtt
        except ImportError as error:
            raise UsageError(
                "--mqtt needs paho-mqtt, which is not installed. "
                f"{install_extra('mqtt')}; for the runtime alone, `pip install paho-mqtt`."
            ) from error
        self._mqtt: Any = mqtt

    def send(self, payload: bytes) -> None:
        """See `Receiver`."""
        try:
            if self._client is None:
                self._connect()
            sent = self._client.publish(self._topic, payload, qos=1)
            sent.wait_for_publish(timeout=TIMEOUT_S)
            taken = sent.is_published()
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise DeliveryError(f"{self.name}: {_words(error)}") from error
        if not taken:
            # Or the client would send it beside the next try.
            self.close()
            raise DeliveryError(f"{self.name} did not say that it took the verdict")

    def _connect(self) -> None:
        client = self._mqtt.Client(self._mqtt.CallbackAPIVersion.VERSION2)
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._tls:
            client.tls_set()
        answered, answers = threading.Event(), []

        def on_connect(_client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
            answers.append(code)
            answered.set()

        client.on_connect = on_connect
        client.connect(self._host, self._port)
        client.loop_start()
        self._client = client
        if not answered.wait(TIMEOUT_S):
            self.close()
            raise DeliveryError(f"{self.name} does not answer as an MQTT broker")
        if answers[0].is_failure:
            self.close()
            raise DeliveryError(f"{self.name} refused the connection ({answers[0]})")

    def close(self) -> None:
        """See `Receiver`."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None


@dataclass(frozen=True, slots=True)
class _Note:
    """How many bytes of the outbox were delivered, and what the last line of them was."""

    path: Path

    def read(self, outbox: Path) -> int:
        if not self.path.is_file():
            return 0
        value = read_json(self.path, what="the note of what was delivered")
        if not isinstance(value, dict) or not _belongs(value, outbox):
            raise InputError(
                f"{self.path} does not belong to {outbox}. Remove it to deliver all verdicts again."
            )
        return int(value["delivered_bytes"])

    def write(self, receiver: str, done: int, line: bytes) -> None:
        last = hashlib.sha256(line).hexdigest()
        value = {"receiver": receiver, "delivered_bytes": done, "last_line_bytes": len(line)}
        write_json_atomic(self.path, value | {"last_line_sha256": last})


def _belongs(note: dict[str, Any], outbox: Path) -> bool:
    done, length = note.get("delivered_bytes"), note.get("last_line_bytes")
    if type(done) is not int or type(length) is not int or not 0 < length <= done:
        return False
    if not outbox.is_file() or outbox.stat().st_size < done:
        return False
    with outbox.open("rb") as file:
        file.seek(done - length)
        return hashlib.sha256(file.read(length)).hexdigest() == note.get("last_line_sha256")


class Handoff:
    """Delivers the lines of an outbox, in their order, in a thread of its own."""

    def __init__(
        self, outbox: Path, receiver: Receiver, *, say: Callable[[str], None] = lambda _text: None
    ) -> None:
        """Begin to deliver what is there and what comes.

        Args:
            outbox: verdicts.jsonl; may not be there yet.
            receiver: where the lines go.
            say: told when the receiver is away, and when it is back.

        Raises:
            InputError: the note beside the outbox belongs to another one.
        """
        digest = hashlib.sha256(receiver.name.encode()).hexdigest()[:8]
        self._note = _Note(outbox.with_name(f".delivered-{digest}.json"))
        self._outbox, self._receiver, self._say = outbox, receiver, say
        self._done = self._note.read(outbox)
        self._stop = threading.Event()
        self._aside = outbox.with_name(f"undelivered-{digest}.jsonl")
        self._refusals = self._n_aside = 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="handoff", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Verdicts that are not delivered yet."""
        if not self._outbox.is_file():
            return 0
        with self._outbox.open("rb") as file:
            file.seek(self._done)
            return sum(line.endswith(b"\n") for line in file)

    def stop(self) -> None:
        """Ask it to stop after the verdict that is being delivered; returns at once."""
        self._stop.set()

    def close(self, *, patience_s: float = 0.0) -> int:
        """Wait so long for the outbox to empty, then stop; the verdicts that are left, counted."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until and self._next_line() is not None:
            self._stop.wait(_POLL_S)
        self._stop.set()
        self._thread.join(timeout=2 * TIMEOUT_S)
        self._receiver.close()
        return self.waiting

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                if not self._deliver():
                    self._stop.wait(_POLL_S)
                    continue
            # The thread must not end: nothing would be delivered, and nobody be told.
            except (DeliveryError, OSError, ValueError, KeyError, TypeError) as error:
                before, self.problem = self.problem, _words(error)
                if before is None:
                    self._say(f"{self.problem}. Verdicts are kept, and delivered when it is back.")
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            if self.problem is not None:
                self._say(f"{self._receiver.name} is back.")
            self.problem, pause = None, FIRST_PAUSE_S

    def _deliver(self) -> bool:
        """Deliver the next line; False where there is none."""
        line = self._next_line()
        if line is None:
            if self._outbox.is_file() and self._outbox.stat().st_size < self._done:
                self._say(
                    f"{self._outbox} is shorter than what was delivered to {self._receiver.name}: "
                    "what it holds now is delivered from its first line."
                )
                self._done = 0
            return False
        try:
            self._receiver.send(_payload(line))
            self._n_aside = 0
        except RefusedError as error:
            self._refusals += 1
            if self._refusals < REFUSALS:
                raise
            self._put_aside(line, error)
        self._refusals = 0
        self._done += len(line)
        self._note.write(self._receiver.name, self._done, line)
        return True

    def _put_aside(self, line: bytes, error: RefusedError) -> None:
        """Keep a verdict that is refused again and again, and go on with the next one."""
        row = json.loads(_payload(line)) | {"refused": str(error), "receiver": self._receiver.name}
        with self._aside.open("ab") as file:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if not self._n_aside:
            # Once for a row of them.
            self._say(
                f"{shortened(error)}, {REFUSALS} times for {row['file']}: it takes the verdict for "
                f"wrong. Given up, and kept in {self._aside}; the next ones are delivered."
            )
        self._n_aside += 1

    def _next_line(self) -> bytes | None:
        if not self._outbox.is_file():
            return None
        with self._outbox.open("rb") as file:
            file.seek(self._done)
            line = file.readline()
        return line if line.endswith(b"\n") else None


def require_distinct(receivers: Sequence[Receiver]) -> None:
    """Refuse receivers with one name: they would share the note of what was delivered.

    Raises:
        UsageError: two addresses are equal, or differ in what is never stored.
    """
    names = [receiver.name for receiver in receivers]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"{shortened(name, 80)} is given twice. Addresses that differ only in user, "
                "password, ?query or #fragment count as one: give each a path of its own."
            )


def _payload(line: bytes) -> bytes:
    """A verdict with its id: the same for the same file as it was, under the same bundle."""
    row = json.loads(line)
    facts = [row["bundle"], row["file"], row["bytes"], row["mtime_ns"]]
    # Lines of earlier versions have neither, and keep their ids.
    facts += [row[key] for key in ("ctime_ns", "inode") if key in row]
    key = json.dumps(facts)
    row["id"] = hashlib.sha256(key.encode()).hexdigest()
    return json.dumps(row, ensure_ascii=False).encode()


def _split(url: str, schemes: tuple[str, ...], option: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{option} takes an address, got {shortened(url, 80)!r}.") from error
    if parts.scheme not in schemes or not parts.hostname:
        example = f"{schemes[0]}://HOST:PORT/PATH"
        raise UsageError(
            f"{option} takes {' or '.join(schemes)} addresses, such as {example}, got "
            f"{shortened(_without_credentials(parts), 80)!r}."
        )
    return parts


def _words(error: Exception) -> str:
    return shortened(error) or type(error).__name__


def _without_credentials(parts: SplitResult) -> str:
    """The address without user, password, query and fragment: these hold secrets."""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
