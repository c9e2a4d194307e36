"""The supervisor's part of the guard: what it tells each worker, and the files that workers and local tools read."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects import keys
from tenshot.projects.errors import CertificateError, StoreError
from tenshot.projects.sealing import replace_private
from tenshot.serving.endpoints import tls
from tenshot.serving.endpoints.access import Access
from tenshot.serving.endpoints.keyring import RingFile

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

log = logging.getLogger("tenshot.supervisor")

RATES = "rates"


class Warden:
    def __init__(self, workspace: Workspace, folder: Path) -> None:
        """`folder`: the endpoint's. Reads there who may call."""
        self.workspace = workspace
        self.folder = folder
        self.access = Access.load(workspace, folder)
        self.ring = RingFile(folder)

    def publish(self) -> None:
        """Let the workers know the keys that are in force. Raises StoreError."""
        if self.access.secured:
            found = keys.in_force(self.workspace.store)
            try:
                self.ring.publish(found)
            except OSError as error:  # a full disk: those that are known stay so until it has room
                log.warning("changed access keys cannot be written for the workers: %s", error)

    def told(self) -> dict[str, object]:
        """For a worker that is about to start: further fields of its `EndpointConfig`. Raises OSError."""
        with suppress(StoreError):  # tried again with the next beat
            self.publish()
        if self.access.cert:
            with suppress(CertificateError):  # the worker says what is wrong
                replace_private(self.folder / tls.COPY, tls.leaf(Path(self.access.cert)).encode("ascii"))
        return {
            "keys": str(self.ring.path) if self.access.secured else None,
            "rates": str(self.folder / RATES),
            "tls_cert": self.access.cert,
            "tls_key": self.access.key,
        }

    def leave(self) -> None:
        """The endpoint has ended: nothing that lets anybody in stays behind."""
        self.ring.remove()
