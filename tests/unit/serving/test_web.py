"""Bodies that come too slowly."""

import asyncio

import pytest
from starlette.requests import Request

from tenshot.projects.errors import RequestError
from tenshot.serving.endpoints import web


def test_a_body_that_never_ends_gives_its_place_back(monkeypatch):
    monkeypatch.setattr(web, "BODY_TIMEOUT_S", 0.05)
    sent = []

    async def receive():
        if sent:
            await asyncio.Event().wait()
        sent.append(True)
        return {"type": "http.request", "body": b"x", "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(RequestError, match=r"within 0\.05 s") as caught:
        asyncio.run(web._in_time(web.read_body(request, 1000)))
    assert (caught.value.status, caught.value.code) == (408, "BodyTooSlow")
