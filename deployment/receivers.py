"""Where verdicts are handed to: a webhook, or an MQTT broker."""

import base64
import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from annotations.errors import UsageError, install_extra, shortened
from deployment.deadline import Deadline

TIMEOUT_S: Final = 10.0
DEADLINE_S: Final = 20.0
"""For one delivery in all, however often the receiver sends a byte."""
_NOT_THE_VERDICTS: Final = frozenset({401, 403, 404, 407, 408, 425, 429})
"""Of the statuses 400 to 499, those that speak of the address, the credentials or the moment."""
MQTT_PORT: Final = 1883
MQTTS_PORT: Final = 8883
TOPIC: Final = "defectune/verdicts"
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
            words = late if self._deadline.is_over else error_words(error)
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
            raise DeliveryError(f"{self.name}: {error_words(error)}") from error
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


def error_words(error: Exception) -> str:
    """What an error says, or the name of one that says nothing."""
    return shortened(error) or type(error).__name__


def _without_credentials(parts: SplitResult) -> str:
    """The address without user, password, query and fragment: these hold secrets."""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
