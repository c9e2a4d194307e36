"""The socket of an endpoint: opened by whoever starts it, handed down to its keeper, its supervisor and its workers."""

from __future__ import annotations

import socket

from tenshot.projects.errors import EndpointError

BACKLOG = 1024
"""Connections that wait to be accepted. Workers accept at once and refuse what is too much themselves, so the queue is
short but while an endpoint wakes or its workers are replaced."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises EndpointError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise EndpointError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            hint="choose another port with --port, or leave it out to take a free one",
        ) from None
    return listener
