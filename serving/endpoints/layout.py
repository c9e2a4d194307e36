"""The files of an endpoint, in TENSHOT_HOME/endpoints/<name>@<version>/."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects.metering import journal

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.workspace import Workspace

LOG_LIMIT_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class EndpointFiles:
    folder: Path

    @classmethod
    def of(cls, workspace: Workspace, version: ModelVersion) -> EndpointFiles:
        folder = workspace.endpoint_dir(version.project, version.number)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @property
    def log(self) -> Path:
        """What the supervisor and the server write, oldest first."""
        return self.folder / "endpoint.log"

    @property
    def journal(self) -> Path:
        """Answered images that are not in the store yet."""
        return journal.path_in(self.folder)

    @property
    def metrics(self) -> Path:
        """Prometheus files of the running server."""
        return self.folder / "metrics"

    @property
    def lock(self) -> Path:
        """Held (flock) while somebody decides whether this endpoint exists."""
        return self.folder / "lock"

    def rotate_log(self) -> None:
        """Put a long log aside; one older part is kept.

        It is copied and emptied, not renamed: the supervisor and the server go on appending to the file they have open.
        """
        if self.log.is_file() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            with suppress(OSError):  # a disk that is full is a reason to empty it all the more
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)


def tail(log: Path, lines: int, *, offset: int = 0, requests: bool = True) -> list[str]:
    """The last lines of a log, of what was written behind byte `offset`; at most the last 64 KiB are looked at.

    Without `requests` the lines that tell of one, which are JSON, are left out.
    """
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(offset if offset <= size else 0, size - 65536, 0))  # it may have been emptied since
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip() and (requests or not line.startswith("{"))][-lines:]
