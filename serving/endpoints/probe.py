"""Whether an endpoint answers, asked from outside."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

TIMEOUT_S = 5.0


def answers(
    host: str, port: int, path: str = "/readyz", timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
) -> bool:
    """Whether GET `path` gives 200 in time; through TLS with a context that trusts the endpoint."""
    if tls is None:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
