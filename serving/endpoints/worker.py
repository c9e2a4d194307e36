"""`python -m tenshot.serving.endpoints.worker`: the process that answers requests.

One process is the whole endpoint: it listens on a socket that the supervisor opened and handed down, as BentoML's own
arbiter hands one to its workers. The arbiter itself would be a second Python process that imports the service again;
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

PARENT_POLL_S = 0.5


def main() -> None:
    words = argparse.ArgumentParser(prog="worker")
    words.add_argument("--fd", type=int, required=True, help="descriptor of the listening socket")
    words.add_argument("--home", type=Path, required=True, help="TENSHOT_HOME")
    words.add_argument("--bundle", type=Path, required=True)
    words.add_argument("--grace-s", type=float, default=10.0, help="time for requests in flight when told to stop")
    said = words.parse_args()
    _watch_parent(os.getppid())
    # Lines of ours and warnings of everybody; BentoML's own notes at each start say nothing to an operator.
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    serve(said.fd, said.home, said.bundle, said.grace_s)


def serve(fd: int, home: Path, bundle: Path, grace_s: float) -> None:
    """Build or reuse the Bento, load it and answer until SIGTERM."""
    from tenshot.projects.errors import TenshotError
    from tenshot.serving.endpoints import bento

    environ: dict[str, str] = {}
    bento.prepare_environment(home, environ)
    os.environ.update(environ)
    try:
        folder = bento.ensure(home, bundle)
        _run(folder, fd, grace_s)
    except TenshotError as error:
        sys.exit(f"{error.message}{' – ' + error.hint if error.hint else ''}")


def _run(folder: Path, fd: int, grace_s: float) -> None:
    import uvicorn
    from _bentoml_impl.loader import load
    from bentoml._internal.context import server_context

    service = load(str(folder), standalone_load=True)
    server_context.worker_index = 1
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
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(grace_s)),
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


def _watch_parent(parent: int) -> None:
    """End when the supervisor has ended. The kernel does that on Linux at once; this is for everywhere else."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


if __name__ == "__main__":
    main()
