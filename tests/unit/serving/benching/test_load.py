"""The load generator against a server on this machine with a known latency and a known share of errors."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tenshot.projects.errors import EndpointError
from tenshot.serving.benching.load import NO_ANSWER, Job, Load, Samples, measure, pause

LATENCY_S = 0.02
BAD = b"not an image"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.bodies: list[bytes] = []
        self.busy = 0
        """So many of the first requests are answered 503."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/predict"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        time.sleep(LATENCY_S)
        status = 400 if body == BAD else 200
        if self.server.busy > 0:
            self.server.busy -= 1
            status = 503
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    server = Server(Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bodies(folder: Path, good: int, bad: int = 0) -> tuple[tuple[str, str], ...]:
    files = []
    for i in range(good + bad):
        path = folder / f"{i}.jpg"
        path.write_bytes(BAD if i >= good else b"image %d" % i)
        files.append((str(path), "image/jpeg"))
    return tuple(files)


def test_every_request_is_sent_once_and_counted_by_status(tmp_path) -> None:
    with serving() as server:
        found = Load(Job(server.url, bodies(tmp_path, 9, 1), clients=1, requests=40)).run()
        assert len(server.bodies) == 40
        assert server.bodies.count(BAD) == 4
    assert {status: len(some) for status, some in found.latencies_s.items()} == {200: 36, 400: 4}
    assert min(found.latencies_s[200]) >= LATENCY_S
    assert found.complete
    assert found.errors == {}
    assert found.seconds >= 40 * LATENCY_S


def test_clients_share_a_number_of_requests_and_begin_with_different_images(tmp_path) -> None:
    with serving() as server:
        found = Load(Job(server.url, bodies(tmp_path, 8), clients=8, requests=40)).run()
        assert len(server.bodies) == 40
        assert len(set(server.bodies[:8])) > 1
    assert found.count == 40


def test_it_ends_after_its_seconds_with_what_was_in_flight(tmp_path) -> None:
    with serving() as server:
        found = Load(Job(server.url, bodies(tmp_path, 2), clients=3, seconds=0.3)).run()
        assert found.count == len(server.bodies) >= 3
    assert found.complete
    assert set(found.latencies_s) == {200}


def test_a_server_that_says_it_is_busy_is_asked_again_later(tmp_path) -> None:
    with serving() as server:
        server.busy = 2
        found = Load(Job(server.url, bodies(tmp_path, 1), clients=1, requests=5)).run()
    assert {status: len(some) for status, some in found.latencies_s.items()} == {503: 2, 200: 3}


def test_a_server_that_is_not_there_is_no_answer(tmp_path) -> None:
    with serving() as server:
        url = server.url
    found = Load(Job(url, bodies(tmp_path, 1), clients=2, requests=2)).run()
    assert len(found.latencies_s[NO_ANSWER]) == 2
    assert sum(found.errors.values()) == 2


def test_in_a_process_of_its_own(tmp_path) -> None:
    ticks: list[int] = []
    with serving() as server:
        found = measure(Job(server.url, bodies(tmp_path, 2), clients=2, seconds=0.8), tick=lambda: ticks.append(1))
        assert found.count == len(server.bodies)
    assert found.complete
    assert found.client_cpu_s > 0
    assert ticks


def test_ctrl_c_brings_what_was_measured_so_far(tmp_path) -> None:
    with serving() as server:

        def interrupt() -> None:
            if len(server.bodies) > 2:  # it is under way
                os.kill(os.getpid(), signal.SIGINT)
                server.bodies.clear()

        found = measure(Job(server.url, bodies(tmp_path, 2), clients=1, seconds=50), tick=interrupt)
    assert not found.complete
    assert found.count > 2


def test_a_load_that_cannot_begin_says_why(tmp_path) -> None:
    with pytest.raises(EndpointError, match="No such file"):
        measure(Job("http://127.0.0.1:1/", ((str(tmp_path / "none.jpg"), "image/jpeg"),), clients=1, requests=1))


def test_samples_come_back_as_they_were() -> None:
    samples = Samples({200: [0.25], NO_ANSWER: [1.0]}, 2.0, 0.5, {"refused": 1}, False)
    import json

    assert Samples.parse(json.dumps(samples.to_json())) == samples


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), ("0", 0.0), ("3600", 5.0), ("", 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("-1", 0.0)],
)
def test_pause(text, seconds) -> None:
    assert pause(text) == seconds
