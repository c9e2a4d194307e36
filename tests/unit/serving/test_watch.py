"""What a worker writes on its board, with time turned by hand."""

import asyncio

import pytest

from tenshot.serving.endpoints.board import Board, Field
from tenshot.serving.endpoints.watch import Watch


class Hands:
    at = 100.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def board():
    made = Board.make()
    yield made
    made.close()


def call(watch, path="/predict", parts=(b"a", b"b")):
    """One request whose body comes in parts; the messages that were sent."""
    waiting, sent = list(parts), []

    async def receive():
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    asyncio.run(watch({"type": "http", "path": path, "headers": []}, receive, send))
    return sent


def app(status=200, *, reads=True, during=lambda: None):
    async def answer(scope, receive, send):
        while reads and (await receive())["more_body"]:
            pass
        during()
        await send({"type": "http.response.start", "status": status, "headers": [(b"connection", b"keep-alive")]})
        await send({"type": "http.response.body", "body": b""})

    return answer


def test_in_flight_from_the_last_byte_to_the_answer(board, clock):
    seen = []

    def during():
        seen.append(board[Field.IN_FLIGHT])
        clock.at += 2.0

    watch = Watch(board, clock=clock).around(app(during=during))
    call(watch)
    assert seen == [1]
    assert (board[Field.IN_FLIGHT], board[Field.IN_FLIGHT_S], board[Field.ANSWERED]) == (0, 2.0, 1)
    watch.tick()
    assert board[Field.P95_S] == 2.0
    assert board[Field.BEAT_AT] == clock.at


@pytest.mark.parametrize(
    ("path", "options"),
    [
        pytest.param("/readyz", {}, id="not a prediction"),
        pytest.param("/predict", {"reads": False, "status": 503}, id="refused before it was read"),
    ],
)
def test_what_is_no_load(board, clock, path, options):
    call(Watch(board, clock=clock).around(app(**options)), path)
    assert (board[Field.IN_FLIGHT_S], board[Field.ANSWERED]) == (0, 0)
    assert board[Field.REFUSED] == (1 if options else 0)


def test_an_application_that_breaks_is_not_in_flight_for_ever(board, clock):
    def broken():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        call(Watch(board, clock=clock).around(app(during=broken)))
    assert board[Field.IN_FLIGHT] == 0


@pytest.mark.parametrize(
    ("share", "drain", "connections", "status", "closes"),
    [
        pytest.param(0, 0, 99, 200, False, id="alone"),
        pytest.param(0, 0, 99, 503, False, id="alone-and-full"),
        pytest.param(5, 0, 5, 200, False, id="within-its-share"),
        pytest.param(5, 0, 6, 200, True, id="more-than-its-share"),
        pytest.param(5, 0, 1, 503, True, id="full-while-others-may-have-room"),
        pytest.param(0, 1, 1, 200, True, id="leaving"),
    ],
)
def test_connections_that_are_to_go_elsewhere_end_with_their_answer(board, share, drain, connections, status, closes):
    board[Field.SHARE], board[Field.DRAIN_UNTIL] = share, drain
    watch = Watch(board).around(app(status))
    watch.connections = lambda: connections
    [start, _] = call(watch)
    assert dict(start["headers"])[b"connection"] == (b"close" if closes else b"keep-alive")


def test_waiting_for_the_network_is_told_from_its_run(board, clock):
    watch = Watch(board, clock=clock)

    async def batched(array):
        assert board[Field.INFERRING_SINCE] == 100.0
        clock.at += 0.3
        with watch.running():
            clock.at += 0.2
        return array

    assert asyncio.run(watch.infer(batched, "x")) == "x"
    assert board[Field.WAITED_S] == pytest.approx(0.3)
    assert (board[Field.INFERRED], board[Field.INFERRING_SINCE], board[Field.INFERRED_AT]) == (1, 0, 100.5)


def test_a_burst_that_is_over_is_forgotten(board, clock):
    watch = Watch(board, clock=clock).around(app())
    watch.left(clock.at - 0.8, 200)
    watch.tick()
    assert board[Field.P95_S] == pytest.approx(0.8)
    clock.at += 60
    watch.tick()
    assert board[Field.P95_S] == 0.0


def test_without_a_board_nothing_changes(clock):
    watch = Watch(None, clock=clock).around(app())
    [start, _] = call(watch)
    watch.tick()
    watch.touch()
    assert dict(start["headers"])[b"connection"] == b"keep-alive"


def test_both_sides_see_one_page(board):
    import os

    other = Board(os.dup(board.descriptor))
    board[Field.REQUEST_AT] = 12.5
    other[Field.DRAIN_UNTIL] = 7.0
    assert (other[Field.REQUEST_AT], board[Field.DRAIN_UNTIL]) == (12.5, 7.0)
    other.close()
