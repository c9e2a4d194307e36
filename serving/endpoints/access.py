"""Who may call an endpoint, decided when it is started and remembered in its folder for whoever starts it again."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects import keys
from tenshot.projects.errors import AccessError, UsageError
from tenshot.projects.sealing import replace_private
from tenshot.serving.endpoints import tls

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.workspace import Workspace

NAME = "access.json"


@dataclass(frozen=True, slots=True)
class Access:
    secured: bool
    """Whether callers need an access key."""
    cert: str | None = None
    """PEM file; None: plain HTTP."""
    key: str | None = None
    local: bool = False
    """Only tools of this machine are to call it, which have a key of their own: nobody else needs to have one."""

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        *,
        insecure_no_auth: bool = False,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        local: bool = False,
    ) -> Access:
        """What was said, over the settings. Raises UsageError for a certificate without its key or the reverse."""
        serving = workspace.settings.serving
        cert, key = (path.absolute() if path else None for path in (tls_cert, tls_key))
        if not (cert or key):
            cert, key = (workspace.home / name if name else None for name in (serving.tls_cert, serving.tls_key))
        if bool(cert) is not bool(key):
            lacking = "the certificate" if key else "its private key"
            raise UsageError(f"TLS needs two files, and {lacking} is missing", hint="--tls-cert FILE --tls-key FILE")
        open_ = insecure_no_auth or serving.insecure_no_auth
        return cls(not open_, str(cert) if cert else None, str(key) if key else None, local)

    @classmethod
    def load(cls, workspace: Workspace, folder: Path) -> Access:
        """As it was saved in an endpoint's folder; what the settings say if it was not."""
        try:
            return cls(**json.loads((folder / NAME).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return cls.of(workspace)

    def save(self, folder: Path) -> None:
        document = {"secured": self.secured, "cert": self.cert, "key": self.key}
        replace_private(folder / NAME, json.dumps(document).encode())

    def check(self, workspace: Workspace, version: ModelVersion) -> None:
        """Before anything is started. Raises AccessError: files for TLS that will not do, an address beyond this
        machine without keys, or keys where nobody has one."""
        if self.cert and self.key:
            tls.check(Path(self.cert), Path(self.key))
        host = workspace.settings.serving.host
        if not self.secured:
            refuse_open(host)
        elif not self.local and not callers(workspace, version.project):
            raise AccessError(
                f"nobody could call {version.ref}: there is no access key that may",
                hint="make one: tenshot keys create --role app; or let everybody on this machine call it: "
                "tenshot start --insecure-no-auth",
            )


def callers(workspace: Workspace, project: str) -> list[str]:
    """Ids of the keys that may ask for predictions of a project."""
    valid = keys.in_force(workspace.store)
    return [key.id for key in valid if keys.may(key.role, key.projects, keys.Action.PREDICT, project)]


def refuse_open(host: str) -> None:
    """Raises AccessError unless only this machine can reach it."""
    if not is_loopback(host):
        raise AccessError(
            f"an endpoint that listens on {host} can be reached from elsewhere, and --insecure-no-auth is for the "
            "loopback address only",
            hint="make an access key: tenshot keys create --role app; or set serving.host to 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
