"""What stands before everything else of an endpoint: known paths, methods, and no more requests than it can hold.

It is plain ASGI around BentoML's application, so that a path nobody knows never reaches BentoML's metrics (they keep a
counter for every path they ever saw) and BentoML's own route to the network, which is not metered, stays closed.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from tenshot.projects.errors import RequestError, TenshotError

if TYPE_CHECKING:
    from tenshot.serving.endpoints.measures import Measures

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PREDICT = "/predict"
READ_ONLY = frozenset({"/", "/docs.json", "/livez", "/healthz", "/readyz", "/metrics"})
STATIC = "/static_content/"
RETRY_AFTER_S = 1


class Gate:
    """`touch` is called for every request to /predict: the endpoint is in use.

    `predict` answers these; None leaves them to `app`. BentoML's middlewares (a span of a trace that nobody collects,
    counters of its own, a context that nothing here reads) took more of the processor than everything of ours together.
    """

    def __init__(
        self,
        app: App,
        measures: Measures,
        *,
        max_in_flight: int,
        touch: Callable[[], None],
        predict: App | None = None,
    ) -> None:
        self.app = app
        self.predict = predict or app
        self.measures = measures
        self.max_in_flight = max_in_flight
        self.touch = touch
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        elif (refusal := refuse(scope["path"], scope["method"])) is not None:
            await answer(send, refusal.status, refusal.document(), _allow(refusal))
        elif scope["path"] == PREDICT:
            await self._predict(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.touch()
        if self.in_flight >= self.max_in_flight:
            self.measures.refused()
            await answer(send, 503, overloaded(self.max_in_flight).document(), {"Retry-After": str(RETRY_AFTER_S)})
            return
        self.in_flight += 1
        try:
            with self.measures.request() as seen:

                async def watched(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        seen.status = message["status"]
                    await send(message)

                await self.predict(scope, receive, watched)
        finally:
            self.in_flight -= 1
            self.touch()


def refuse(path: str, method: str) -> RequestError | None:
    """The reason why such a request has no answer here, or None."""
    if path == PREDICT:
        allowed: tuple[str, ...] = ("POST",)
    elif path in READ_ONLY or path.startswith(STATIC):
        allowed = ("GET", "HEAD")
    else:
        shown = path[:100]
        return RequestError(404, "NotFound", f"there is nothing at {shown!r}", hint="POST images to /predict")
    if method in allowed:
        return None
    error = RequestError(405, "MethodNotAllowed", f"{path[:100]} does not take {method[:20]}", hint=f"use {allowed[0]}")
    error.fields["allow"] = ", ".join(allowed)
    return error


def overloaded(most: int) -> RequestError:
    return RequestError(503, "Overloaded", f"{most} requests are in flight already", hint="try again in a second")


def _allow(error: TenshotError) -> dict[str, str]:
    allow = error.fields.get("allow")
    return {"Allow": str(allow)} if allow else {}


async def answer(send: Send, status: int, document: dict[str, Any], headers: dict[str, str]) -> None:
    """Send a JSON document. ASCII only, because a name of the client's may hold half of a surrogate pair."""
    body = json.dumps(document).encode("ascii")
    fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
