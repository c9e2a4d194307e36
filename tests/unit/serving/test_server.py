"""A worker that is handed connections which others accepted."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
import uvicorn
from fixtures_tls import certificate

from tenshot.serving.endpoints.server import WorkerServer
from tenshot.serving.endpoints.tls import trusting
from tenshot.serving.endpoints.watch import Watch


async def answers(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def pair(listener):
    """A connection of a client, and the end of it that was accepted."""
    client = socket.create_connection(listener.getsockname())
    guest, _ = listener.accept()
    guest.setblocking(False)
    return client, guest


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_guests_that_cannot_be_served_neither_end_nor_delay_a_worker(tmp_path, secure):
    cert, key = certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_server(("127.0.0.1", 0)) as listener:
        silent, plain, gone = (pair(door) for _ in range(3))
        plain[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        gone[0].close()
        files = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)} if secure else {}
        config = uvicorn.Config(answers, log_config=None, lifespan="off", **files)
        server = WorkerServer(config, Watch(None), [guest for _, guest in (silent, plain, gone)])
        url = f"{'https' if secure else 'http'}://127.0.0.1:{listener.getsockname()[1]}/"

        async def session() -> int:
            serving = asyncio.create_task(server.serve([listener]))
            async with httpx.AsyncClient(verify=trusting(cert.read_text()) if secure else True) as client:
                while not server.started:
                    await asyncio.sleep(0.01)
                status = (await client.get(url)).status_code
            silent[0].close()
            server.should_exit = True
            await asyncio.wait_for(serving, 60)
            return status

        assert asyncio.run(session()) == 200
        if not secure:
            plain[0].settimeout(60)
            assert plain[0].recv(64).startswith(b"HTTP/1.1 200")
        plain[0].close()
