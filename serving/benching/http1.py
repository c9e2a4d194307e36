"""As much of an HTTP/1.1 client as a load generator needs: one kept connection, one request at a time, blocking.

A general client costs more than a small network does: see `load` for what was measured. Answers are read as the
standard says (length, chunks, or until the end; interim answers are passed over), and their bodies are thrown away.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

READ_BYTES = 1 << 16
LONGEST_HEAD = 1 << 16
NO_BODY = frozenset({204, 304})


class Broken(Exception):
    """The answer is none of HTTP's, or the connection ended within it."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated one the last."""
    keeps: bool = True
    """Whether the connection stays open after this answer, as far as the head says."""

    @property
    def chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower().endswith("chunked")

    @property
    def length(self) -> int | None:
        """Bytes of the body; None: until the connection ends."""
        if self.status in NO_BODY:
            return 0
        said = self.headers.get("content-length")
        if said is None:
            return None
        if not said.isdecimal():
            raise Broken(f"content-length is {said[:40]!r}")
        return int(said)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads. Raises ValueError for one that is not http or https."""

    host: str
    port: int
    path: str
    tls: bool

    @classmethod
    def of(cls, url: str) -> Target:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http address")
        tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or (443 if tls else 80), path, tls)


def request(target: Target, body: bytes, content_type: str, headers: Mapping[str, str]) -> bytes:
    """A whole POST as it goes over the wire."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    fields = {
        "Host": f"{host}:{target.port}",
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {target.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def parse_head(data: bytes) -> Head:
    """From the status line to the empty line, which may be left out. Raises Broken."""
    first, *lines = data.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not code.isdecimal() or len(code) < 3:
        raise Broken(f"an answer that begins with {first[:40]!r}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Broken(f"a header line {line[:40]!r}")
        headers[name.strip().lower()] = value.strip()
    said = headers.get("connection", "").lower()
    return Head(int(code), headers, said != "close" and (version == "HTTP/1.1" or said == "keep-alive"))


class Connection:
    """Opened at the first request and again after an answer that closed it. Use it from one thread."""

    def __init__(self, target: Target, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self.tls = tls
        self._socket: socket.socket | None = None
        self._read = bytearray()

    def ask(self, whole: bytes) -> Head:
        """Send a request (see `request`) and read its answer to the end. Raises OSError, Broken; the next request then
        goes through a new connection."""
        try:
            self._opened().sendall(whole)
            head = self._answer()
        except BaseException:
            self.close()
            raise
        if not head.keeps:
            self.close()
        return head

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._read.clear()

    def _opened(self) -> socket.socket:
        if self._socket is None:
            plain = socket.create_connection((self.target.host, self.target.port), self.timeout_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = self.tls.wrap_socket(plain, server_hostname=self.target.host) if self.tls else plain
        return self._socket

    def _answer(self) -> Head:
        head = parse_head(self._until(b"\r\n\r\n"))
        while head.status < 200:
            head = parse_head(self._until(b"\r\n\r\n"))
        if head.chunked:
            self._skip_chunks()
        elif (length := head.length) is not None:
            self._skip(length)
        else:
            while self._more():
                self._read.clear()
            return Head(head.status, head.headers, keeps=False)
        return head

    def _skip_chunks(self) -> None:
        while True:
            line = self._until(b"\r\n").partition(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise Broken(f"a chunk of {bytes(line[:20])!r} bytes") from None
            if size == 0:
                break
            self._skip(size + 2)
        while self._until(b"\r\n") != b"\r\n":  # trailers
            pass

    def _until(self, end: bytes) -> bytes:
        while (at := self._read.find(end)) < 0:
            if len(self._read) > LONGEST_HEAD:
                raise Broken("a head without an end")
            if not self._more():
                raise Broken("the connection ended within an answer" if self._read else "it ended without an answer")
        found = bytes(self._read[: at + len(end)])
        del self._read[: at + len(end)]
        return found

    def _skip(self, count: int) -> None:
        while len(self._read) < count:
            count -= len(self._read)
            self._read.clear()
            if not self._more():
                raise Broken("the connection ended within a body")
        del self._read[:count]

    def _more(self) -> bool:
        found = self._opened().recv(READ_BYTES)
        self._read += found
        return bool(found)
