"""The keys that an endpoint's workers know, in a file of its folder: a worker opens no database.

The supervisor writes the file (hashes only, readable by its owner only) when it starts and with its beat, where
something changed; workers read it again when it was replaced. One key is in no database: `local`, a random one of each
endpoint, for the tools of this machine. Whoever may read the endpoint's folder may use it.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects import keys
from tenshot.projects.sealing import replace_private
from tenshot.serving.endpoints import tls

if TYPE_CHECKING:
    from tenshot.projects.records import AccessKey, Endpoint, ModelVersion
    from tenshot.projects.workspace import Workspace

log = logging.getLogger(__name__)

RING, LOCAL_KEY = "keys.json", "local.key"
LOCAL = "local"
"""Id of the local key; the ledger and the log name it so."""


@dataclass(frozen=True, slots=True)
class Entry:
    sha256: str
    role: str
    projects: tuple[str, ...] = ()


class Ring:
    """What a worker knows of the keys; nobody if the file is gone or no ring."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[str, Entry] = {}

    def find(self, key_id: str) -> Entry | None:
        self._refresh()
        return self._entries.get(key_id)

    def _refresh(self) -> None:
        try:
            seen = self.path.stat()
            stamp = seen.st_mtime_ns, seen.st_ino, seen.st_size
            if stamp != self._stamp:
                document = json.loads(self.path.read_text("utf-8"))["keys"]
                self._entries = {
                    key_id: Entry(e["sha256"], e["role"], tuple(e["projects"])) for key_id, e in document.items()
                }
                self._stamp = stamp
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if self._entries or self._stamp is None:
                log.error("the access keys in %s cannot be read, so nobody is let in: %s", self.path, error)
            self._entries, self._stamp = {}, (0, 0, 0)


class RingFile:
    """The supervisor's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        return self.folder / RING

    def publish(self, found: Iterable[AccessKey]) -> None:
        """Write what is in force, if it is not what was written last. Raises OSError."""
        entries = {LOCAL: {"sha256": keys.digest(self._local_secret()), "role": keys.Role.APP, "projects": []}}
        for key in found:
            entries[key.id] = {"sha256": key.secret_sha256, "role": key.role, "projects": list(key.projects)}
        document = {"keys": entries}
        if document != self._written or not self.path.is_file():
            replace_private(self.path, json.dumps(document).encode())
            self._written = document

    def remove(self) -> None:
        """The endpoint has ended."""
        for name in (RING, LOCAL_KEY):
            with suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)

    def _local_secret(self) -> str:
        """The one that is there, if an earlier supervisor of the same endpoint left one."""
        path = self.folder / LOCAL_KEY
        with suppress(OSError, UnicodeDecodeError):
            key_id, _, secret = path.read_text("ascii").strip().partition(":")
            if key_id == LOCAL and len(secret) >= keys.SECRET_BYTES:
                return secret
        secret = secrets.token_urlsafe(keys.SECRET_BYTES)
        replace_private(path, f"{LOCAL}:{secret}\n".encode())
        return secret


def local_credentials(workspace: Workspace, version: ModelVersion | Endpoint) -> dict[str, str]:
    """Headers with which a tool on this machine may call the endpoint of a version; empty if it wants no key (or this
    user may not read it: then the endpoint answers 401)."""
    try:
        text = (_folder(workspace, version) / LOCAL_KEY).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return {}
    return {"Authorization": f"Bearer {text}"}


def client_options(workspace: Workspace, endpoint: Endpoint) -> dict[str, Any]:
    """Keyword arguments of an `httpx.Client` that calls this endpoint from this machine: address, key, certificate."""
    options: dict[str, Any] = {"base_url": endpoint.url, "trust_env": False}
    if endpoint.secured:
        options["headers"] = local_credentials(workspace, endpoint)
    if endpoint.tls:
        options["verify"] = tls.trusting(tls.leaf(certificate_of(workspace, endpoint)))
    return options


def certificate_of(workspace: Workspace, endpoint: Endpoint) -> Path:
    """The certificate that the endpoint shows."""
    return _folder(workspace, endpoint) / tls.COPY


def _folder(workspace: Workspace, version: ModelVersion | Endpoint) -> Path:
    name, _, number = version.ref.rpartition("@")
    return workspace.endpoint_dir(name, int(number))
