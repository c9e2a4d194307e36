"""A text file for other programs to read: `TENSHOT_HOME/usage.jsonl`, one JSON object a record."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import IO, TYPE_CHECKING

from tenshot.projects.metering.sinks import Sink

if TYPE_CHECKING:
    from tenshot.projects.records import UsageRecord
    from tenshot.projects.workspace import Workspace


class JsonLinesSink(Sink):
    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.home / "usage.jsonl"

    def write(self, records: Iterable[UsageRecord]) -> int:
        with self._alone() as stream:
            known = _known_ids(stream)
            new = {record.id: record for record in records if record.id not in known}
            for record in new.values():
                stream.write(json.dumps(asdict(record), ensure_ascii=False).encode() + b"\n")
        return len(new)

    @contextmanager
    def _alone(self) -> Iterator[IO[bytes]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream
            stream.flush()


def _known_ids(stream: IO[bytes]) -> set[str]:
    """Ids in the file; cuts off the torn line that a killed writer left, so that its record is written again."""
    stream.seek(0)
    known, whole = set(), 0
    for line in stream:
        if not line.endswith(b"\n"):
            stream.truncate(whole)
            break
        with suppress(ValueError, TypeError, KeyError):  # somebody's edit, or zeros after a power cut
            known.add(str(json.loads(line)["id"]))
        whole += len(line)
    return known
