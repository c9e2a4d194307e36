"""The store itself as a sink: the ledger that `tenshot usage` reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tenshot.projects.metering.sinks import Sink

if TYPE_CHECKING:
    from tenshot.projects.records import UsageRecord
    from tenshot.projects.workspace import Workspace


class SqlSink(Sink):
    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store

    def write(self, records: Iterable[UsageRecord]) -> int:
        return self._store.add_usage(records)
