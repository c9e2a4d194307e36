"""Real sockets against uvicorn with our protocol; deadlines are generous, only the order of things is asserted."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from tenshot.serving.endpoints.connections import patient

SOON, NEVER = 0.3, 600.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    def __init__(self, body=b"fine"):
        self.body = body
        self.hold = threading.Event()
        self.hold.set()
        self.entered = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.entered += 1
        while not self.hold.is_set():
            await asyncio.sleep(0.01)
        headers = [(b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@contextmanager
def serving(app, timeout_s=SOON, most=100):
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=patient(timeout_s, most), lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], server
    finally:
        server.should_exit = True
        thread.join(20)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def rest(connection):
    """Everything up to its end."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found


def until(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_one_that_says_nothing_is_ended():
    with serving(App()) as (port, _), connect(port) as silent:
        assert rest(silent) == b""


def test_headers_that_never_end_are_answered_408():
    with serving(App()) as (port, _), connect(port) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        answer = rest(slow)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "HeadersTooSlow"


def test_a_byte_now_and_then_does_not_help():
    with serving(App()) as (port, _), connect(port) as slow:
        stop = threading.Event()

        def drip():
            while not stop.wait(0.02):
                try:
                    slow.sendall(b"GET / HTTP/1.1\r\n" if not sent else b"x: y\r\n")
                    sent.append(1)
                except OSError:
                    return

        sent = []
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        answer = rest(slow)
        stop.set()
        thread.join(20)
        assert answer.startswith(b"HTTP/1.1 408 ") or not answer, "an end with bytes on the way may be a reset"


def test_a_body_that_nobody_wants_is_not_awaited_for_ever():
    with serving(App()) as (port, _), connect(port) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbeginning")
        assert rest(slow).startswith(b"HTTP/1.1 200 ")


def test_one_that_does_not_read_is_cut():
    with serving(App(b"x" * 50_000_000)) as (port, server), connect(port) as deaf:
        deaf.sendall(GET)
        until(lambda: len(server.server_state.connections) == 0 and server.server_state.total_requests >= 0, "cut")
        assert len(rest(deaf)) < 50_000_000


def test_a_request_that_takes_its_time_is_not_hurried():
    app = App()
    app.hold.clear()
    with serving(app, 0.1) as (port, _), connect(port) as patient_one:
        patient_one.sendall(GET)
        until(lambda: app.entered == 1, "in the application")
        with connect(port) as silent:
            assert rest(silent) == b"", "by now the other one has waited longer"
        app.hold.set()
        assert patient_one.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_several_requests_on_one_connection():
    with serving(App(), NEVER) as (port, _), connect(port) as one:
        for _ in range(3):
            one.sendall(GET)
            found = b""
            while not found.endswith(b"fine"):
                found += one.recv(65536)
        one.sendall(GET + GET)  # pipelined
        found = b""
        while found.count(b"fine") < 2:
            found += one.recv(65536)


def test_for_one_too_many_the_longest_idle_one_goes(monkeypatch):
    monkeypatch.setattr("tenshot.serving.endpoints.connections.YOUNG_S", 0.0)
    with serving(App(), NEVER, most=2) as (port, server), connect(port) as first:
        until(lambda: len(server.server_state.connections) == 1, "the first")
        with connect(port) as second:
            until(lambda: len(server.server_state.connections) == 2, "the second")
            with connect(port) as third:
                assert rest(first) == b""
                for one in (second, third):
                    one.sendall(GET)
                    assert one.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_where_all_are_at_work_one_too_many_gets_503_and_signs_of_life_come_through():
    app = App()
    app.hold.clear()
    with serving(app, NEVER, most=1) as (port, _), connect(port) as busy:
        busy.sendall(GET)
        until(lambda: app.entered == 1, "at work")
        with connect(port) as late:
            late.sendall(GET)
            answer = rest(late)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "TooManyConnections"
        with connect(port) as probe:
            probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: app.entered == 2, "let through")
            app.hold.set()
            assert probe.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert busy.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\xff\x01\x00", b"\r\n\r\n\r\n", b"nothing\r\n\r\n"])
def test_what_is_no_http_is_ended(garbage):
    with serving(App()) as (port, _), connect(port) as odd:
        odd.sendall(garbage)
        answer = rest(odd)
        assert not answer or answer.split()[1] in (b"400", b"408")
