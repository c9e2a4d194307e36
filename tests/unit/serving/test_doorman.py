"""The port of an endpoint without workers: who is answered, who wakes it, and that a caller loses nothing of what it
sent. Real connections."""

import socket
import time
from contextlib import suppress

import pytest

from tenshot.serving.endpoints import doorman
from tenshot.serving.endpoints.doorman import Doorman
from tenshot.serving.endpoints.listening import listen

PREDICT = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc"


class Door:
    def __init__(self, **more):
        self.listener = listen("127.0.0.1", 0)
        self.at = 0.0
        self.doorman = Doorman(self.listener, "p@1", **{"opaque": False, "clock": lambda: self.at, **more})
        self.callers = []

    def knock(self, said=b""):
        caller = socket.create_connection(self.listener.getsockname(), timeout=5)
        caller.sendall(said)
        self.callers.append(caller)
        return caller

    def look(self, closed_s=None, until=lambda found: True):
        deadline = time.monotonic() + 5
        found = []
        while True:
            found += self.doorman.look(closed_s)
            if until(found):
                return found
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def door(request):
    made = Door(**getattr(request, "param", {}))
    yield made
    for one in [made.listener, *made.callers, *made.doorman.leave()]:
        one.close()


def answer_of(door, caller, closed_s=None):
    """What the doorman says to it, to the end of the connection."""
    caller.setblocking(False)
    said = b""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        assert door.doorman.look(closed_s) == []
        try:
            part = caller.recv(4096)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            return said.decode()
        if not part:
            return said.decode()
        said += part
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    "said", [PREDICT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /readyz HTTP/1.1\r\n\r\n", b"\x16\x03"]
)
def test_a_caller_wakes_it_and_is_handed_on_unread(door, said):
    door.knock(said)
    [guest] = door.look(until=bool)
    guest.setblocking(True)
    assert guest.recv(4096) == said
    guest.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/readyz", ""), ("/livez", ""), ("/healthz", ""), ("/metrics", 'tenshot_workers{version="p@1"} 0')],
)
def test_probes_are_answered_and_wake_nobody(door, path, body):
    answer = answer_of(door, door.knock(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    assert answer.startswith("HTTP/1.1 200 ")
    assert body in answer


def test_silence_wakes_nobody_and_ends(door):
    silent, half, gone = door.knock(), door.knock(b"POST /pred"), door.knock()
    gone.close()
    deadline = time.monotonic() + 5
    while len(door.doorman._waiting) != 2:
        assert door.doorman.look() == []
        assert time.monotonic() < deadline
    assert len(door.doorman.readers) == 2, "half a line would keep it awake"
    door.at = doorman.SILENT_S + 1
    assert door.doorman.look() == []
    assert door.doorman.readers == [door.listener]
    for caller in (silent, half):
        caller.settimeout(5)
        with suppress(ConnectionResetError):
            assert caller.recv(1) == b""


def test_who_has_not_spoken_yet_is_left_to_the_worker(door):
    door.knock()
    door.look(until=lambda _: len(door.doorman._waiting) == 1)
    [left] = door.doorman.leave()
    left.close()
    assert door.doorman.readers == [door.listener]


def test_out_of_service_everybody_is_told_when_it_is_back(door):
    answer = answer_of(door, door.knock(PREDICT), closed_s=90.4)
    assert answer.startswith("HTTP/1.1 503 ")
    assert "Retry-After: 90\r\n" in answer
    assert '"code": "OutOfService"' in answer
    assert answer_of(door, door.knock(b"GET /readyz HTTP/1.1\r\n\r\n"), closed_s=1).startswith("HTTP/1.1 503 ")
    assert answer_of(door, door.knock(b"GET /livez HTTP/1.1\r\n\r\n"), closed_s=1).startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize("door", [{"opaque": True}], indirect=True)
def test_behind_tls_whoever_speaks_wakes_it(door):
    door.knock(b"\x16\x03\x01\x02\x00\x01\x00")
    [guest] = door.look(until=bool)
    guest.close()
    assert answer_of(door, door.knock(b"GET /livez HTTP/1.1\r\n\r\n"), closed_s=1) == ""


def test_a_crowd_is_kept_within_bounds(door, monkeypatch):
    monkeypatch.setattr(doorman, "MOST_WAITING", 3)
    for _ in range(5):
        door.knock()
    door.look(until=lambda _: len(door.doorman._waiting) == 3)
    assert door.listener not in door.doorman.readers
