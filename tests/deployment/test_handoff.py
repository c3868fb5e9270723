"""Verdicts reach a webhook and a real MQTT broker, in order, whatever is away in between."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import defectune as dt
from annotations import InputError, UsageError, load_dataset, write_png
from classify import ClassifyConfig, train_classifier
from defectune.cli import app
from defectune.library import watching
from deployment import handoff, receivers
from deployment.handoff import Handoff
from deployment.receivers import DeliveryError, MqttBroker, Webhook
from tests.drawn import drawn_dataset
from tests.line import CliRunner
from training import SilentReporter


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr(handoff, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(handoff, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(handoff, "_POLL_S", 0.02)


class Server:
    """Takes POSTs; answers `status` as long as it is not None."""

    def __init__(self, port=0):
        self.bodies, self.status, self.delay_s = [], None, 0.0
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if ours.status is None:
                    assert self.headers["Content-Type"] == "application/json"
                    ours.bodies.append(json.loads(body))
                    ours.authorization = self.headers["Authorization"]
                time.sleep(ours.delay_s)
                self.send_response(ours.status or 204)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/verdicts"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def row(number):
    return {"file": f"{number}.png", "bytes": 5, "mtime_ns": number, "bundle": "b", "score": 0.5}


def append(outbox, *numbers):
    with outbox.open("a") as file:
        file.writelines(json.dumps(row(number)) + "\n" for number in numbers)


def wait_until(condition):
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("waited for nothing")


def files(bodies):
    return [body["file"] for body in bodies]


def test_lines_are_delivered_in_order_and_once(tmp_path, server):
    outbox = tmp_path / "verdicts.jsonl"
    for numbers in ([0, 1, 2], [3], []):
        append(outbox, *numbers)
        assert Handoff(outbox, Webhook(server.url)).close(patience_s=10) == 0
    assert files(server.bodies) == ["0.png", "1.png", "2.png", "3.png"]
    assert len({body["id"] for body in server.bodies}) == 4
    first = server.bodies[0]
    assert {k: v for k, v in first.items() if k != "id"} == row(0)


def test_a_line_that_is_not_whole_waits(tmp_path, server):
    outbox = tmp_path / "verdicts.jsonl"
    append(outbox, 0)
    with outbox.open("a") as file:
        file.write(json.dumps(row(1)))
    delivery = Handoff(outbox, Webhook(server.url))
    wait_until(lambda: delivery.waiting == 0)
    assert files(server.bodies) == ["0.png"]
    with outbox.open("a") as file:
        file.write("\n")
    assert delivery.close(patience_s=10) == 0
    assert files(server.bodies) == ["0.png", "1.png"]


def test_a_receiver_that_is_away_gets_everything_later(tmp_path, server):
    outbox, said = tmp_path / "verdicts.jsonl", []
    server.status = 503
    append(outbox, 0, 1)
    delivery = Handoff(outbox, Webhook(server.url), say=said.append)
    wait_until(lambda: delivery.problem is not None)
    assert delivery.close() == 2
    assert said == [f"{server.url} answered 503. Verdicts are kept, and delivered when it is back."]
    # In a later process, which at first finds nobody at all.
    port = server.port
    server.close()
    delivery = Handoff(outbox, Webhook(server.url), say=said.append)
    wait_until(lambda: delivery.problem is not None)
    again = Server(port)
    append(outbox, 2)
    assert delivery.close(patience_s=10) == 0
    assert files(again.bodies) == ["0.png", "1.png", "2.png"]
    assert said[-1] == f"{again.url} is back."
    again.close()
    server._server = again._server


def test_every_receiver_has_a_note_of_its_own(tmp_path, server):
    outbox = tmp_path / "verdicts.jsonl"
    append(outbox, 0)
    for path in ("a", "b"):
        url = server.url.replace("verdicts", path)
        assert Handoff(outbox, Webhook(url)).close(patience_s=10) == 0
    assert files(server.bodies) == ["0.png", "0.png"]
    assert len(list(tmp_path.glob(".delivered-*.json"))) == 2


@pytest.mark.parametrize("note", ['{"delivered_bytes": 9999}', '{"delivered_bytes": -1}', "[]"])
def test_a_note_of_another_outbox_is_refused(tmp_path, server, note):
    outbox = tmp_path / "verdicts.jsonl"
    append(outbox, 0)
    Handoff(outbox, Webhook(server.url)).close(patience_s=10)
    (path,) = tmp_path.glob(".delivered-*.json")
    path.write_text(note)
    with pytest.raises(InputError, match="does not belong"):
        Handoff(outbox, Webhook(server.url))


@pytest.mark.parametrize(
    ("make", "url"),
    [
        (Webhook, "file:///etc/passwd"),
        (Webhook, "ftp://host/x"),
        (Webhook, "nothing"),
        (Webhook, "http://host:99999/x"),
        (Webhook, "http://[broken"),
        (MqttBroker, "http://host"),
        (MqttBroker, "mqtt://host/a/+"),
        (MqttBroker, "mqtt:///topic"),
    ],
)
def test_other_addresses_are_refused(make, url):
    with pytest.raises(UsageError, match=r"--(webhook|mqtt)"):
        make(url)


def test_a_user_and_password_are_sent_as_basic_authentication(server):
    Webhook(server.url.replace("//", "//me:p%40ss@")).send(json.dumps(row(0)).encode())
    assert server.authorization == "Basic bWU6cEBzcw=="
    Webhook(server.url).send(json.dumps(row(0)).encode())
    assert server.authorization is None


def test_secrets_of_an_address_are_never_shown(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for make, url in (
        (Webhook, f"http://user:secret@127.0.0.1:{port}/x?token=secret"),
        (MqttBroker, f"mqtt://user:secret@127.0.0.1:{port}/x"),
    ):
        receiver = make(url)
        assert "secret" not in receiver.name
        with pytest.raises(DeliveryError) as error:
            receiver.send(b"{}")
        assert "secret" not in str(error.value)
    with pytest.raises(UsageError) as refused:
        Webhook("ftp://user:secret@host/x")
    assert "secret" not in str(refused.value)


@contextmanager
def broker(tmp_path, port, anonymous="true"):
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous {anonymous}\n")
    process = subprocess.Popen(
        ["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _answers(port))
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed")
def test_a_real_broker_gets_everything_though_it_was_away(tmp_path):
    mqtt = pytest.importorskip("paho.mqtt.client")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outbox, got, said = tmp_path / "verdicts.jsonl", [], []
    append(outbox, 0, 1)
    delivery = None
    for numbers, expected in (([], 2), ([2, 3], 4)):
        with broker(tmp_path, port):
            listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
            subscribed = threading.Event()
            listener.on_subscribe = lambda *_, event=subscribed: event.set()
            listener.on_message = lambda _c, _u, message: got.append(json.loads(message.payload))
            listener.connect("127.0.0.1", port)
            listener.subscribe("line/3", qos=1)
            listener.loop_start()
            assert subscribed.wait(20)
            append(outbox, *numbers)
            if delivery is None:
                delivery = Handoff(
                    outbox, MqttBroker(f"mqtt://127.0.0.1:{port}/line/3"), say=said.append
                )
            wait_until(lambda n=expected: len({body["id"] for body in got}) >= n)
            wait_until(lambda d=delivery: d.waiting == 0)
            listener.disconnect()
            listener.loop_stop()
    assert delivery.close() == 0
    kept = list(dict.fromkeys(files(got)))
    assert kept == ["0.png", "1.png", "2.png", "3.png"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    root = drawn_dataset(tmp_path_factory.mktemp("drawn"))
    config = ClassifyConfig(method="knn", model="resnet18", image_size=32, weights="none")
    run = train_classifier(
        load_dataset(root), config, name="r", folds=[0], reporter=SilentReporter()
    )
    return dt.bundle(run, root / "r.bundle", progress=False).path


def draw(folder, count):
    for number in range(count):
        write_png(folder / f"{number}.png", np.full((40, 40, 3), number, np.uint8))


def test_a_watch_that_is_killed_while_it_delivers_loses_none(tmp_path, server, bundle, repo_root):
    draw(tmp_path / "in", 12)
    server.delay_s = 0.1
    output = tmp_path / "out"
    call = [
        sys.executable, "-m", "defectune", "watch", str(bundle), str(tmp_path / "in"),
        "--output", str(output), "--interval", "0.02", "--once", "--webhook", server.url,
    ]  # fmt: skip
    for delivered in (2, 5):
        process = subprocess.Popen(call, cwd=repo_root, stdout=subprocess.DEVNULL)
        wait_until(lambda p=process, n=delivered: len(server.bodies) >= n or p.poll() is not None)
        assert process.poll() is None
        process.kill()
        process.wait(timeout=60)
    server.delay_s = 0
    done = subprocess.run(call, cwd=repo_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ids = {body["file"]: body["id"] for body in server.bodies}
    assert sorted(ids) == sorted(f"{n}.png" for n in range(12))
    # What was delivered twice, around a kill, has the same id both times.
    assert {body["id"] for body in server.bodies} == set(ids.values())
    written = [json.loads(x)["file"] for x in (output / "verdicts.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(files(server.bodies))) == written


def test_the_command_delivers_and_says_what_is_left(tmp_path, server, monkeypatch, bundle):
    draw(tmp_path / "in", 3)
    monkeypatch.setattr(watching, "HANDOFF_PATIENCE_S", 0.3)
    call = [
        "watch", str(bundle), str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--once",
        "--interval", "0.02", "--webhook", server.url,
    ]  # fmt: skip
    server.status = 500
    away = CliRunner().invoke(app, call)
    assert away.exit_code == 1
    assert "3 deliveries wait for the next watch" in away.output
    server.status = None
    monkeypatch.setattr(watching, "HANDOFF_PATIENCE_S", 30)
    back = CliRunner().invoke(app, call)
    assert back.exit_code == 0, back.output
    assert files(server.bodies) == ["0.png", "1.png", "2.png"]
    written = (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in written] == [b["score"] for b in server.bodies]


def answering(answer, count=1):
    """A server that reads a request, answers these bytes, and notes what it was asked."""
    asked, listener = [], socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(count):
            with listener.accept()[0] as one:
                asked.append(one.recv(65536))
                one.sendall(answer)
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/x", asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_no_verdict(server, status):
    answer = f"HTTP/1.1 {status} Moved\r\nLocation: {server.url}\r\nContent-Length: 0\r\n\r\n"
    url, asked = answering(answer.encode())
    with pytest.raises(DeliveryError, match=rf"answered {status} .*leads to"):
        Webhook(url).send(json.dumps(row(0)).encode())
    assert len(asked) == 1
    assert server.bodies == []


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"", b"HTTP/1.1 abc\r\n\r\n"])
def test_an_answer_that_is_no_http_is_tried_again(tmp_path, answer):
    outbox, said = tmp_path / "verdicts.jsonl", []
    append(outbox, 0)
    url, asked = answering(answer, count=2)
    delivery = Handoff(outbox, Webhook(url), say=said.append)
    wait_until(lambda: len(asked) == 2)
    assert delivery.close() == 1
    assert len(said) == 1
    assert said[0].startswith(url)


def test_an_address_with_umlauts_is_sent_quoted():
    url, asked = answering(b"HTTP/1.1 204 OK\r\n\r\n")
    Webhook(f"{url}/prüf?linie=süd%20#part").send(b"{}")
    assert asked[0].startswith(b"POST /x/pr%C3%BCf?linie=s%C3%BCd%20 HTTP")


def test_a_line_that_was_edited_is_told_and_waits(tmp_path, server):
    outbox, said = tmp_path / "verdicts.jsonl", []
    outbox.write_text("edited\n")
    delivery = Handoff(outbox, Webhook(server.url), say=said.append)
    wait_until(lambda: said)
    outbox.write_text("")
    append(outbox, 0)
    assert delivery.close(patience_s=20) == 0
    assert files(server.bodies) == ["0.png"]


def test_an_outbox_that_became_shorter_is_delivered_from_its_start(tmp_path, server):
    outbox, said = tmp_path / "verdicts.jsonl", []
    append(outbox, 0, 1, 2)
    delivery = Handoff(outbox, Webhook(server.url), say=said.append)
    wait_until(lambda: delivery.waiting == 0)
    outbox.write_text("")
    wait_until(lambda: said)
    append(outbox, 3)
    assert delivery.close(patience_s=20) == 0
    assert files(server.bodies) == ["0.png", "1.png", "2.png", "3.png"]
    assert "shorter" in said[0]


def test_another_outbox_of_the_same_size_is_refused(tmp_path, server):
    outbox = tmp_path / "verdicts.jsonl"
    append(outbox, 0, 1)
    Handoff(outbox, Webhook(server.url)).close(patience_s=10)
    outbox.unlink()
    append(outbox, 2, 3, 4)
    with pytest.raises(InputError, match="does not belong"):
        Handoff(outbox, Webhook(server.url))


def test_a_dead_receiver_stops_no_other(tmp_path, server):
    outbox = tmp_path / "verdicts.jsonl"
    append(outbox, 0, 1)
    url, _ = answering(b"HTTP/1.1 500 No\r\n\r\n")
    dead, alive = (Handoff(outbox, Webhook(one)) for one in (url, server.url))
    assert alive.close(patience_s=20) == 0
    assert dead.close() == 2
    assert files(server.bodies) == ["0.png", "1.png"]


def test_addresses_that_would_share_a_note_are_refused():
    first = Webhook("http://host/x?line=1")
    with pytest.raises(UsageError, match="given twice") as refused:
        receivers.require_distinct([first, Webhook("http://me:secret@host/x?line=2")])
    assert "secret" not in str(refused.value)
    receivers.require_distinct([first, Webhook("http://host/y")])


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed")
def test_a_broker_that_refuses_the_password_is_told_by_its_words(tmp_path):
    pytest.importorskip("paho.mqtt.client")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with broker(tmp_path, port, "false"):
        receiver = MqttBroker(f"mqtt://me:secret@127.0.0.1:{port}/x")
        with pytest.raises(
            DeliveryError, match=r"refused the connection .*[Nn]ot authori"
        ) as error:
            receiver.send(b"{}")
    assert "secret" not in str(error.value)


def test_a_verdict_that_is_always_refused_is_put_aside_with_a_word(tmp_path, server):
    outbox, said = tmp_path / "verdicts.jsonl", []
    append(outbox, 0, 1)
    server.status = 422
    delivery = Handoff(outbox, Webhook(server.url), say=said.append)
    wait_until(lambda: delivery.waiting == 0)
    server.status = None
    append(outbox, 2)
    assert delivery.close(patience_s=10) == 0
    assert files(server.bodies) == ["2.png"]
    (aside,) = tmp_path.glob("undelivered-*.jsonl")
    kept = [json.loads(line) for line in aside.read_text().splitlines()]
    assert files(kept) == ["0.png", "1.png"]
    assert {line["refused"] for line in kept} == {f"{server.url} answered 422"}
    assert len({line["id"] for line in kept}) == 2
    assert sum("Given up, and kept in" in text for text in said) == 1


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_verdict_is_kept_where_it_is_not_to_blame(tmp_path, server, status):
    outbox = tmp_path / "verdicts.jsonl"
    append(outbox, 0)
    server.status = status
    tries = []

    class Counting(Webhook):
        def send(self, payload):
            tries.append(payload)
            super().send(payload)

    delivery = Handoff(outbox, Counting(server.url))
    wait_until(lambda: len(tries) > 2 * handoff.REFUSALS)
    assert delivery.waiting == 1
    server.status = None
    assert delivery.close(patience_s=10) == 0
    assert not list(tmp_path.glob("undelivered-*"))


def test_a_receiver_that_drips_is_given_up_and_delays_no_other(tmp_path, server, monkeypatch):
    monkeypatch.setattr(receivers, "DEADLINE_S", 0.3)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as dripping:
        dripping.settimeout(0.05)

        def drip():
            while not ended.is_set():
                try:
                    connection, _ = dripping.accept()
                except TimeoutError:
                    continue
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                    while not ended.wait(0.02):
                        connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        outbox = tmp_path / "verdicts.jsonl"
        append(outbox, 0, 1)
        port = dripping.getsockname()[1]
        slow = Handoff(outbox, Webhook(f"http://127.0.0.1:{port}/x"))
        assert Handoff(outbox, Webhook(server.url)).close(patience_s=10) == 0
        wait_until(lambda: slow.problem is not None)
        assert "no answer within 0.3 s in all" in slow.problem
        assert slow.close() == 2
        ended.set()
        thread.join()
    assert files(server.bodies) == ["0.png", "1.png"]
