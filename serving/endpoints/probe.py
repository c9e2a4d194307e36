"""Whether an endpoint answers, asked from outside."""

from __future__ import annotations

import http.client

TIMEOUT_S = 5.0


def answers(host: str, port: int, path: str = "/readyz", timeout_s: float = TIMEOUT_S) -> bool:
    """Whether GET `path` gives 200 in time."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
