"""Answers as servers send them, through a real socket."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from tenshot.serving.benching.http1 import Broken, Connection, Target, parse_head, request


class Scripted:
    """A server that accepts one connection after the other and answers each request with the next of its replies.

    `None` in place of a reply ends the connection.
    """

    def __init__(self, *replies: bytes | None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.target = Target("127.0.0.1", self.listener.getsockname()[1], "/predict", False)
        self.accepted, self.asked = 0, b""
        self._replies = list(replies)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._replies:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            with connection:
                while self._replies and (data := connection.recv(65536)):
                    self.asked += data
                    reply = self._replies.pop(0)
                    if reply is None:
                        break
                    connection.sendall(reply)

    def close(self) -> None:
        self.listener.close()
        self._thread.join(5)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
)


@pytest.mark.parametrize(
    ("replies", "statuses", "connections"),
    [
        pytest.param([OK, OK, OK], [200, 200, 200], 1, id="kept"),
        pytest.param([CHUNKED, OK], [200, 200], 1, id="chunks and trailers"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" + OK, OK], [200, 200], 1, id="an interim answer"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n", OK], [204, 200], 1, id="no body"),
        pytest.param(
            [b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", None, OK],
            [503, Broken, 200],
            3,
            id="closed after the answer",
        ),
        pytest.param([b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", None], [200, Broken], 2, id="an old server"),
        pytest.param([None, OK], [Broken, 200], 2, id="ends without an answer"),
        pytest.param([b"SSH-2.0-x\r\n\r\n", None, OK], [Broken, Broken, 200], 3, id="not HTTP"),
    ],
)
def test_answers(replies, statuses, connections) -> None:
    with closing(Scripted(*replies)) as server:
        connection = Connection(server.target, 5.0)
        found: list[object] = []
        for _ in statuses:
            try:
                found.append(connection.ask(request(server.target, b"body", "image/jpeg", {})).status)
            except Broken:
                found.append(Broken)
        connection.close()
        assert found == statuses
    assert server.accepted == connections


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", id="within the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="within the head"),
        pytest.param(CHUNKED[:60], id="within a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="not a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", id="no length"),
    ],
)
def test_an_answer_that_is_cut_is_none(cut) -> None:
    with closing(Scripted(cut)) as server:
        connection = Connection(server.target, 5.0)
        with pytest.raises(Broken):
            connection.ask(request(server.target, b"", "image/jpeg", {}))


def test_a_body_without_length_ends_with_the_connection() -> None:
    with closing(Scripted(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")) as server:
        head = Connection(server.target, 5.0).ask(request(server.target, b"", "image/jpeg", {}))
    assert (head.status, head.keeps) == (200, False)


def test_the_request_on_the_wire() -> None:
    with closing(Scripted(OK)) as server:
        whole = request(server.target, b"\x00\xff", "image/png", {"Authorization": "Bearer x"})
        Connection(server.target, 5.0).ask(whole)
    head, _, body = server.asked.partition(b"\r\n\r\n")
    assert body == b"\x00\xff"
    assert head.splitlines() == [
        b"POST /predict HTTP/1.1",
        b"Host: 127.0.0.1:%d" % server.target.port,
        b"Content-Type: image/png",
        b"Content-Length: 2",
        b"Authorization: Bearer x",
    ]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        pytest.param("http://127.0.0.1:3000/predict", Target("127.0.0.1", 3000, "/predict", False), id="http"),
        pytest.param("https://[::1]:1/a?b=c", Target("::1", 1, "/a?b=c", True), id="https, IPv6, query"),
        pytest.param("http://host", Target("host", 80, "/", False), id="neither port nor path"),
    ],
)
def test_target(url, target) -> None:
    assert Target.of(url) == target


@pytest.mark.parametrize("url", ["ftp://host/", "host:3000", "http:///x"])
def test_no_target(url) -> None:
    with pytest.raises(ValueError):
        Target.of(url)


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1", b"HTTP/1.1 20", b"HTTP/2 200", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
)
def test_what_is_no_head(data) -> None:
    with pytest.raises(Broken):
        parse_head(data)
