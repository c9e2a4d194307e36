"""A file for the textfile collector of Prometheus' node exporter: `TENSHOT_HOME/usage.prom`, counters since ever.

What was counted is kept beside it in a small database of its own, so that a counter never goes back: not when this
process dies between two steps, and not when the ledger takes something back (that has a counter of its own).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from tenshot.projects.metering.sinks import Sink

if TYPE_CHECKING:
    from tenshot.projects.records import UsageRecord
    from tenshot.projects.workspace import Workspace

TABLES = """
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (
  metric TEXT, unit TEXT, project TEXT, version TEXT, operation TEXT, billed TEXT, value REAL NOT NULL,
  PRIMARY KEY (metric, unit, project, version, operation, billed)
) WITHOUT ROWID;
"""
LABELS = ("unit", "project", "version", "operation", "billed")
METRICS = {
    "tenshot_usage_total": "What was used, in units; seconds for units of time.",
    "tenshot_usage_corrected_total": "What corrections took back of it.",
}
USED, TAKEN_BACK = METRICS
BUSY_TIMEOUT_S = 30.0


class PrometheusSink(Sink):
    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.home / "usage.prom"
        self._state = workspace.home / "usage.prom.sqlite"

    def write(self, records: Iterable[UsageRecord]) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._state, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as database:
            database.executescript(TABLES)
            database.execute("BEGIN IMMEDIATE")
            new = sum(_add(database, record) for record in records)
            # Written before the commit, so that of several writers the last one to commit writes last. If this process
            # dies between the two, the next one writes the same again.
            self._write(_text(database))
            database.execute("COMMIT")
        return new

    def _write(self, text: str) -> None:
        """Whoever reads sees the old file or the new one."""
        made = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        made.write_text(text, "utf-8")
        made.replace(self.path)


def _add(database: sqlite3.Connection, record: UsageRecord) -> bool:
    """Whether the record was new."""
    if not database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (record.id,)).rowcount:
        return False
    metric = TAKEN_BACK if record.quantity < 0 else USED
    version = "" if record.version is None else str(record.version)
    labels = record.unit, record.project, version, record.operation, str(record.billed).lower()
    database.execute(
        "INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        (metric, *labels, abs(record.quantity)),
    )
    return True


def _text(database: sqlite3.Connection) -> str:
    return "".join(line + "\n" for metric in METRICS for line in _lines(database, metric))


def _lines(database: sqlite3.Connection, metric: str) -> Iterator[str]:
    yield f"# HELP {metric} {METRICS[metric]}"
    yield f"# TYPE {metric} counter"
    found = database.execute(
        "SELECT unit, project, version, operation, billed, value FROM totals WHERE metric = ?", (metric,)
    )
    for *labels, value in found:
        told = ",".join(f'{name}="{_escaped(text)}"' for name, text in zip(LABELS, labels, strict=True))
        yield f"{metric}{{{told}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
