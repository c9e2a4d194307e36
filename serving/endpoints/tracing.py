"""Around everything else: a request id for every request, and one JSON line for every one that asked for a prediction
or was refused.

The id is the caller's `X-Request-Id` if it is sane, else a new one; the answer's header and every error document carry
it. A line tells what an operator needs and nothing of what an image showed; it is one `write()`, so that lines of
several workers never mix.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tenshot.serving.endpoints.gate import PREDICT, App, Message, Receive, Scope, Send

TRACE = "tenshot.trace"
KEY = "tenshot.key"
HEADER = b"x-request-id"
SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
LOST = 499
"""As nginx says it: the caller went away before it had an answer."""
LONGEST_NAME, MOST_NAMES = 100, 64
LARGEST_ERROR = 64 << 10
"""Bytes of an error document that is opened to put the id in."""
STDERR = 2


@dataclass(slots=True)
class Trace:
    """What is known of a request; whoever learns something writes it here."""

    id: str
    status: int = 0
    images: int = 0
    size: int = 0
    """Bytes of the body."""
    best: list[float] = field(default_factory=list)
    """Best confidence of each answered image, 0…100."""
    names: list[str] = field(default_factory=list)
    """Of the files, if they are to be logged."""


class Traced:
    def __init__(
        self,
        app: App,
        version: str,
        *,
        log: bool = True,
        write: Callable[[bytes], object] = lambda line: os.write(STDERR, line),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`log` False gives ids and writes nothing."""
        self.app = app
        self.version = version
        self._log = log
        self._write = write
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        trace = scope[TRACE] = Trace(id_of(scope))
        try:
            await self.app(scope, receive, _Answer(trace, send).send)
        finally:
            if self._log and (scope["path"] == PREDICT or trace.status >= 400):
                with suppress(OSError):  # a full disk must not end an answer
                    self._write(self._line(trace, scope, time.perf_counter() - began))

    def _line(self, trace: Trace, scope: Scope, seconds: float) -> bytes:
        document = {
            "at": _iso(self._clock()),
            "request": trace.id,
            "version": self.version,
            "key": scope.get(KEY, ""),
            "status": trace.status or LOST,
            "ms": round(seconds * 1000, 2),
            "images": trace.images,
            "bytes": trace.size,
            "best": trace.best,
        }
        if scope["path"] != PREDICT:
            document["path"] = scope["path"][:LONGEST_NAME]
        if trace.names:
            document["files"] = [name[:LONGEST_NAME] for name in trace.names[:MOST_NAMES]]
        return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


class _Answer:
    """Puts the id into an answer's header and, if it is an error, into its document."""

    def __init__(self, trace: Trace, send: Send) -> None:
        self.trace = trace
        self._send = send
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.trace.status = message["status"]
            id_ = self.trace.id.encode("ascii")
            message = {**message, "headers": [*message.get("headers", ()), (HEADER, id_)]}
            if message["status"] >= 400 and _is_json(message):
                self._held = message  # its length is not known yet
                return
        elif self._held is not None:
            start, self._held = self._held, None
            body = message.get("body", b"")
            if not message.get("more_body") and (changed := with_id(body, self.trace.id)) is not None:
                message = {**message, "body": changed}
                length = (b"content-length", str(len(changed)).encode())
                start["headers"] = [length if pair[0].lower() == length[0] else pair for pair in start["headers"]]
            await self._send(start)
        await self._send(message)


def id_of(scope: Scope) -> str:
    """The caller's if there is one that can stand in a header and a log."""
    for name, value in scope["headers"]:
        if name == HEADER:
            return value.decode("ascii") if SANE.fullmatch(value) else secrets.token_hex(8)
    return secrets.token_hex(8)


def with_id(body: bytes, request: str) -> bytes | None:
    """An error document with `request_id` in it; None if it is not one of ours."""
    if len(body) > LARGEST_ERROR:
        return None
    try:
        document: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("error"), dict):
        return None
    document["error"]["request_id"] = request
    return json.dumps(document).encode("ascii")


def _is_json(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"application/json") for name, value in start["headers"]
    )


def _iso(at: float) -> str:
    whole, part = divmod(at, 1.0)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(part * 1000):03d}Z"
