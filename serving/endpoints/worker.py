"""`python -m tenshot.serving.endpoints.worker`: the process that answers requests.

One process is one inference unit. It accepts from a socket that the supervisor handed down to all workers of the
endpoint, as BentoML's own arbiter does. The arbiter itself would be one more Python process that imports the service;
the supervisor does its job.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

PARENT_POLL_S = 0.5


def main() -> None:
    words = argparse.ArgumentParser(prog="worker")
    words.add_argument("--fd", type=int, required=True, help="descriptor of the listening socket")
    words.add_argument("--home", type=Path, required=True, help="TENSHOT_HOME")
    words.add_argument("--bundle", type=Path, required=True)
    words.add_argument("--slot", type=int, default=0, help="which worker this is; names its part of the metrics")
    words.add_argument("--guest", type=int, action="append", default=[], help="descriptor of an accepted connection")
    words.add_argument("--grace-s", type=float, default=10.0, help="time for requests in flight when told to stop")
    said = words.parse_args()
    _watch_parent(os.getppid())
    # Lines of ours and warnings of everybody; BentoML's own notes at each start say nothing to an operator.
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    serve(said)


def serve(said: argparse.Namespace) -> None:
    """Build or reuse the Bento, load it and answer until SIGTERM, or until the supervisor says to leave."""
    from tenshot.projects.errors import TenshotError
    from tenshot.serving.endpoints import bento

    environ: dict[str, str] = {}
    bento.prepare_environment(said.home, environ)
    os.environ.update(environ)
    _name_metrics(said.slot)
    try:
        _run(bento.ensure(said.home, said.bundle), said)
    except TenshotError as error:
        sys.exit(f"{error.message}{' – ' + error.hint if error.hint else ''}")


def _name_metrics(slot: int) -> None:
    """Keep them in files of the slot, not of the process: a worker that takes another one's place counts on where that
    one ended, and an endpoint whose workers come and go does not gather files."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return
    from prometheus_client import values

    made: Any = values.MultiProcessValue
    values.ValueClass = made(lambda: slot)


def _run(folder: Path, said: argparse.Namespace) -> None:
    import uvicorn
    from _bentoml_impl.loader import load
    from bentoml._internal.context import server_context

    from tenshot.serving.endpoints import tls
    from tenshot.serving.endpoints.config import EndpointConfig
    from tenshot.serving.endpoints.connections import patient
    from tenshot.serving.endpoints.server import ACCEPTED_AT_ONCE, SharedListener, WorkerServer
    from tenshot.serving.endpoints.service import WATCH

    told = EndpointConfig.from_environment()
    if told.tls_cert and told.tls_key:  # to say what is wrong before uvicorn does
        tls.check(Path(told.tls_cert), Path(told.tls_key))
    service = load(str(folder), standalone_load=True)
    server_context.worker_index = said.slot + 1
    server_context.service_name = service.name
    server_context.service_type = "entry_service"
    if service.bento is not None:
        server_context.bento_name = service.bento.tag.name
        server_context.bento_version = service.bento.tag.version or ""
    config = uvicorn.Config(
        service.to_asgi(),
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(said.grace_s)),
        ws="none",
        http=patient(told.header_timeout_s, told.max_connections),
        ssl_certfile=told.tls_cert,
        ssl_keyfile=told.tls_key,
        ssl_ciphers=tls.CIPHERS,
    )
    guests = [socket.socket(fileno=descriptor) for descriptor in said.guest]
    WorkerServer(config, WATCH, guests).run(sockets=[SharedListener(fileno=said.fd)])


def _watch_parent(parent: int) -> None:
    """End when the supervisor has ended. The kernel does that on Linux at once; this is for everywhere else."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


if __name__ == "__main__":
    main()
