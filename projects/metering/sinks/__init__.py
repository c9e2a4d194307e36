"""Where usage records go: one file a sink."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.projects.records import UsageRecord
    from tenshot.projects.workspace import Workspace


class Sink(ABC):
    """Takes records, each once by its id: over restarts, and with several processes writing."""

    @abstractmethod
    def __init__(self, workspace: Workspace) -> None: ...

    @abstractmethod
    def write(self, records: Iterable[UsageRecord]) -> int:
        """Append the records that are new; returns how many these were."""


SINKS: Registry[type[Sink]] = Registry(
    "metering sink",
    {
        "jsonlines": "tenshot.projects.metering.sinks.jsonlines:JsonLinesSink",
        "prometheus": "tenshot.projects.metering.sinks.prometheus:PrometheusSink",
        "sql": "tenshot.projects.metering.sinks.sql:SqlSink",
    },
)
